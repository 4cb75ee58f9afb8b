"""What a fitted toll promised honest users, and what held for others, as a table of the page."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from sweeps.report.results import CellResult

STRESS = ("dearer_bill", "longest_bill")


def promises(cells: Iterable[CellResult]) -> pd.DataFrame:
    """Return a row for each bound of each toll: its promise, and what held, over the seeds' fits.

    Columns: dataset, toll, promised (share of users) and overhead; share, the mean; low and high, the lowest
    and highest ends of the seeds' intervals; fits, how many there are; a column for each stratum of users,
    the mean share; and STRESS, means. Cells that share a fit count once.
    """
    rows = {}
    for cell in cells:
        promise: dict[str, Any] = (cell.result.get("fitted") or {}).get("promise") or {}
        for held in promise.get("held", ()):
            bound = held["bound"]
            key = (cell.result["dataset"], cell.toll, bound["overhead"], bound["users"], cell.result["seed"])
            rows[key] = _row(key, held, promise["stress"])
    if not rows:
        return pd.DataFrame()
    each = pd.DataFrame(rows.values())
    names = ["dataset", "toll", "promised", "overhead"]
    found = each.groupby(names, sort=False)
    means = found.mean(numeric_only=True)
    means["low"], means["high"], means["fits"] = found["low"].min(), found["high"].max(), found.size()
    return means.drop(columns="seed").reset_index()


def _row(key: tuple[Any, ...], held: dict[str, Any], stress: dict[str, Any]) -> dict[str, Any]:
    dataset, toll, overhead, users, seed = key
    return {
        **{"dataset": dataset, "toll": toll, "promised": users, "overhead": overhead, "seed": seed},
        **{name: held[name] for name in ("share", "low", "high")},
        **{name: stress[name] for name in STRESS},
        **{name: np.nan if share is None else share for name, share in held["by_stratum"].items()},
    }


def promise_section(found: pd.DataFrame) -> str:
    """Return the page's section, empty where no toll was fitted."""
    if found.empty:
        return ""
    fixed = ["dataset", "toll", "promised", "overhead", "share", "low", "high", "fits", *STRESS]
    strata = [str(name) for name in found if name not in fixed]
    heads = ["Data set", "Toll", "Promised", "Held for others", *strata]
    lines = [_line(row, strata) for row in found.to_dict("records")]
    return SECTION.format(
        heads="".join(f'<th scope="col">{escape(str(head))}</th>' for head in heads),
        lines="".join(lines),
        stress=" ".join(
            _stress(row) for row in found.drop_duplicates(["dataset", "toll"]).to_dict("records")
        ),
    )


def _line(row: dict[Any, Any], strata: list[str]) -> str:
    promised = f"{100 * row['promised']:g}\u00a0% below {row['overhead']:g}"
    held = f"{100 * row['share']:.1f}\u00a0% ({100 * row['low']:.1f} to {100 * row['high']:.1f})"
    shares = ["" if np.isnan(row[name]) else f"{100 * row[name]:.0f}\u00a0%" for name in strata]
    fields = [row["dataset"], row["toll"], promised, held, *shares]
    return "<tr>" + "".join(f"<td>{escape(str(field))}</td>" for field in fields) + "</tr>"


def _stress(row: dict[Any, Any]) -> str:
    return escape(
        f"{row['dataset']}, {row['toll']}: were every query 10 % dearer, bills would be "
        f"{row['dearer_bill']:.2f} times as high; who asks twice as much as the longest user has "
        f"{row['longest_bill']:.2f} times that one's bill."
    )


SECTION = """<section id="promise" aria-labelledby="promise-title">
  <h2 id="promise-title">What honest users are promised</h2>
  <p>The toll is fitted to honest users of half of the images. Here is what held for other users of the other
  half: the share of them whose answers take less than so many times as long as without work. In brackets the
  95&nbsp;% interval over other images and users, the widest of all seeds; behind it the share in each group
  of users.</p>
  <div class="wide"><table id="promises"><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>
  <p class="note">{stress}</p>
</section>
"""
