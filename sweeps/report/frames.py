"""Cells of a sweep as tidy frames: a row a cell, and a row a point of a curve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from sweeps.report.columns import OTHER_GOALS
from sweeps.report.own_hardware import on_own_hardware
from sweeps.report.promise import promises
from sweeps.report.results import CellResult
from sweeps.report.sampling.prices import replicates_of
from sweeps.report.varying_options import LABELS, varying_options

UTILITY_LOSS = tuple(
    f"honest_{figure}" for figure in ("accuracy", "l1", "calibration_error", "false_alarms", "refused")
)
"""What an honest user loses by the defenses themselves, beside `honest_overhead`."""

TRANSFERABILITY = ("kl", "transfer")
"""What the stolen model is worth beyond accuracy: known at the end of a curve only."""


PRICES = (
    "reached_90",
    "queries_to_90",
    "seconds_to_90",
    "usd_to_90",
    "honest_q95",
    "price_over_honest",
    "least_over_honest",
    "queries_over_honest",
    *(f"{name}_{goal}" for goal in OTHER_GOALS for name in ("seconds_to", "reached")),
)
"""What 90 % of the victim's accuracy costs and what 95 % of honest users stay below, each on its own
hardware; and the work of the one over that of the other: as the attacker asked, and in its cheapest way.
Behind them stand the prices of other shares, and of the victim's fidelity.

Where the attacker did not come so far, `reached_90` is 0, and its prices are what it spent in vain: lower
bounds.
"""

OVER_HONEST = {
    "more_time": ("overhead", "honest_overhead"),
    "more_best": ("cheapest_overhead", "honest_overhead"),
    "more_money": ("attacker_usd", "honest_usd"),
}
"""How many times an attacker pays what an honest user does who asks as much: time as it asked, time in its
cheapest way, and money; the columns that are divided."""

ALARM = ("alarm", "queries_until_alarm")
"""Whether an attacker who is watched raises the alarm, 1 or 0, and after how many queries."""


@dataclass(frozen=True)
class Heading:
    """How a privacy measure is shown: its label, and its format as Python's format() has it."""

    label: str
    format: str = ".4g"


@dataclass(frozen=True, eq=False)
class Sweep:
    """What finished cells say.

    `cells` has a row a cell: dataset, attack, defense, hardware; a column for each further option in which
    cells of one name differ (`varying_options`); seed; knows, what the attack is told of the defense;
    asks_as_honest, whether it asks what honest users ask; toll, the defense without its strength; strength;
    victim_accuracy; gave_up; path; UTILITY_LOSS, ALARM, PRICES and TRANSFERABILITY, as far as any cell has
    them.

    `curves` has a row a round, with all of these and the columns of curve.csv. A column that a cell does not
    have, its PATE cost say, is NaN, and so is TRANSFERABILITY before the last round.

    Where an attack was also run without a defense, `accuracy_change` is its accuracy less that, with the same
    seed and after as many queries. HITS, and `right_undefended` beside them, hold which test images were
    right; `replicates` what test images bring about in prices (see sweeps/report/sampling/prices.py).

    `measures` are the privacy measures that any cell has, by their columns of the curves (`cost_pate`).
    `promised` has a row for each bound of each fitted toll; see sweeps/report/promise.py.
    """

    cells: pd.DataFrame
    curves: pd.DataFrame
    varying: list[str]
    measures: dict[str, Heading] = field(default_factory=dict)
    promised: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def names(self) -> list[str]:
        """Columns that name what is repeated over seeds."""
        return [*LABELS, *self.varying]


