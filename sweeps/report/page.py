"""A sweep as one HTML page that needs nothing from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pandas as pd
from plotly.offline import get_plotlyjs

from sweeps.report.frames import OVER_HONEST, Sweep
from sweeps.report.pictures.looks import looks_of
from sweeps.report.promise import promise_section
from sweeps.report.setups import finals, frontier, lines, strengths

PARTS = Path(__file__).parent / "page_files"

POINTS_OF_A_LINE = 60
"""More than a screen shows apart; longer curves are thinned out evenly, first and last point kept."""

FIGURES = (
    *("queries", "accuracy", "fidelity", "accuracy_change"),
    *(
        "query_seconds",
        "total_seconds",
        "overhead",
        "cheapest_overhead",
        "honest_overhead",
        "expected_hashes",
    ),
    *("attacker_solve_seconds", "attacker_usd", "honest_usd", "victim_accuracy", "gave_up"),
    *("honest_accuracy", "honest_l1", "honest_calibration_error", "honest_false_alarms", "honest_refused"),
    "alarm",
    *("kl", "transfer", "answers_lost", "time_lost"),
    *("reached_90", "queries_to_90", "seconds_to_90", "honest_q95"),
    *("price_over_honest", "least_over_honest", "queries_over_honest"),
    *(*OVER_HONEST, "asks_as_honest"),
)
"""What the page is given of each mean, with its interval, beside the costs under each privacy measure."""


def page(sweep: Sweep) -> str:
    """The page: a matrix of attacks and defenses, curves, strengths, defenses compared, and the table."""
    figures = (*FIGURES, *sweep.measures)
    texts = ["dataset", "attack", "defense"]
    data = {
        "finals": _columns(finals(sweep), [*texts, "knows"], figures),
        "lines": _columns(thinned(lines(sweep)), texts, figures),
        "strengths": _columns(strengths(sweep), ["dataset", "attack", "toll"], figures),
        "frontier": _columns(frontier(sweep), [*texts, "toll", "is_undominated"], figures),
        "measures": [[name, f"{own.label} cost", own.format] for name, own in sweep.measures.items()],
        "cells": len(sweep.cells),
        "looks": looks_of(sweep).for_the_page(),
    }
    template = Template((PARTS / "report.html").read_text())
    return template.substitute(
        promise=promise_section(sweep.promised),
        style=(PARTS / "report.css").read_text(),
        plotly=get_plotlyjs(),
        data=json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        script="\n".join((PARTS / name).read_text() for name in ("figures.js", "charts.js", "report.js")),
    )


def thinned(rows: pd.DataFrame) -> pd.DataFrame:
    """At most POINTS_OF_A_LINE points of each line, evenly spaced in rounds."""
    line = rows.groupby(["dataset", "attack", "defense"], sort=False)
    number = line.cumcount()
    last = (line["seeds"].transform("size") - 1).clip(lower=1)
    parts = (POINTS_OF_A_LINE - 1) / last.clip(lower=POINTS_OF_A_LINE - 1)
    return rows[(number == 0) | (np.floor(number * parts) > np.floor((number - 1) * parts))]


def _columns(rows: pd.DataFrame, texts: list[str], figures: Iterable[str]) -> dict[str, list[Any]]:
    """Columns as JSON takes them: null for what is missing or has no end, five digits of figures."""
    if rows.empty:
        return {}
    columns: dict[str, list[Any]] = {name: rows[name].tolist() for name in texts}
    for name in (
        "seeds",
        "strength",
        *(figure + end for figure in figures for end in ("", "_interval", "_low", "_high")),
    ):
        if name in rows and rows[name].notna().any():
            columns[name] = [float(f"{value:.5g}") if np.isfinite(value) else None for value in rows[name]]
    return columns
