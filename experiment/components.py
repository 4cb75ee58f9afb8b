"""What a cell consists of, once its config is instantiated (see experiment.compose)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from experiment.asking.settings import Remote
from experiment.defense_stack import Stack, Toll
from experiment.keys import Config, Identity
from experiment.kinds import MakeBuckets, MakeMeasure
from extraction.attacks.base import Attack
from extraction.settings import ExtractionSettings, SubstituteSettings
from extraction.transferability import TransferSettings
from privacy.accountant import Accounting
from training.recipe import Hardware
from victims.datasets.images import ImageSet
from victims.datasets.splits import Splits
from victims.victim import VictimSettings


@dataclass(frozen=True, eq=False)
class Cell:
    """One point of the grid, instantiated but for what must be trained first."""

    config: Config
    identity: Identity
    hardware: Hardware
    data: Splits
    pool: ImageSet
    other_pool: ImageSet | None
    victim: VictimSettings
    measures: Mapping[str, MakeMeasure]
    buckets: MakeBuckets
    attack: Attack
    settings: ExtractionSettings
    substitute: SubstituteSettings
    stack: Stack
    remote: Remote | None
    accounting: Mapping[str, Accounting]
    transfer: TransferSettings

    @property
    def toll(self) -> Toll | None:
        """The defense that charges, if any."""
        return self.stack.toll

    @property
    def knows_cost(self) -> bool:
        """Whether the attacker sees the defender's cost."""
        return "cost" in self.config["attack"]["knows"]

    @property
    def knows_defense(self) -> bool:
        """Whether the attacker can imagine what the defense would answer."""
        return "defense" in self.config["attack"]["knows"]

    @property
    def accounts_after(self) -> int:
        """Over how many accounts the trace is shared out after the extraction."""
        asked: int = self.config["attack"]["accounts"]
        return asked if self.settings.accounts == 1 else 1