def tidy(cells: Iterable[CellResult]) -> Sweep:
    """The frames of some cells; one that lies in several folders counts once.

    Raises ValueError where two cells of one seed differ in nothing that could name them.
    """
    kept = _each_once(cells)
    if not kept:
        return Sweep(pd.DataFrame(), pd.DataFrame(), [])
    described = pd.DataFrame([_description(cell) for cell in kept])
    further = varying_options(kept, described)
    measured = pd.DataFrame([_measured(cell) for cell in kept]).dropna(axis=1, how="all")
    described = pd.concat([described[LABELS], further, described.drop(columns=LABELS), measured], axis=1)
    curves = pd.concat(
        [cell.curve.join(cell.hits) for cell in kept], keys=range(len(kept)), names=["cell", None]
    )
    curves = curves.reset_index(level="cell").reset_index(drop=True)
    rows = described.merge(on_own_hardware(curves), left_index=True, right_on="cell")
    worth = [name for name in TRANSFERABILITY if name in rows]
    rows[worth] = rows[worth].where(~rows["cell"].duplicated(keep="last"))
    models = dict(enumerate(map(_model, kept)))
    rows = _over_honest(_against_none(rows, list(further.columns), rows["cell"].map(models)))
    rows["replicates"] = rows["cell"].map(dict(enumerate(map(replicates_of, kept))))
    return Sweep(described, rows, list(further.columns), measures_of(kept), promises(kept))


def _against_none(rows: pd.DataFrame, varying: Sequence[str], model: pd.Series[Any]) -> pd.DataFrame:
    """Rows of curves with `accuracy_change`: their accuracy less that without a defense, where both are.

    Paired: the same attack and seed after the same queries, and in the intervals the same test images. It is
    not told of rows without a defense. Where both are of one `model` (see _model), no image could tell a
    difference.
    """
    rows = rows.assign(model=model)
    kept = [name for name in varying if not name.startswith(("defense.", "pow_calibration", "puzzle"))]
    pairs = ["dataset", "attack", "seed", "queries", *kept]
    told = [name for name in ("accuracy", "right", "model") if name in rows]
    undefended = rows.loc[rows["defense"] == "none", [*pairs, *told]].drop_duplicates(pairs)
    if undefended.empty or (rows["defense"] == "none").all():
        return rows.drop(columns="model")
    found = rows[pairs].merge(undefended, "left", on=pairs).set_index(rows.index)
    is_defended = rows["defense"] != "none"
    is_same = found["model"].notna() & (found["model"] == rows["model"])
    is_same &= found["accuracy"] == rows["accuracy"]
    rows = rows.drop(columns="model")
    rows = rows.assign(accuracy_change=(rows["accuracy"] - found["accuracy"]).where(is_defended))
    return rows.assign(right_undefended=found["right"].mask(is_same)) if "right" in found else rows


