"""What is priced again, and how: as asked for, and otherwise as the trace's own run was."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pow.evasion.best_response import Evade
from pow.requests import ScopeName


@dataclass(frozen=True)
class Replay:
    """What is priced, and how.

    Attributes:
        trace: a run's trace.parquet, or a CSV in the format of the proof-of-work paper's authors.
        dataset: a file of conf/dataset: what a request takes, and what honest users' queries cost.
        calibration: a file of conf/pow_calibration.
        overrides: of the config, such as `pow_calibration.strength=4` or `puzzle=argon2id`.
        cost: the measure of our traces that is charged.
        accounts: share our trace's queries over so many accounts; None: as recorded.
        scope: whose costs add up, with `subnet_size` accounts in a subnet.
        surcharge: multiplies an account's toll from its alarm on; None: alarms change nothing.
        evade: how the attacker of our trace evades the toll, as attack.evade.
        account_seconds: price of each account of our trace, in seconds of the reference client.
        patience_days: days that an attacker waits who evades by all means.
        hardware: files of conf/hardware on which the work is billed.
        benign: an honest user's trace of either kind; None: the published expectation.
        seed: of simulated honest users.
        config_dir: a folder of one's own beside conf/.
        expected: the line of honest users' costs in the trace's own run.
        fitted: what was fitted to them there.

    None of dataset, calibration, cost, scope and account_seconds is what the trace's own run had, by the
    result.json beside it.
    """

    trace: Path
    dataset: str | None = None
    calibration: str | None = None
    overrides: Sequence[str] = ()
    cost: str | None = None
    accounts: int | None = None
    scope: ScopeName | None = None
    subnet_size: int = 256
    surcharge: float | None = None
    evade: Evade = "none"
    account_seconds: float | None = None
    patience_days: float = 0.0
    hardware: Sequence[str] = ()
    benign: Path | None = None
    seed: int = 0
    config_dir: Path | None = None
    expected: Mapping[str, float] | None = None
    fitted: Mapping[str, Any] | None = None


OTHERWISE = {"dataset": "mnist", "calibration": "paper", "cost": "pate", "scope": "account"}
"""Of a trace that has no result beside it, where nothing else is asked for."""

TOLD = {"dataset": "dataset", "calibration": "calibration", "cost": "charged", "scope": "scope"}
"""Attributes of Replay, and where a result has them."""

OF_THE_CALIBRATION = ("request_size", "strength")
"""Options of the calibration that a result has, too; they mean something to the same calibration only."""


def result_beside(trace: Path) -> Mapping[str, Any]:
    """The content of the result.json beside a run's trace.parquet; nothing where there is none.

    Raises ValueError where it is damaged.
    """
    path = trace.with_name("result.json")
    if trace.suffix != ".parquet" or not path.exists():
        return {}
    try:
        result: Mapping[str, Any] = json.loads(path.read_text())
    except ValueError:
        raise ValueError(f"{path} is damaged: run the cell again, or take the trace elsewhere") from None
    return result


def completed(asked: Replay) -> Replay:
    """What is asked for, with all that was left open taken from the trace's own run.

    The run's expectation holds for its data set and measure; size of requests, strength and price of an
    account are those of its toll.
    """
    result = result_beside(asked.trace)
    own = {name: result.get(key) or OTHERWISE[name] for name, key in TOLD.items()}
    given = {name: value for name in TOLD if (value := getattr(asked, name)) is not None}
    found = {**own, **given}
    is_same_toll = found["calibration"] == result.get("calibration")
    options = [f"pow_calibration.{name}={result[name]}" for name in OF_THE_CALIBRATION if result.get(name)]
    account = asked.account_seconds
    if account is None:
        account = (result.get("account_seconds") or 0.0) if is_same_toll else 0.0
    is_said = any(option.startswith("pow_calibration.expected") for option in asked.overrides)
    is_own_cost = found["dataset"] == result.get("dataset") and found["cost"] == result.get("charged")
    return replace(
        asked,
        **found,
        overrides=[*(options if is_same_toll else []), *asked.overrides],
        account_seconds=account,
        expected=result.get("expected_cost") if is_own_cost and not is_said else None,
        fitted=result.get("fitted") if is_own_cost or not result.get("charged") else None,
    )
