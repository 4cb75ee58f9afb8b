"""The command that reports a sweep: files, tables, and what is refused."""

from __future__ import annotations

import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from commands.report import main
from support.grids.reports import write_cell
from sweeps import report
from sweeps.report.page import page
from sweeps.report.summary import summarize
from sweeps.report.tables import latex, markdown
from sweeps.report.terminal import print_table, terminal_table


def parsed(text: str) -> list[dict[str, str]]:
    """Rows of a table in Markdown."""
    head, _, *rows = (re.split(r" \| ", line.strip("| \n") + " ") for line in text.splitlines())
    return [dict(zip((name.strip() for name in head), row, strict=True)) for row in rows]


def test_markdown_states_each_interval(sweep: Path) -> None:
    loaded = report.load([sweep])
    standard, knockoff = parsed(markdown(report.table(loaded), loaded))
    assert standard["accuracy %"] == "93.00 (84.04 to 100.00)"
    assert standard["seeds"] == "3"
    assert standard["training, s"] == "2 ± 2.5"
    assert standard["PATE"] == "60", "costs that seeds agree in have no interval"
    assert knockoff["accuracy %"] == "60.00"
    assert "knows" not in standard, "a column without a value is left out"


def test_an_attacker_who_knows_and_one_who_gives_up_are_marked(tmp_path: Path) -> None:
    write_cell(tmp_path / "0", "worstcase", 0, [0.5], knows=["cost"])
    write_cell(tmp_path / "1", "knockoff", 0, [0.4], gave_up=True)
    write_cell(tmp_path / "2", "knockoff", 1, [0.4, 0.6])
    loaded = report.load([tmp_path])
    worstcase, knockoff = parsed(markdown(report.table(loaded), loaded))
    assert (worstcase["knows"], worstcase["gave up"]) == ("cost", "")
    assert (knockoff["knows"], knockoff["gave up"]) == ("", "1 of 2")
    assert knockoff["queries"] == "150 ± 635", "t(0.975, 1) = 12.706 times 50"


def test_a_cost_that_was_not_measured_is_left_out(tmp_path: Path) -> None:
    write_cell(tmp_path / "0", "dfme", 0, [0.5], without=["cost_pate"])
    write_cell(tmp_path / "1", "standard", 0, [0.5])
    loaded = report.load([tmp_path])
    dfme, standard = parsed(markdown(report.table(loaded), loaded))
    assert (dfme["PATE"], standard["PATE"]) == ("", "30")


