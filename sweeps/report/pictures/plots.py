"""Pictures of a sweep as PNG and PDF: accuracy against cost, overhead against strength, defenses compared.

They are as wide as a page of two columns, in its size of letters, so that a paper takes the PDF as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from storage.files import write_atomically
from sweeps.report.columns import AS_HONEST
from sweeps.report.frames import Sweep
from sweeps.report.pictures.frontier_plot import plot_frontier
from sweeps.report.pictures.looks import Looks, coinciding, in_order, looks_of
from sweeps.report.setups import frontier, lines, strengths

WIDTH = 7.0
"""Inches of both columns of a page."""

STYLE: dict[str, Any] = {
    **{"font.size": 8, "axes.titlesize": 9, "legend.fontsize": 7, "axes.linewidth": 0.6},
    **{"axes.spines.top": False, "axes.spines.right": False, "pdf.fonttype": 42},
}
"""Letters as a paper has them, embedded as TrueType, which printers of conferences ask for."""

DPI = 200

MOST_BANDS = 12
"""With more lines than these, bands would hide them."""

Plot = Callable[[Figure, pd.DataFrame], list[Any]]


def draw(sweep: Sweep, directory: Path) -> list[Path]:
    """`accuracy_<dataset>`; `strength_<dataset>` where a defense has several strengths, and
    `frontier_<dataset>` where one changes answers or watches. Returns the paths: of each a PNG and a PDF."""
    if sweep.cells.empty:
        return []
    looks, paths = looks_of(sweep), []
    plots: list[tuple[str, pd.DataFrame, Plot]] = [
        ("accuracy", lines(sweep), partial(_one_panel, plot_accuracy_against_cost, looks)),
        ("strength", strengths(sweep), partial(_one_panel, plot_overhead_against_strength, looks)),
        ("frontier", frontier(sweep), partial(plot_frontier, looks=looks)),
    ]
    for name, rows, plot in plots:
        for dataset, of_dataset in rows.groupby("dataset", sort=False) if len(rows) else ():
            place = re.sub(r"[^\w.-]+", "_", str(dataset))
            paths += _save(plot, of_dataset, directory / f"{name}_{place}")
    return paths


def _one_panel(
    plot: Callable[[Any, pd.DataFrame, Looks], list[Any]], looks: Looks, figure: Figure, rows: pd.DataFrame
) -> list[Any]:
    figure.set_size_inches(WIDTH, 3.4)
    figure.set_layout_engine("constrained")
    return plot(figure.subplots(), rows, looks)


def _save(plot: Plot, rows: pd.DataFrame, stem: Path) -> list[Path]:
    """The picture as `<stem>.png` and `<stem>.pdf`."""
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "pdf")]
    with mpl.rc_context(STYLE):  # type: ignore[arg-type] # a literal type of each name
        figure = Figure(dpi=DPI)  # not pyplot's, which would choose a backend for whoever imports this
        box = _laid_out(figure, plot(figure, rows))
        for path in paths:
            kind = path.suffix[1:]
            undated: dict[str, Any] = {"metadata": {"CreationDate": None}} if kind == "pdf" else {}
            save = partial(figure.savefig, format=kind, dpi=DPI, bbox_inches=box, **undated)
            write_atomically(path, save)
    return paths


def _laid_out(figure: Figure, beside: list[Any]) -> Any:
    """Lay a figure out once for all its files, each of which would do it again; returns what it fills."""
    figure.draw_without_rendering()
    box = figure.get_tightbbox(bbox_extra_artists=beside).padded(mpl.rcParams["savefig.pad_inches"])
    figure.set_layout_engine(None)
    return box


def plot_accuracy_against_cost(axes: Any, rows: pd.DataFrame, looks: Looks) -> list[Any]:
    """Mean accuracy over seeds with its 95 % interval against total cost in seconds (log scale).

    `rows` are `lines` of one data set. A line that another of the same attack covers is named, not drawn.
    Returns what stands outside the axes.
    """
    shown, covered = coinciding(rows, "total_seconds", looks)
    lowest, has_bands = 100.0, shown.groupby(["attack", "defense"]).ngroups <= MOST_BANDS
    for (attack, defense), line in shown.groupby(["attack", "defense"], sort=False):
        accuracy, seconds = line["accuracy"].to_numpy(), line["total_seconds"].to_numpy()
        style = looks.line(str(attack), str(defense))
        axes.plot(seconds, 100 * accuracy, clip_on=False, **style)
        half_width = line["accuracy_interval"].fillna(0).to_numpy()
        low, high = (accuracy - half_width).clip(min=0), (accuracy + half_width).clip(max=1)
        if has_bands:
            axes.fill_between(seconds, 100 * low, 100 * high, color=style["color"], alpha=0.12, linewidth=0)
        lowest = min(lowest, 100 * (low if has_bands else accuracy).min())
    axes.set_ylim(max(0.0, lowest - 2), 100)
    _mark_victim(axes, rows["victim_accuracy"])
    axes.set_xscale("log")
    axes.set_xlabel("seconds that the attacker takes: answers, and work on its hardware (log scale)")
    axes.set_ylabel("accuracy of the stolen model (%)")
    axes.set_title(f"{rows['dataset'].iloc[0]}: what a stolen model costs", loc="left")
    axes.grid(alpha=0.3, which="both", linewidth=0.4)
    return [_legend(axes, rows, "defense", looks), _caption(axes, rows, has_bands, covered)]


def plot_overhead_against_strength(axes: Any, rows: pd.DataFrame, looks: Looks) -> list[Any]:
    """How many times longer both sides take at each strength: `strengths` of one data set."""
    for (attack, toll), line in rows.groupby(["attack", "toll"], sort=False):
        axes.plot(line["strength"], line["overhead"], **looks.line(str(attack), str(toll)))
    for (toll, _), line in rows.groupby(["toll", "queries"], sort=False):
        honest = line.groupby("strength")["honest_overhead"].mean()
        style = looks.line(looks.attacks[0], str(toll))
        axes.plot(
            honest.index, honest, **style | {"color": "black", "markerfacecolor": "black", "linewidth": 2.4}
        )
    axes.set_xscale("log")
    axes.set_xticks(sorted(rows["strength"].unique()))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("strength of the calibration (log scale)")
    axes.set_ylabel("time with work over time without (log scale)")
    axes.set_title(f"{rows['dataset'].iloc[0]}: attackers, and an honest user (black)", loc="left")
    axes.grid(alpha=0.3, linewidth=0.4)
    return [_legend(axes, rows, "toll", looks)]


def _mark_victim(axes: Any, accuracies: pd.Series[float]) -> None:
    for accuracy in accuracies.unique():
        axes.axhline(100 * accuracy, color="0.6", linewidth=0.8, zorder=0)
    at = (0.995, 100 * accuracies.max())
    place = {"xytext": (0, -2), "textcoords": "offset points", "ha": "right", "va": "top"}
    axes.annotate("victim", at, xycoords=("axes fraction", "data"), fontsize=7, color="0.4", **place)


def _legend(axes: Any, rows: pd.DataFrame, told: str, looks: Looks) -> Any:
    """Beside the axes: colours name the attacks, line styles and markers the defenses."""
    attacks = in_order(rows["attack"].tolist(), looks.attacks)
    defenses = in_order(rows[told].tolist(), looks.defenses if told == "defense" else looks.tolls)
    grey = {"color": "0.3", "markerfacecolor": "0.3"}
    nothing = Line2D([], [], linestyle="none")
    handles = [
        nothing,
        *(Line2D([], [], color=looks.color(attack), linewidth=2.5) for attack in attacks),
        nothing,
        *(Line2D([], [], **looks.line(attacks[0], defense) | grey) for defense in defenses),
    ]
    labels = [r"$\bf{attack}$", *map(_plain, attacks), r"$\bf{defense}$", *map(_plain, defenses)]
    return axes.figure.legend(
        handles,
        labels,
        loc="outside right upper",
        ncols=1 + len(labels) // 26,
        frameon=False,
        handlelength=3.2,
        borderaxespad=0.2,
    )


def _plain(name: str) -> str:
    """A name as it is, a dollar too, which would begin mathematics."""
    return name.replace("$", r"\$")


def _caption(axes: Any, rows: pd.DataFrame, has_bands: bool, covered: list[str]) -> Any:
    """What lines and bands are, and which lines lie on others."""
    seeds = int(rows["seeds"].max())
    what = f"Lines: means over {seeds} seeds. " if seeds > 1 else ""
    if has_bands:
        what += "Bands: 95 % intervals, of test images" + (" and seeds." if seeds > 1 else ".")
    else:
        what += "The 95 % intervals of so many lines are in table.csv and on the page."
    if alike := sorted(set(rows["attack"][rows["asks_as_honest"] == 1])):
        covered = [f"{', '.join(alike)}: {AS_HONEST}", *covered]
    text = "\n".join([what, *(f"{_plain(sentence)}." for sentence in covered)])
    return axes.figure.supxlabel(text, x=0.01, ha="left", fontsize=7, color="0.3")
