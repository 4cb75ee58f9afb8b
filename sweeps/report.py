"""What finished cells say: tables, and pictures of accuracy against what it cost.

    python -m sweeps.report FOLDER... [--at 1000 3000] [--out FOLDER]

writes table.csv and table.md, with means and 95 % intervals over seeds, and a plot a data set.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.lines import Line2D
from rich.table import Table

from sweeps.files import write_atomically, write_text
from sweeps.over_seeds import markdown, over_seeds, points
from sweeps.results import CellResult, load_cells

LINE_STYLES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


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


def main() -> None:
    """Write table.csv, table.md and the plots, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, help="of cells or of sweeps")
    parser.add_argument(
        "--at", type=int, nargs="+", default=[], help="numbers of queries (default: the last)"
    )
    parser.add_argument("--out", type=Path, help="where the files go (default: the first folder)")
    options = parser.parse_args()
    cells = load_cells(options.folders)
    if not cells:
        parser.error(f"no finished cell (a folder with result.json) is below {options.folders[0]}")
    try:
        table = over_seeds(points(cells, options.at))
    except ValueError as error:
        parser.error(str(error))
    out = options.out or options.folders[0]
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "table.csv", lambda path: table.to_csv(path, index=False))
    write_atomically(out / "table.md", lambda path: write_text(path, markdown(table)))
    write_plots(cells, out)
    print(markdown(table), end="")


if __name__ == "__main__":
    main()