def test_latex_is_escaped_and_ruled(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_cell(tmp_path / str(seed), "jacobian_tr", seed, [0.5 + seed / 10], give_up_usd=0.01)
    loaded = report.load([tmp_path])
    text = latex(report.table(loaded), loaded)
    body = text[text.index(r"\begin") :]
    assert r"jacobian\_tr, up to \$0.01" in body
    assert "55.00 (0.00 to 100.00)" in body, "55 and t(0.975, 1) = 12.706 times 5, cut off"
    assert r"accuracy \%" in body
    assert all(body.count(rule) == 1 for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
    assert re.search(r"(?<!\\)[%_#]", body) is None
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len({row.count("&") for row in rows}) == 1


def test_the_command(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = sweep / "report"
    assert main([str(sweep), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{(out / 'table.md').read_text()}\n{out / 'report.html'}\n"
    assert len(pd.read_csv(out / "table.csv")) == 2
    assert (out / "accuracy_digits.png").read_bytes().startswith(b"\x89PNG")
    assert r"\toprule" in (out / "table.tex").read_text()
    assert (out / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert not list(out.glob(".*")), "no temporary file is left"


def test_the_command_along_the_curve(sweep: Path) -> None:
    assert main([str(sweep), "--at", "100", "200"]) == 0
    assert [row["queries"] for row in parsed((sweep / "table.md").read_text())] == ["100", "200"] * 2


@pytest.mark.parametrize("at", ["100000", "0", "-5"])
def test_numbers_of_queries_that_no_curve_reaches_are_refused(
    sweep: Path, at: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what an earlier report left stays."""
    assert main([str(sweep)]) == 0
    before = (sweep / "table.csv").read_bytes()
    with pytest.raises(SystemExit):
        main([str(sweep), "--at", "100", at])
    assert (
        f"--at must be between 100 and 200, the queries of these cells, not {at}" in capsys.readouterr().err
    )
    assert (sweep / "table.csv").read_bytes() == before


def test_strengths_have_a_plot(tmp_path: Path) -> None:
    for number, strength in enumerate((0.5, 1.0)):
        write_cell(tmp_path / str(number), "standard", 0, [0.5], strength=strength)
    report.write_report(report.load([tmp_path]), tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {
        "accuracy_digits.png",
        "strength_digits.png",
    }


def test_an_empty_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path)])
    assert "no finished cell" in capsys.readouterr().err


def test_cells_that_nothing_tells_apart_are_refused(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_cell(sweep / "4_standard", "standard", 1, [0.5, 0.99], key="another")
    with pytest.raises(SystemExit):
        main([str(sweep)])
    assert "seed 1, and no option in their config.yaml tells them apart" in capsys.readouterr().err
    assert not list(sweep.glob("table.*"))


def test_cells_of_early_versions_are_read(tmp_path: Path) -> None:
    """Without honest users, bills, hardware and the like."""
    write_cell(
        tmp_path / "0", "standard", 0, [0.5], without=["honest_overhead", "honest_usd", "attacker_usd"]
    )
    result = json.loads((tmp_path / "0" / "result.json").read_text())
    early = {
        name: result[name] for name in ("dataset", "attack", "defense", "seed", "victim_accuracy", "keys")
    }
    (tmp_path / "0" / "result.json").write_text(json.dumps(early))
    loaded = report.load([tmp_path])
    report.write_report(loaded, tmp_path)
    (row,) = parsed((tmp_path / "table.md").read_text())
    assert row["overhead"] == "2"


MINE: dict[str, Any] = {
    "measures": {"pate": {"label": "PATE", "format": ".4g"}, "mine": {"label": "mine's", "format": ".2f"}}
}


def write_measured(folder: Path) -> None:
    """A cell with a measure that the report knows by the cell's result alone."""
    write_cell(folder, "standard", 0, [0.5], **MINE)
    curve = pd.read_csv(folder / "curve.csv")
    curve.assign(cost_mine=1.23456).to_csv(folder / "curve.csv", index=False)


def test_a_measure_is_in_every_table_by_its_label_and_format(tmp_path: Path) -> None:
    write_measured(tmp_path / "0")
    loaded = report.load([tmp_path])
    means = report.table(loaded)
    (row,) = parsed(markdown(means, loaded))
    assert (row["PATE"], row["mine's"]) == ("30", "1.23")
    headings = list(row)
    assert headings.index("fidelity %") < headings.index("PATE") < headings.index("mine's")
    assert headings.index("mine's") < headings.index("seconds")
    assert "mine's & " in latex(means, loaded)
    shown, _ = terminal_table(loaded, 120)
    assert {"PATE cost", "mine's cost"} <= {str(column.header) for column in shown.columns}


def test_a_measure_of_an_early_version_is_called_by_its_column(tmp_path: Path) -> None:
    write_cell(tmp_path / "0", "standard", 0, [0.5], measures={})
    loaded = report.load([tmp_path])
    (row,) = parsed(markdown(report.table(loaded), loaded))
    assert row["cost_pate"] == "30"


def test_a_measure_is_among_the_figures_of_the_page(tmp_path: Path) -> None:
    write_measured(tmp_path / "0")
    text = page(report.load([tmp_path]))
    data = json.loads(re.findall(r'id="data">(.*?)</script>', text)[0])
    assert data["measures"] == [["cost_pate", "PATE cost", ".4g"], ["cost_mine", "mine's cost", ".2f"]]
    assert data["finals"]["cost_mine"] == data["lines"]["cost_mine"] == [1.2346]


def printed(sweep: report.Sweep, width: int) -> list[str]:
    """Lines of the table in a terminal that is so wide."""
    console = Console(width=width, record=True, file=io.StringIO())
    print_table(sweep, console)
    return console.export_text().splitlines()


@pytest.mark.parametrize("width", [80, 120, 190])
def test_the_table_in_the_terminal_is_whole(width: int, tmp_path: Path) -> None:
    """Figures and names are not cut, and what all cells agree in stands below."""
    for number, attack in enumerate(("standard", "jacobian")):
        write_cell(tmp_path / str(number), attack, 0, [0.12345], hardware="laptop_core", overhead=1234.5678)
    text = " ".join(" ".join(printed(report.load([tmp_path]), width)).split())
    assert "…" not in text
    assert all(word in text for word in ("standard", "jacobian", "12.35", "1235"))
    assert "data set: digits; seed: 0; hardware: laptop_core; queries: 100" in text


@pytest.mark.parametrize(("width", "columns"), [(80, 5), (120, 6), (190, 8)])
def test_the_terminal_has_the_columns_that_matter_with_intervals(
    width: int, columns: int, tmp_path: Path
) -> None:
    for number in range(27):
        attack, defense, seed = number // 9, number // 3 % 3, number % 3
        name = "adaptive_misinformation+pow" if defense == 2 else f"pow{defense}"
        write_cell(
            tmp_path / str(number),
            f"attack{attack}",
            seed,
            [0.5 + seed / 10 + attack / 100],
            overhead=10.0 ** (seed + 1 + attack),
            cheapest_overhead=1.5**seed,
            honest_overhead=1.0 + defense + seed / 10,
            defense=name,
        )
    lines = printed(report.load([tmp_path]), width)
    rule = next(number for number, line in enumerate(lines) if set(line.strip()) == {"─"})
    text = " ".join(" ".join(lines[rule:]).split())
    shown, _ = terminal_table(report.load([tmp_path]), width)
    assert columns <= len(shown.columns) <= 8 and shown.row_count == 9, "a row for three seeds"
    assert all(len(line) <= width for line in lines)
    assert "± 25" in text and "(3.3 to" in text, "t(0.975, 2) of seeds; on the log scale"
    assert "Means over 3 seeds. ± and brackets: 95 % intervals, of test images too." in text


def test_what_a_sweep_says_at_its_end_can_be_copied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "it's [red]mine"
    write_cell(folder / "0", "knockoff", 0, [0.5])
    summarize(folder)
    said = capsys.readouterr().out.splitlines()
    command = next(line for line in said if line.startswith("tollgate report "))
    assert shlex.split(command)[:3] == ["tollgate", "report", str(folder)]
    assert f"all figures: {folder / 'table.csv'}" in said


def test_of_one_seed_it_is_said_that_others_may_differ(tmp_path: Path) -> None:
    write_cell(tmp_path / "0", "knockoff", 0, [0.9], right=np.arange(50)[None] < 45)
    sweep = report.load([tmp_path])
    text = " ".join(" ".join(printed(sweep, 120)).split())
    assert "One seed. ± and brackets: 95 % intervals of test images alone, not of what other seeds" in text
    assert "90.00" in text and "± 9" in text
    assert "of one seed of its test images alone" in latex(report.table(sweep), sweep)
