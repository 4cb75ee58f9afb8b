"""Attacks and defenses look alike in every output, and no line vanishes under another."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from support.grids.reports import write_cell
from sweeps import report
from sweeps.report.pictures.looks import COLORS, coinciding, looks_of
from sweeps.report.pictures.plots import draw, plot_accuracy_against_cost

FREE: dict[str, Any] = {"defense": "none", "calibration": None, "strength": None, "honest_overhead": 1.0}


@pytest.fixture
def sweep(tmp_path: Path) -> report.Sweep:
    """Two attacks without a defense, with one that changes nothing that a curve shows, and with work."""
    for number, attack in enumerate(("standard", "knockoff")):
        accuracies = [0.5 + number / 10, 1.0]
        write_cell(tmp_path / f"{number}a", attack, 0, accuracies, overhead=1.0, **FREE)
        write_cell(
            tmp_path / f"{number}b", attack, 0, accuracies, overhead=1.0, **FREE | {"defense": "label_only"}
        )
        write_cell(tmp_path / f"{number}c", attack, 0, accuracies, overhead=3.0, honest_overhead=2.0)
    return report.load([tmp_path])


def test_defenses_are_in_the_order_of_what_they_cost_an_honest_user(sweep: report.Sweep) -> None:
    looks = looks_of(sweep)
    assert looks.attacks == ("knockoff", "standard")
    assert looks.defenses[-1] == "pow" and set(looks.defenses) == {"none", "label_only", "pow"}
    assert looks.color("standard") == COLORS[1]
    styles = {str(looks.line("standard", defense)["linestyle"]) for defense in looks.defenses}
    markers = {looks.line("standard", defense)["marker"] for defense in looks.defenses}
    assert len(styles) == len(markers) == 3


def test_an_attack_has_one_colour_in_the_picture_and_on_the_page(sweep: report.Sweep, tmp_path: Path) -> None:
    axes = Figure().subplots()
    plot_accuracy_against_cost(axes, report.lines(sweep), looks := looks_of(sweep))
    drawn = {to_hex(line.get_color()) for line in axes.lines if line.get_marker() in ("o", "s", "^")}
    assert drawn == {looks.color("standard"), looks.color("knockoff")}
    assert looks.for_the_page()["colors"] == COLORS


def test_a_line_that_lies_on_another_is_named(sweep: report.Sweep) -> None:
    lines = report.lines(sweep)
    kept, covered = coinciding(lines, "total_seconds", looks_of(sweep))
    assert covered == ["label_only lies on none"]
    assert set(kept["defense"]) == {"none", "pow"}
    axes = Figure().subplots()
    _, caption = plot_accuracy_against_cost(axes, lines, looks_of(sweep))
    assert "label_only lies on none." in caption.get_text() and "95 % intervals" in caption.get_text()


def test_axes_stay_between_nothing_and_everything(sweep: report.Sweep) -> None:
    axes = Figure().subplots()
    plot_accuracy_against_cost(axes, report.lines(sweep), looks_of(sweep))
    low, high = axes.get_ylim()
    assert low >= 0 and high == 100
    assert "work on its hardware" in axes.get_xlabel()


def test_each_picture_is_there_for_print_too(sweep: report.Sweep, tmp_path: Path) -> None:
    """A PDF of both columns' width, with its letters in it."""
    first, second = draw(sweep, tmp_path)
    assert (first.suffix, second.suffix) == (".png", ".pdf")
    content = second.read_bytes()
    width = float(re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ", content)[0])
    assert width == pytest.approx(7 * 72, rel=0.05)
    assert b"/FontFile2" in content and b"CreationDate" not in content
