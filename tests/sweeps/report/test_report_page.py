"""The report's page in a browser: what it shows, and that it needs nothing from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from support.grids.reports import write_cell
from support.missing import program
from sweeps import report
from sweeps.report.page import POINTS_OF_A_LINE, page, thinned
from sweeps.report.setups import lines

FREE: dict[str, Any] = {"defense": "none", "calibration": None, "strength": None, "honest_overhead": 1.0}
STRONG: dict[str, Any] = {"strength": 4.0, "honest_overhead": 1.4}
KEPT = {"accuracy": 0.98, "l1": 0.0, "calibration_error": 0.0, "false_alarms": None, "refused": 0.0}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two data sets, three defenses, and attackers of every kind."""
    folder = tmp_path_factory.mktemp("sweep")
    number = iter(range(100))

    def cell(attack: str, seed: int, accuracies: list[float], overhead: float, **more: Any) -> None:
        write_cell(folder / str(next(number)), attack, seed, accuracies, overhead=overhead, **more)

    for seed in (0, 1):
        cell("standard", seed, [0.5, 0.9 + seed / 50], 1.1)
        cell("standard", seed, [0.5, 0.9], 1.4, **STRONG)
        cell("standard", seed, [0.5, 0.9], 1.0, **FREE, without=["attacker_usd"])
        cell("knockoff", seed, [0.5, 0.8 + seed / 50], 33.0)
        cell("knockoff", seed, [0.5], 66.0, **STRONG, gave_up=True)
        cell("jacobian", seed, [0.5, 0.7], 0.55)
        cell("worstcase", seed, [0.5, 0.7], 5.5, knows=["cost"])
    cell("dfme", 0, [0.5, 0.6], 1.0, **FREE, without=["cost_pate", "attacker_usd", "honest_usd"])
    odd = "</script><script>alert(1)</script>"
    cell("<b>odd</b>", 0, [0.5, 0.6], 1.0, dataset=odd, honest=KEPT)
    changed = FREE | {"defense": "<i>rounding</i>", "honest": KEPT | {"l1": 0.5}}
    cell("<b>odd</b>", 0, [0.5, 0.55], 1.0, dataset=odd, **changed)
    report.write_report(report.load([folder]), folder / "out")
    return folder / "out" / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium_path = program("chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=chromium_path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@contextmanager
def opened(browser: Browser, written: Path, scheme: Any, width: int) -> Iterator[Page]:
    """The page opened from the disk; it must be without errors and ask nobody for anything."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}, offline=True)
    problems: list[str] = []
    with context.new_page() as page:
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text))
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        page.on("request", lambda asked: problems.append(asked.url))
        page.goto(written.as_uri())
        yield page
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out"
        assert problems == [written.as_uri()]
    context.close()


@pytest.fixture(scope="module")
def shown(browser: Browser, written: Path) -> Iterator[Page]:
    """One page for all tests here, as it takes seconds to open: each leaves it as it was."""
    with opened(browser, written, "light", 1280) as page:
        yield page


def test_on_a_telephone_in_the_dark(browser: Browser, written: Path) -> None:
    with opened(browser, written, "dark", 400) as page:
        assert field(page, "knockoff", "pow") == "81.0 % ×33, honest ×1.1"
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert sum(int(part) for part in re.findall(r"\d+", background)) < 150
        text = page.locator("#curves .xtick text").first.evaluate("(text) => getComputedStyle(text).fill")
        assert sum(int(part) for part in re.findall(r"\d+", text)) > 500, "light on dark"


def field(page: Page, attack: str, defense: str) -> str:
    """The text of a field of the matrix."""
    headings = page.locator("#matrix thead th").all_inner_texts()
    row = page.locator("#matrix tbody tr", has=page.locator("th", has_text=attack))
    return row.locator("th, td").nth(headings.index(defense)).inner_text().replace("\n", " ")


def lines_of(page: Page, chart: str) -> int:
    return int(page.evaluate(f"document.getElementById('{chart}').data.filter((t) => t.text).length"))


def test_the_matrix(shown: Page) -> None:
    assert shown.locator("#matrix thead th").all_inner_texts() == ["", "none", "pow", "pow x4"]
    assert field(shown, "knockoff", "pow") == "81.0 % ×33, honest ×1.1"
    assert field(shown, "knockoff", "pow x4") == "50.0 %gave up ×66, honest ×1.4"
    assert field(shown, "standard", "none") == "90.0 % no work asked"
    assert field(shown, "jacobian", "none") == "–", "no such cell"
    assert field(shown, "honest user", "pow").startswith("×1.1 ")
    first = shown.locator("#matrix tbody th").all_inner_texts()
    assert [name.split("\n")[0] for name in first] == [
        *("honest user", "knockoff", "worstcase", "standard", "jacobian", "dfme"),
    ], "the honest user, then the costliest attacker first"
    assert "knows the cost" in first[2]


def test_colours_say_who_pays_more(shown: Page) -> None:
    def color(attack: str) -> list[float]:
        cell = (
            shown.locator("#matrix tbody tr", has=shown.locator("th", has_text=attack)).locator("td").nth(1)
        )
        text: str = cell.evaluate("(cell) => getComputedStyle(cell).backgroundColor")
        return [
            float(part)
            for part in text[text.index("(") + 1 : -1].replace("srgb", "").replace(",", " ").split()
        ]

    assert color("knockoff")[2] > color("knockoff")[0], "blue: thirty times an honest user's"
    assert color("jacobian")[0] > color("jacobian")[2], "orange: half of it"


def test_what_stops_whom_in_words(shown: Page) -> None:
    words = shown.locator("#verdict").text_content() or ""
    pow_, strong = words.split("pow x4")
    assert "pow: an honest user who asks as much takes 1.1 times as long." in pow_
    assert (
        "holds back (the attacker pays at least 10 times what an honest user pays): knockoff (30 times)"
        in pow_
    )
    assert "slows (at least twice as much): worstcase (5 times)" in pow_
    assert "does not stop (less than twice as much): standard (as much); jacobian (0.5 times)" in pow_
    assert "stops (the attacker gives up): knockoff" in strong


def test_a_field_tells_all_its_figures(shown: Page) -> None:
    row = shown.locator("#matrix tbody tr", has=shown.locator("th", has_text="knockoff"))
    row.locator("td").nth(1).focus()
    tip = shown.locator("#tip")
    expect(tip).to_be_visible()
    text = tip.inner_text()
    assert "knockoff under pow" in text
    assert "81.0 % ± 12.7 %" in text, "t(0.975, 1) = 12.706 times the standard error 1 %"
    assert "×30" in text, "33 over 1.1"


def test_few_figures_are_told_at_once_and_the_rest_on_a_click_or_by_the_keyboard(shown: Page) -> None:
    cell = (
        shown.locator("#matrix tbody tr", has=shown.locator("th", has_text="knockoff")).locator("td").nth(1)
    )
    tip = shown.locator("#tip")
    cell.focus()
    expect(tip.locator("dt")).to_have_count(5)
    assert "more on a click" in tip.inner_text()
    cell.press("Enter")
    assert tip.locator("dt").count() > 10 and "PATE cost" in tip.inner_text()
    shown.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    cell.click()
    assert tip.locator("dt").count() > 10
    shown.keyboard.press("Escape")


def test_the_words_can_be_copied_as_text(shown: Page) -> None:
    text = shown.locator("#as-text").input_value()
    assert text.startswith("pow: an honest user who asks as much takes 1.1 times as long.")
    assert "knockoff (30 times)" in text and "<" not in text


def test_exponents_keep_their_signs(shown: Page) -> None:
    row = "{big: 4.47e10, big_interval: 1.31e10}"
    written = shown.evaluate(f"withInterval({row}, 'big', times).join('')")
    assert written.replace("\u00a0", " ") == "×4.47 × 10¹⁰ ± 1.31 × 10¹⁰"


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.97364, 0.98967, "98.2 ± 0.8"),  # figures of the page are rounded
        (0.97364, 1.0, "98.2 (97.4 to 100.0)"),
    ],
)
def test_an_interval_that_is_cut_off_has_its_ends(shown: Page, low: float, high: float, text: str) -> None:
    row = {"accuracy": 0.98167, "accuracy_interval": 0.00802, "accuracy_low": low, "accuracy_high": high}
    code = "(row) => withInterval(row, 'accuracy', (value) => (100 * value).toFixed(1)).join('')"
    assert shown.evaluate(code, row) == text


def test_axes_begin_at_nothing_and_end_at_everything(shown: Page) -> None:
    low, high = shown.evaluate("document.getElementById('curves')._fullLayout.yaxis.range")
    assert low >= 0 and high <= 1


def test_money_in_the_place_of_time(shown: Page) -> None:
    shown.select_option("#basis", "money")
    assert field(shown, "jacobian", "pow") == "70.0 % $0.001, honest $1.0e-4"
    shown.select_option("#basis", "time")


def test_an_attacker_is_judged_by_its_best_response(browser: Browser, shown: Page, tmp_path: Path) -> None:
    """Where the cells know it; the bill as it asked is a choice beside it."""
    assert shown.locator("#basis [value=best]").count() == 0
    write_cell(tmp_path / "cell", "knockoff", 0, [0.5, 0.8], overhead=33.0, cheapest_overhead=1.5)
    report.write_report(report.load([tmp_path]), tmp_path / "out")
    with opened(browser, tmp_path / "out" / "report.html", "light", 1280) as page:
        assert field(page, "knockoff", "pow") == "80.0 % ×1.5, honest ×1.1"
        assert "does not stop (less than twice as much): knockoff" in words_of(page)
        page.select_option("#basis", "time")
        assert field(page, "knockoff", "pow") == "80.0 % ×33, honest ×1.1"
        assert "holds back" in words_of(page)


def test_words_follow_from_intervals_and_say_what_honest_users_lose(browser: Browser, tmp_path: Path) -> None:
    """And an attacker who asks what honest users ask is not called slowed, whatever it pays."""
    lossy: dict[str, Any] = {"defense": "mad+pow", "honest": KEPT | {"l1": 1.0}}
    for seed, factor in enumerate((1, 1.2, 0.9)):
        own = tmp_path / str(seed)
        write_cell(own / "a", "standard", seed, [0.9], overhead=9.0, asks_as_honest=True, honest=KEPT)
        write_cell(own / "b", "knockoff", seed, [0.9], overhead=6 * factor, honest=KEPT)
        write_cell(own / "c", "jacobian", seed, [0.9], overhead=2.2 * factor**4, honest=KEPT)
        write_cell(own / "d", "knockoff", seed, [0.9], overhead=6 * factor, **lossy)
    report.write_report(report.load([tmp_path]), tmp_path / "out")
    with opened(browser, tmp_path / "out" / "report.html", "light", 1280) as page:
        kept, changed = page.locator("#verdict li").all_text_contents()
        assert "takes 1.1 times as long, and keeps its answers as they are." in kept
        assert "takes 1.1 times as long, and loses 50.0 % of its answers." in changed
        assert "slows (at least twice as much): knockoff (3.9 to 8.03 times)" in kept
        assert "cannot tell from honest users, as it asks what they ask: standard (8.18 times)" in kept
        assert "seeds do not tell whether it slows: jacobian (0." in kept
        assert "asks as honest users do" in page.locator("#matrix").inner_text()
        assert "50.0 % of its answers lost" in field(page, "honest user", "mad+pow")


def test_what_a_defense_takes_is_told_by_paired_differences(browser: Browser, tmp_path: Path) -> None:
    """Of 1,000 images that both copies were measured on; the intervals of both accuracies overlap."""
    free = np.arange(1000)[None] < 900
    for attack, lost in (("knockoff", 30), ("standard", 0), ("jacobian", 2)):
        changed = free & (np.arange(1000) >= lost)
        for name, right in (("none", free), ("rounding", changed)):
            told: dict[str, Any] = FREE | {"defense": name, "honest": KEPT | {"l1": 0.2}}
            accuracy = [float(right.mean())]
            write_cell(tmp_path / attack / name, attack, 0, accuracy, overhead=1.0, right=right, **told)
    sweep = report.load([tmp_path])
    ends = report.table(sweep).query("attack == 'knockoff'")[["accuracy", "accuracy_interval"]].to_numpy()
    assert abs(ends[0, 0] - ends[1, 0]) < ends[:, 1].sum()
    report.write_report(sweep, tmp_path / "out")
    with opened(browser, tmp_path / "out" / "report.html", "light", 1280) as page:
        words = words_of(page)
        assert "knockoff (87.0 %, 1.9 to 4.1 points less than without a defense)" in words
        assert "jacobian (89.8 %, not more than 0.6 points less than without a defense)" in words
        assert "standard (90.0 %, not more than 0.3 points less than without a defense)" in words
        assert "One seed: what others would give is in no interval." in words
        rows = page.locator("#table tbody tr").all_inner_texts()
        assert any("-3.00 ± 1.09" in row for row in rows if "rounding" in row and "knockoff" in row)


def test_the_matrix_begins_with_the_price_of_ninety_per_cent(browser: Browser, tmp_path: Path) -> None:
    quantiles = {"pow_seconds": {"median": 0.5, "q95": 2.0}, "queries": {"median": 9.0, "q95": 100.0}}
    for attack, reached in (("knockoff", False), ("jacobian", True)):
        bill = {"reached": reached, "queries": 200.0, "pow_seconds": 8.0, "attacker_usd": 0.1}
        price = {"accuracy": {"90": bill | {"cheapest_pow_seconds": 6.0}}}
        write_cell(tmp_path / attack, attack, 0, [0.8], price_to_reach=price, honest_bill=quantiles)
    report.write_report(report.load([tmp_path]), tmp_path / "out")
    with opened(browser, tmp_path / "out" / "report.html", "light", 1280) as page:
        assert field(page, "jacobian", "pow") == "80.0 % 90 % for ×3"
        assert field(page, "knockoff", "pow") == "80.0 % not 90 %, for ×3"
        assert "knockoff (more than 3 times, in vain)" in words_of(page)
        assert "95 % of honest users stay below 2 s of work" in words_of(page)


def test_the_table_tells_the_price_of_ninety_per_cent(browser: Browser, tmp_path: Path) -> None:
    """Over the honest quantile; a lower bound where a seed's attacker never came so far."""
    for seed, reached in ((0, True), (1, False)):
        bill = {"reached": reached, "queries": 200.0, "pow_seconds": 8.0, "attacker_usd": 0.1}
        quantiles = {"pow_seconds": {"median": 0.5, "q95": 2.0}, "queries": {"median": 9.0, "q95": 100.0}}
        for attack, came in (("knockoff", reached), ("standard", True)):
            price = {"accuracy": {"90": bill | {"reached": came}}}
            folder = tmp_path / "cells" / f"{attack}{seed}"
            write_cell(folder, attack, seed, [0.5, 0.8], price_to_reach=price, honest_bill=quantiles)
    report.write_report(report.load([tmp_path / "cells"]), tmp_path / "out")
    with opened(browser, tmp_path / "out" / "report.html", "light", 1280) as page:
        rows = page.locator("#table tbody tr").all_inner_texts()
        (knockoff,) = (row for row in rows if "knockoff" in row)
        (standard,) = (row for row in rows if "standard" in row)
        assert "> ×4" in knockoff and "> 200" in knockoff
        assert "×4" in standard and ">" not in standard


def words_of(page: Page) -> str:
    return page.locator("#verdict").text_content() or ""


def test_filters_and_axes(shown: Page) -> None:
    assert lines_of(shown, "curves") == 8
    shown.get_by_label("knockoff").uncheck(force=True)
    assert lines_of(shown, "curves") == 6
    assert "knockoff" not in shown.locator("#table").inner_text()
    shown.get_by_label("pow", exact=True).uncheck(force=True)
    assert lines_of(shown, "curves") == 3
    shown.select_option("#axis", "cost_pate")
    assert lines_of(shown, "curves") == 1
    assert "Lines that lie on others: standard: pow x4 on none." in shown.locator("#curves-note").inner_text()
    assert "PATE cost" in shown.locator("#curves-note").inner_text()
    assert "dfme" in shown.locator("#curves-note").inner_text()
    for axis in shown.locator("#axis option").evaluate_all("(all) => all.map((option) => option.value)"):
        shown.select_option("#axis", axis)
        shown.locator("#log").set_checked(axis != "queries")
        kind = "log" if axis != "queries" else "linear"
        assert shown.evaluate("document.getElementById('curves')._fullLayout.xaxis.type") == kind
    shown.get_by_label("knockoff").check(force=True)
    shown.get_by_label("pow", exact=True).check(force=True)


def test_overhead_against_strength(shown: Page) -> None:
    traces = shown.evaluate("document.getElementById('strengths').data.map((t) => [t.x, t.y, !!t.text])")
    assert [[1, 4], [33, 66], True] in traces
    assert [[1, 4], [1.1, 1.4], False] in traces, "the honest user"


def test_defenses_compared(shown: Page) -> None:
    """Where a defense changes answers: against the answers and against the time that honest users lose."""
    assert shown.locator("#compared").is_hidden(), "proof of work alone"
    shown.locator("#choose-dataset .chip", has_text="alert").click()
    expect(shown.locator("#compared")).to_be_visible()
    point = "[t.xaxis, t.x[0], t.y[0], t.marker.line.width[0]]"
    drawn = shown.evaluate(f"document.getElementById('frontier').data.map((t) => {point})")
    assert sorted(drawn) == [
        *(["x", 0, 0.6, 2], ["x", 0.25, 0.55, 2]),
        *(["x2", 0, 0.55, 2], ["x2", 0.1, 0.6, 2]),
    ]
    assert set(shown.locator("#frontier .annotation").all_text_contents()) == {"<i>rounding</i>", "pow"}
    shown.get_by_label("pow", exact=True).uncheck(force=True)
    assert lines_of(shown, "frontier") == 2
    shown.get_by_label("pow", exact=True).check(force=True)
    shown.locator("#choose-dataset .chip", has_text="digits").click()


def test_the_table_sorts(shown: Page) -> None:
    heading = shown.locator("#table th", has_text="accuracy").first
    heading.get_by_role("button").click()
    expect(shown.locator("#table th[aria-sort=descending]")).to_have_count(1)
    column = shown.locator("#table tbody tr td:nth-child(5)")
    values = [float(text.split()[0]) for text in column.all_inner_texts()]
    assert values == sorted(values, reverse=True)
    shown.locator("#table th[aria-sort=descending]").get_by_role("button").click()
    values = [float(text.split()[0]) for text in column.all_inner_texts()]
    assert values == sorted(values)


def test_names_are_no_markup(shown: Page) -> None:
    """A data set's name that would be a script, and an attack's that would be bold."""
    shown.locator("#choose-dataset .chip", has_text="alert").click()
    assert "<b>odd</b>" in shown.locator("#matrix").inner_text()
    assert shown.locator("#strength").is_hidden()
    shown.locator("#choose-dataset .chip", has_text="digits").click()


def test_long_curves_are_thinned(tmp_path: Path) -> None:
    for rounds in (1, 59, 60, 61, 500):
        write_cell(tmp_path / str(rounds), f"of {rounds}", 0, [0.5] * rounds)
    rows = thinned(lines(report.load([tmp_path])))
    for attack, line in rows.groupby("attack"):
        rounds = int(str(attack).split()[1])
        assert len(line) == min(rounds, POINTS_OF_A_LINE)
        assert (line["round"].iloc[0], line["round"].iloc[-1]) == (1, rounds)


def test_the_page_has_no_address_to_load_from(sweep: Path) -> None:
    text = page(report.load([sweep]))
    head = text[: text.index("<script>")]
    assert "default-src 'none'" in head
    assert "src=" not in head and "href=" not in head and "url(" not in head
