"""Pictures of a sweep as PNG: accuracy against cost, overhead against strength, defenses compared."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from storage.files import write_atomically
from sweeps.report.frames import Sweep
from sweeps.report.pictures.frontier_plot import plot_frontier
from sweeps.report.setups import frontier, lines, strengths

LINE_STYLES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def draw(sweep: Sweep, directory: Path) -> list[Path]:
    """`accuracy_<dataset>.png`; `strength_<dataset>.png` where a defense has several strengths, and
    `frontier_<dataset>.png` where one changes answers or watches. Returns the paths."""
    if sweep.cells.empty:
        return []
    paths = []
    for name, rows, plot in (
        ("accuracy", lines(sweep), partial(_one_panel, plot_accuracy_against_cost)),
        ("strength", strengths(sweep), partial(_one_panel, plot_overhead_against_strength)),
        ("frontier", frontier(sweep), plot_frontier),
    ):
        for dataset, of_dataset in rows.groupby("dataset", sort=False) if len(rows) else ():
            place = re.sub(r"[^\w.-]+", "_", str(dataset))
            path = directory / f"{name}_{place}.png"
            _save(plot, of_dataset, path)
            paths.append(path)
    return paths


def _one_panel(
    plot: Callable[[Any, pd.DataFrame], list[Any]], figure: Figure, rows: pd.DataFrame
) -> list[Any]:
    figure.set_size_inches(8, 5)
    return plot(figure.subplots(), rows)


def _save(plot: Callable[[Figure, pd.DataFrame], list[Any]], rows: pd.DataFrame, path: Path) -> None:
    figure = Figure()  # not pyplot's, which would choose a backend for whoever imports this
    beside = plot(figure, rows)
    write_atomically(
        path,
        lambda temporary: figure.savefig(
            temporary, format="png", dpi=150, bbox_inches="tight", bbox_extra_artists=beside
        ),
    )


def plot_accuracy_against_cost(axes: Any, rows: pd.DataFrame) -> list[Any]:
    """Mean accuracy over seeds with its 95 % interval against total cost in seconds (log scale).

    A colour an attack, a line style and a marker a defense. `rows` are `lines` of one data set; returns the
    legends.
    """
    attacks, defenses = rows["attack"].unique().tolist(), rows["defense"].unique().tolist()
    colors = _colors(len(attacks))
    for (attack, defense), line in rows.groupby(["attack", "defense"], sort=False):
        color, accuracy = colors[attacks.index(attack)], line["accuracy"].to_numpy()
        seconds = line["total_seconds"].to_numpy()
        axes.plot(seconds, 100 * accuracy, color=color, **_style(defenses.index(defense)))
        half_width = line["accuracy_interval"].to_numpy()
        low, high = (accuracy - half_width).clip(min=0), (accuracy + half_width).clip(max=1)
        axes.fill_between(seconds, 100 * low, 100 * high, color=color, alpha=0.12, linewidth=0)
    _mark_victim(axes, rows["victim_accuracy"])
    axes.set_xscale("log")
    axes.set_xlabel("total cost: seconds of queries and proof of work (log scale)")
    axes.set_ylabel("accuracy of the stolen model (%)")
    axes.set_title(f"{rows['dataset'].iloc[0]}: what a stolen model costs", loc="left")
    axes.grid(alpha=0.3, which="both", linewidth=0.5)
    return _legends(axes, attacks, defenses)


def plot_overhead_against_strength(axes: Any, rows: pd.DataFrame) -> list[Any]:
    """How many times longer both sides take at each strength: `strengths` of one data set."""
    attacks, tolls = rows["attack"].unique().tolist(), rows["toll"].unique().tolist()
    colors = _colors(len(attacks))
    for (attack, toll), line in rows.groupby(["attack", "toll"], sort=False):
        style = _style(tolls.index(toll))
        axes.plot(line["strength"], line["overhead"], color=colors[attacks.index(attack)], **style)
    for (toll, _), line in rows.groupby(["toll", "queries"], sort=False):
        honest = line.groupby("strength")["honest_overhead"].mean()
        axes.plot(honest.index, honest, color="black", **_style(tolls.index(toll)) | {"linewidth": 2.4})
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
    axes.grid(alpha=0.3, linewidth=0.5)
    return _legends(axes, attacks, tolls)


def _colors(count: int) -> list[Any]:
    """Colours that differ for the first 20 attacks."""
    colors = matplotlib.colormaps["tab10" if count <= 10 else "tab20"]
    return [colors(number % colors.N) for number in range(count)]


def _style(number: int) -> dict[str, Any]:
    """A line style and a marker, together different for the first 28 numbers."""
    return {
        "linestyle": LINE_STYLES[number % len(LINE_STYLES)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 4,
        "linewidth": 1.4,
    }


def _mark_victim(axes: Any, accuracies: pd.Series[float]) -> None:
    for accuracy in accuracies.unique():
        axes.axhline(100 * accuracy, color="0.6", linewidth=0.8, zorder=0)
    axes.annotate(
        "victim",
        (0.99, 100 * accuracies.max()),
        xycoords=("axes fraction", "data"),
        xytext=(0, -2),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=8,
        color="0.4",
    )


def _legends(axes: Any, attacks: list[str], defenses: list[str]) -> list[Any]:
    """Two legends: colours name the attacks, line styles and markers the defenses."""
    by_attack = [Line2D([], [], color=color) for color in _colors(len(attacks))]
    by_defense = [Line2D([], [], color="0.3", **_style(i)) for i in range(len(defenses))]
    columns = 1 if len(attacks) <= 14 else 2
    place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "ncols": columns}
    first = axes.legend(by_attack, attacks, title="attack", **place)
    axes.add_artist(first)
    below = {"loc": "upper left", "bbox_to_anchor": (0.0, -0.13), "ncols": 5, "alignment": "left"}
    second = axes.legend(by_defense, defenses, title="defense", **below)
    return [first, second]
