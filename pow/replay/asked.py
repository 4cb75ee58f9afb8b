"""What is priced again, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
    """

    trace: Path
    dataset: str = "mnist"
    calibration: str = "paper"
    overrides: Sequence[str] = ()
    cost: str = "pate"
    accounts: int | None = None
    scope: ScopeName = "account"
    subnet_size: int = 256
    surcharge: float | None = None
    evade: Evade = "none"
    account_seconds: float = 0.0
    patience_days: float = 0.0
    hardware: Sequence[str] = ()
    benign: Path | None = None
    seed: int = 0
    config_dir: Path | None = None
