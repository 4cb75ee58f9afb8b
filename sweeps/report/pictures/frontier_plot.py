"""The picture of what each defense buys, and what an honest user pays for it."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sweeps.report.pictures.looks import Looks, in_order

CAPTION = """\
Each point is a defense; best is low and left. Left: what it costs an honest user in answers, L1/2 (the
share of probability moved) plus the share of queries refused. Right: what it costs in time, with how many
times longer the attacker takes. Ringed: no other defense leaves an attacker less accurate
at no more of either, nor as accurate for less; chance is told by the same seeds and images."""

LARGER = {"markersize": 6}

LETTER, LINE = 4.2, 10.5
"""Width and height that a letter of a name takes, in points of print."""

NEAR = (8, 8)
"""Points less than so many per cent of answers and of accuracy apart get one label."""


def plot_frontier(figure: Figure, rows: pd.DataFrame, looks: Looks) -> list[Any]:
    """A row of panels an attack: its accuracy against the answers, and the time, that honest users lose.

    `rows` are those of `frontier` of one data set; returns all that stands outside the panels.
    """
    attacks = rows["attack"].unique().tolist()
    tolls = in_order(rows["toll"].tolist(), looks.tolls)
    height = 1.9 + 1.9 * len(attacks)
    figure.set_size_inches(10, height)
    # Inches turned into shares: a layout engine would take as long as all else.
    figure.subplots_adjust(0.09, 1.4 / height, 0.8, 1 - 0.4 / height, wspace=0.06, hspace=0.08)
    panels = figure.subplots(len(attacks), 2, sharex="col", sharey=True, squeeze=False, width_ratios=[3, 2])
    for (answers, time), attack in zip(panels, attacks, strict=True):
        own = rows[rows["attack"] == attack]
        for axes, loss in ((answers, "answers_lost"), (time, "time_lost")):
            _draw(axes, own, loss, looks)
            axes.axhline(100 * own["victim_accuracy"].max(), color="0.6", linewidth=0.8, zorder=0)
            axes.grid(alpha=0.3, linewidth=0.5)
            axes.margins(x=0.06)
            axes.set_ylim(0, 100)
        answers.set_ylabel(f"{attack}\naccuracy (%)")
    for (answers, _), attack in zip(panels, attacks, strict=True):  # once the panels' limits are known
        _name_points(answers, rows[rows["attack"] == attack])
    panels[-1, 0].set_xlabel("honest user's answers lost (%)")
    panels[-1, 1].set_xlabel("honest user's extra time (%)")
    title = (
        f"{rows['dataset'].iloc[0]}: what each defense costs an honest user, and what the attacker still gets"
    )
    grey = {"color": "0.3", "markerfacecolor": "0.3"}
    styles = [Line2D([], [], **looks.line(attacks[0], toll) | LARGER | grey) for toll in tolls]
    return [
        figure.suptitle(title, x=0.01, y=1 - 0.1 / height, va="top", ha="left"),
        figure.supxlabel(CAPTION, x=0.01, y=0.1 / height, va="bottom", ha="left", fontsize=8.5),
        figure.legend(
            *(styles, tolls),
            loc="upper left",
            bbox_to_anchor=(0.81, 1 - 0.4 / height),
            title="defense",
            frameon=False,
        ),
    ]


def _draw(axes: Any, rows: pd.DataFrame, loss: str, looks: Looks) -> None:
    """A line or a point a defense; rings around points that no other defense dominates."""
    lost, accuracy, half = (100 * rows[name] for name in (loss, "accuracy", "accuracy_interval"))
    attack = str(rows["attack"].iloc[0])
    low, high = (accuracy - half).clip(lower=0), (accuracy + half).clip(upper=100)
    axes.vlines(lost, low, high, colors=looks.color(attack), linewidth=0.6)
    for toll, strengths in rows.groupby("toll", sort=False):
        line = strengths.sort_values("time_lost")
        style = looks.line(attack, str(toll)) | LARGER
        axes.plot(100 * line[loss], 100 * line["accuracy"], clip_on=False, **style)
        if loss == "time_lost":
            _tell_attackers_time(axes, line)
    best = rows["is_undominated"].to_numpy()
    axes.scatter(
        lost[best], accuracy[best], s=90, facecolors="none", edgecolors="0.2", linewidths=1, clip_on=False
    )


def _name_points(axes: Any, rows: pd.DataFrame) -> None:
    """The names of defenses beside their points; of those that lie close together one, and how many more.

    Names that would lie on another's are moved on by a line, away from the panel's edge.
    """
    heaps: dict[tuple[float, float], list[str]] = {}
    for toll, lost, accuracy in zip(rows["toll"], rows["answers_lost"], rows["accuracy"], strict=True):
        own = (100 * lost, 100 * accuracy)
        near = [at for at in heaps if all(abs(a - b) < d for a, b, d in zip(at, own, NEAR, strict=True))]
        names = heaps.setdefault(near[0] if near else own, [])
        if toll not in names:
            names.append(toll)
    furthest = max(lost for lost, _ in heaps)
    taken: list[tuple[float, float, float, float]] = []
    for at, names in sorted(heaps.items()):
        text = "\n".join(names) if len(names) < 3 else f"{names[0]} and {len(names) - 1} others"
        is_far, is_low = at[0] > 0.8 * furthest > 0, at[1] < 40
        x, y, box = _free_place(_in_points(axes, at), text, is_far, is_low, taken)
        taken.append(box)
        axes.annotate(
            text,
            at,
            xytext=(x, y),
            textcoords="offset points",
            ha="right" if is_far else "left",
            va="bottom" if is_low else "top",
            fontsize=8,
            color="0.3",
        )


def _in_points(axes: Any, at: tuple[float, float]) -> tuple[float, float]:
    """Where a point of the data lies in its panel, in points of print."""
    place, (width, height) = axes.get_position(), axes.figure.get_size_inches()
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    across, up = (at[0] - left) / (right - left), (at[1] - bottom) / (top - bottom)
    return 72 * width * place.width * across, 72 * height * place.height * up


def _free_place(
    at: tuple[float, float],
    text: str,
    is_far: bool,
    is_low: bool,
    taken: list[tuple[float, float, float, float]],
) -> tuple[float, float, tuple[float, float, float, float]]:
    """The offset of a text from its point, in points of print, and the free box that it takes."""
    lines = text.split("\n")
    width, height = LETTER * max(map(len, lines)), LINE * len(lines)
    x, up = (-6 if is_far else 6), (1 if is_low else -1)
    for moved in range(len(taken) + 1):
        y = up * (6 + LINE * moved)
        left, near = at[0] + x - (width if is_far else 0), at[1] + y
        box = (left, min(near, near + up * height), left + width, max(near, near + up * height))
        if not any(_overlap(box, other) for other in taken):
            break
    return x, y, box


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _tell_attackers_time(axes: Any, line: pd.DataFrame) -> None:
    """How many times longer the attacker takes, beside the strongest point of a defense that takes time."""
    last = line.iloc[-1]
    if last["overhead"] > 1:
        axes.annotate(
            f"attacker's time ×{last['overhead']:{',.0f' if last['overhead'] >= 10 else '.2g'}}",
            (100 * last["time_lost"], 100 * last["accuracy"]),
            xytext=(0, -14),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color="0.3",
        )
