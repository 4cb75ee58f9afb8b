"""How attacks and defenses look: the same in all pictures, pages and notebooks of one sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweeps.report.frames import Sweep
from sweeps.report.setups import finals, setups

COLORS = (
    *("#2f7ed8", "#e0701b", "#2a9d5c", "#cf3f4f", "#8a63d2"),
    *("#9c6644", "#d661a8", "#7a8594", "#a59a1c", "#1ba5b8"),
)
"""One an attack; those beyond the tenth have the first ones again, and open markers."""

DASHES = ((), (7, 3), (2, 2), (9, 3, 2, 3), (14, 4), (14, 3, 2, 3, 2, 3))
"""One a defense: lengths of strokes and gaps, in pixels of the page."""

MARKERS = (
    *(("circle", "o"), ("square", "s"), ("triangle-up", "^"), ("diamond", "D")),
    *(("triangle-down", "v"), ("cross", "P"), ("x", "X"), ("star", "*"), ("pentagon", "p")),
    *(
        ("triangle-left", "<"),
        ("triangle-right", ">"),
        ("diamond-tall", "d"),
        ("hexagon", "h"),
        ("octagon", "8"),
    ),
)
"""One a defense too, by Plotly's name and matplotlib's; with DASHES together different for the first 42."""

PIXEL = 0.35
"""Of a stroke, in widths of a line, as matplotlib counts."""


@dataclass(frozen=True)
class Looks:
    """Attacks and defenses in the order that gives them their looks.

    `tolls` are defenses without their strength, each in the place of its first defense.
    """

    attacks: tuple[str, ...]
    defenses: tuple[str, ...]
    tolls: tuple[str, ...]

    def color(self, attack: str) -> str:
        """The colour of an attack."""
        return COLORS[self.attacks.index(attack) % len(COLORS)]

    def line(self, attack: str, defense: str) -> dict[str, Any]:
        """The style of a line, as matplotlib's plot() takes it; `defense` may be a toll."""
        places = self.defenses if defense in self.defenses else self.tolls
        number, color = places.index(defense), self.color(attack)
        dashes = DASHES[number % len(DASHES)]
        is_open = self.attacks.index(attack) >= len(COLORS)
        return {
            "color": color,
            "linestyle": (0, tuple(PIXEL * part for part in dashes)) if dashes else "-",
            "marker": MARKERS[number % len(MARKERS)][1],
            "markerfacecolor": "white" if is_open else color,
            "markersize": 3.5,
            "linewidth": 1.2,
        }

    def for_the_page(self) -> dict[str, Any]:
        """The same for the page's script."""
        return {
            "attacks": self.attacks,
            "defenses": self.defenses,
            "tolls": self.tolls,
            "colors": COLORS,
            "dashes": [",".join(f"{part}px" for part in dashes) or "solid" for dashes in DASHES],
            "markers": [plotly for plotly, _ in MARKERS],
        }


def looks_of(sweep: Sweep) -> Looks:
    """Attacks by name; defenses by what they cost an honest user in time, the least first."""
    attacks = tuple(sorted(setups(sweep)["attack"].unique()))
    last = finals(sweep)
    last = last.assign(price=last["honest_overhead"].fillna(1) if "honest_overhead" in last else 1.0)
    price = last.groupby("defense", sort=False)["price"].mean()
    defenses = price.sort_values(kind="stable").index.tolist()
    named = setups(sweep).drop_duplicates("defense").set_index("defense")["toll"]
    return Looks(attacks, tuple(defenses), tuple(dict.fromkeys(named[name] for name in defenses)))


def coinciding(lines: pd.DataFrame, x: str, looks: Looks) -> tuple[pd.DataFrame, list[str]]:
    """The lines without those that another line of the same attack covers, and who covers whom, in words.

    `lines` are those of one data set; a line is a row a round for each attack and defense.
    """
    seen: dict[tuple[str, bytes], str] = {}
    covered: dict[tuple[str, str], list[str]] = {}
    kept: list[pd.DataFrame] = []
    found = {
        (str(attack), str(defense)): own
        for (attack, defense), own in lines.groupby(["attack", "defense"], sort=False)
    }
    for attack, defense in sorted(found, key=lambda name: looks.defenses.index(name[1])):
        own = found[attack, defense]
        first = seen.setdefault((attack, own[[x, "accuracy"]].to_numpy().tobytes()), defense)
        if first == defense:
            kept.append(own)
        else:
            covered.setdefault((first, defense), []).append(attack)
    asked = [defense for _, defense in found]
    return pd.concat(kept), [
        f"{defense} lies on {first}"
        + ("" if len(whose) == asked.count(defense) else f" ({', '.join(sorted(whose))})")
        for (first, defense), whose in covered.items()
    ]


def in_order(names: Sequence[str], order: Sequence[str]) -> list[str]:
    """The names that there are, in the order of their looks."""
    return [name for name in order if name in set(names)]