def _over_honest(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of curves with OVER_HONEST, where work is asked for."""
    for name, (attacker, honest) in OVER_HONEST.items():
        if attacker in rows and honest in rows:
            asked = rows["strength"].notna() & (rows[honest] > 0)
            rows = rows.assign(**{name: (rows[attacker] / rows[honest]).where(asked)})
    return rows


def measures_of(cells: Iterable[CellResult]) -> dict[str, Heading]:
    """The measures of some cells by their columns; of a cell of an early version, by the column's name."""
    found: dict[str, Heading] = {}
    for cell in cells:
        told: Mapping[str, Mapping[str, str]] = cell.result.get("measures", {})
        for column in cell.curve.filter(regex="^cost_"):
            own = told.get(str(column).removeprefix("cost_"))
            if own is not None:
                found[str(column)] = Heading(own["label"], own["format"])
            else:
                found.setdefault(str(column), Heading(str(column)))
    return found


def _description(cell: CellResult) -> dict[str, object]:
    result = cell.result
    return {
        "dataset": result["dataset"],
        "attack": cell.attack,
        "defense": cell.defense,
        "hardware": result.get("hardware") or "",
        "seed": result["seed"],
        "knows": ", ".join(result.get("knows", [])),
        "toll": cell.toll,
        "strength": result.get("strength"),
        "victim_accuracy": result["victim_accuracy"],
        "gave_up": bool(result.get("gave_up", False)),
        "asks_as_honest": bool(result.get("asks_as_honest", False)),
        "path": str(cell.path),
    }


def _measured(cell: CellResult) -> dict[str, float]:
    """UTILITY_LOSS, ALARM and TRANSFERABILITY of a cell; NaN where there is none, or in early versions."""
    honest, worth = cell.result.get("honest") or {}, cell.result.get("transferability") or {}
    told = (*UTILITY_LOSS, "honest_images", "honest_false_alarms_samples")
    losses = {name: _figure(honest.get(name.removeprefix("honest_"))) for name in told}
    losses["transfer_images"] = _transfer_images(cell)
    queries = cell.result.get("queries_until_alarm")
    is_watched = honest.get("false_alarms") is not None
    alarm = {"alarm": _figure(float(queries is not None) if is_watched else None)}
    alarm["queries_until_alarm"] = _figure(queries)
    return losses | alarm | {name: _figure(worth.get(name)) for name in TRANSFERABILITY} | _prices(cell)


def _model(cell: CellResult) -> str | None:
    """What tells a cell's stolen model from others: its divergence from the victim, or its extraction.

    A defense that changed no answer leaves the same model under another key.
    """
    divergence = (cell.result.get("transferability") or {}).get("kl")
    own: str | None = cell.result["keys"].get("extraction")
    return own if divergence is None else f"divergence {divergence!r}"


def _transfer_images(cell: CellResult) -> float:
    """Of how many images `transfer` is a share: those that the victim gets right, but for a limit."""
    most = cell.options.get("dataset.transfer.images")
    if cell.hits.empty or most is None:
        return float("nan")
    return min(float(most), round(cell.result["victim_accuracy"] * int(cell.hits["images"].iloc[0])))


def _prices(cell: CellResult) -> dict[str, float]:
    """PRICES of a cell; NaN in early versions, and of what is paid where nobody pays."""
    reached: Mapping[str, Any] = (cell.result.get("price_to_reach") or {}).get("accuracy", {}).get("90", {})
    bill: Mapping[str, Mapping[str, float]] = cell.result.get("honest_bill") or {}
    if not reached:
        return {}
    prices = {"reached_90": float(reached["reached"]), "queries_to_90": reached["queries"]}
    if bill:
        seconds, q95 = reached["pow_seconds"], bill["pow_seconds"]["q95"]
        prices |= {"seconds_to_90": reached.get("attacker_solve_seconds", seconds)}
        prices |= {"usd_to_90": reached["attacker_usd"]}
        prices |= {"honest_q95": bill.get("solve_seconds", bill["pow_seconds"])["q95"]}
        prices["price_over_honest"] = seconds / q95 if q95 else float("nan")
        if q95 and "cheapest_pow_seconds" in reached:
            prices["least_over_honest"] = reached["cheapest_pow_seconds"] / q95
        prices["queries_over_honest"] = reached["queries"] / bill["queries"]["q95"]
        for goal, (figure, share, _) in OTHER_GOALS.items():
            other = cell.result["price_to_reach"].get(figure, {}).get(share, {})
            if other:
                prices[f"seconds_to_{goal}"] = other.get("attacker_solve_seconds", other["pow_seconds"])
                prices[f"reached_{goal}"] = float(other["reached"])
    return prices


def _figure(value: float | None) -> float:
    return float("nan") if value is None else value


def alters_or_watches(rows: pd.DataFrame) -> pd.Series[bool]:
    """Whether a row's defenses change answers, or watch: bool, by the UTILITY_LOSS in the row."""
    losses = rows.reindex(columns=["honest_l1", "honest_false_alarms"])
    return (losses["honest_l1"] > 0) | losses["honest_false_alarms"].notna()


def _each_once(cells: Iterable[CellResult]) -> Sequence[CellResult]:
    """The cells without those that say the same: one key, or one extraction, one name and one curve.

    The second are cells without a toll that differ in its price.
    """
    seen: set[object] = set()
    kept = []
    for cell in cells:
        keys = cell.result["keys"]
        named = (cell.attack, cell.defense, cell.result.get("hardware"), cell.result["seed"])
        same_curve = (keys.get("extraction", keys["cell"]), named, cell.curve.to_numpy().tobytes())
        if keys["cell"] not in seen and same_curve not in seen:
            kept.append(cell)
        seen |= {keys["cell"], same_curve}
    return kept
