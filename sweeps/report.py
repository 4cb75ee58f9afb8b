"""Reading results: finished cells as a table, and pictures of accuracy against what it cost."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.lines import Line2D
from rich.table import Table

LINE_STYLES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True, eq=False)
class CellResult:
    """A finished cell: its folder, the content of result.json, and its curve."""

    path: Path
    result: dict[str, Any]
    curve: pd.DataFrame

    @property
    def defense(self) -> str:
        """The defence, with what of its price is not standard."""
        result = self.result
        standard = {"calibration": "paper", "strength": 1.0, "puzzle": "sha256", "scope": "account"}
        unusual = [name for name, value in standard.items() if result.get(name) not in (None, value)]
        labels = [f"x{result[name]:g}" if name == "strength" else result[name] for name in unusual]
        return " ".join([result["defense"], *labels])

    @property
    def attack(self) -> str:
        """The attack, with its accounts and its limit where it has them."""
        result = self.result
        accounts = [f"{result['accounts']:,} accounts"] if result.get("accounts", 1) > 1 else []
        limit = [f"up to ${result['give_up_usd']:g}"] if result.get("give_up_usd") is not None else []
        return ", ".join([result["attack"], *accounts, *limit])


def load_cells(directories: Iterable[Path]) -> list[CellResult]:
    """The finished cells below the directories, in the order of their folders' names."""
    paths = sorted(
        {path.parent for directory in directories for path in directory.rglob("result.json")}, key=_natural
    )
    return [
        CellResult(path, json.loads((path / "result.json").read_text()), pd.read_csv(path / "curve.csv"))
        for path in paths
    ]


def _natural(path: Path) -> tuple[str, int, str]:
    number = path.name.split("_", 1)[0]
    return str(path.parent), int(number) if number.isdigit() else 0, path.name


def summary(cells: Iterable[CellResult]) -> pd.DataFrame:
    """One row a cell: what it is, and the last point of its curve."""
    return pd.DataFrame(
        [
            {
                "dataset": cell.result["dataset"],
                "attack": cell.attack,
                "defense": cell.defense,
                "hardware": cell.result.get("hardware") or "",
                "seed": cell.result["seed"],
                "victim_accuracy": cell.result["victim_accuracy"],
                **cell.curve.iloc[-1].to_dict(),
            }
            for cell in cells
        ]
    )


def terminal_table(cells: list[CellResult]) -> Table:
    """The summary as a table for the terminal."""
    table = Table(title="What each stolen model cost", title_justify="left")
    for name in ("data set", "attack", "defence", "seed"):
        table.add_column(name)
    for name in (
        "queries",
        "accuracy %",
        "fidelity %",
        "PATE cost",
        "seconds",
        "with work",
        "overhead",
        "honest's",
        "hashes",
        "hardware",
        "USD",
    ):
        table.add_column(name, justify="right")
    for row in summary(cells).to_dict("records"):
        table.add_row(
            row["dataset"],
            row["attack"],
            row["defense"],
            str(row["seed"]),
            f"{row['queries']:,.0f}",
            f"{100 * row['accuracy']:.2f}",
            f"{100 * row['fidelity']:.2f}",
            f"{row['cost_pate']:.4g}" if "cost_pate" in row else "",
            f"{row['query_seconds']:.4g}",
            f"{row['total_seconds']:.4g}",
            f"{row['overhead']:.3g}",
            f"{row['honest_overhead']:.3g}",
            f"{row['expected_hashes']:.3g}",
            row["hardware"],
            f"{row['thief_usd']:.2g}",
        )
    return table


def plot_accuracy_against_cost(cells: list[CellResult], path: Path) -> None:
    """Accuracy against total cost in seconds (log scale): a colour an attack, a line style a defence."""
    attacks = list(dict.fromkeys(cell.attack for cell in cells))
    defenses = list(dict.fromkeys(cell.defense for cell in cells))
    colors = _colors(len(attacks))
    figure, axes = plt.subplots(figsize=(8, 5))
    for cell in cells:
        axes.plot(
            cell.curve["total_seconds"],
            100 * cell.curve["accuracy"],
            color=colors[attacks.index(cell.attack)],
            **_style(defenses.index(cell.defense)),
        )
    _mark_victim(axes, cells)
    axes.set_xscale("log")
    axes.set_xlabel("total cost: seconds of queries and proof of work (log scale)")
    axes.set_ylabel("accuracy of the stolen model (%)")
    axes.set_title(f"{cells[0].result['dataset']}: what a stolen model costs", loc="left")
    axes.grid(alpha=0.3, which="both", linewidth=0.5)
    legends = _legends(axes, attacks, defenses)
    figure.savefig(path, dpi=150, bbox_inches="tight", bbox_extra_artists=legends)
    plt.close(figure)


def _colors(count: int) -> list[Any]:
    """Colours that differ for the first 20 attacks."""
    colors = plt.get_cmap("tab10" if count <= 10 else "tab20")
    return [colors(number % colors.N) for number in range(count)]


def _style(number: int) -> dict[str, Any]:
    """A line style and a marker, together different for the first 28 numbers."""
    return {
        "linestyle": LINE_STYLES[number % len(LINE_STYLES)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 4,
        "linewidth": 1.4,
    }


def _mark_victim(axes: Any, cells: list[CellResult]) -> None:
    victims = {cell.result["victim_accuracy"] for cell in cells}
    for accuracy in victims:
        axes.axhline(100 * accuracy, color="0.6", linewidth=0.8, zorder=0)
    axes.annotate(
        "victim",
        (0.99, 100 * max(victims)),
        xycoords=("axes fraction", "data"),
        xytext=(0, -2),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=8,
        color="0.4",
    )


def _legends(axes: Any, attacks: list[str], defenses: list[str]) -> list[Any]:
    """Two legends: colours name the attacks, line styles and markers the defences."""
    by_attack = [Line2D([], [], color=color) for color in _colors(len(attacks))]
    by_defense = [Line2D([], [], color="0.3", **_style(i)) for i in range(len(defenses))]
    columns = 1 if len(attacks) <= 10 else 2
    place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "ncols": columns}
    first = axes.legend(by_attack, attacks, title="attack", **place)
    axes.add_artist(first)
    second = axes.legend(by_defense, defenses, title="defence", loc="lower left", bbox_to_anchor=(1.01, 0.0))
    return [first, second]


def write_plots(cells: list[CellResult], directory: Path) -> list[Path]:
    """One PNG a data set, `accuracy_<dataset>.png` in `directory`; returns their paths."""
    paths = []
    for dataset in dict.fromkeys(cell.result["dataset"] for cell in cells):
        path = directory / f"accuracy_{dataset}.png"
        plot_accuracy_against_cost([cell for cell in cells if cell.result["dataset"] == dataset], path)
        paths.append(path)
    return paths
