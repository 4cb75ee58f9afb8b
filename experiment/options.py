"""The options that no class takes as its arguments, each with its type and bounds; all are checked here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypedDict

from experiment.asking.settings import Known, Remote
from extraction.settings import ExtractionSettings, SubstituteSettings
from extraction.transferability import TransferSettings
from pow.calibration import LinearExpectation
from pow.evasion.best_response import Evade
from pow.pricing import check_calibration, check_puzzle
from privacy.accountant import HowCostsAdd
from privacy.gnmax import Bound, Conversion
from storage.options import settings
from storage.typed import (
    Bounds,
    Count,
    Natural,
    NonNegative,
    Positive,
    Share,
    check_types,
    check_value,
    check_values,
)
from victims.victim import VictimSettings

MOST_PICTURES = 100
"""Of a row that explains costs; more are too small to be seen."""

Node = dict[str, Any]
"""A group that has a `_target_`, or groups that have one."""


class PoolOptions(TypedDict):
    """Images that an attacker chooses from."""

    name: str
    source: Node | None
    part: str


class AttackOptions(TypedDict):
    """What an attack has besides the settings of its extraction."""

    name: str
    rule: Node
    other_pool: PoolOptions | None
    give_up_usd: Positive | None
    evade: Evade
    patience_days: NonNegative
    hardware_choices: list[str]
    knows: list[Known]


class DatasetOptions(TypedDict):
    """A data set, and what depends on it."""

    name: str
    path: str | None
    image_size: tuple[Count, Count] | None
    channels: Literal[1, 3] | None
    num_classes: Count | None
    columns: dict[str, str] | None
    source: Node
    splits: str | dict[str, str]
    split_choices: dict[str, dict[str, str]]
    shuffle_seed: Natural | None
    allow_overlap: bool
    budget: Count
    round_size: Count
    seed_images: Count
    data_free_budget: Count
    data_free_round_size: Count
    request_seconds: Positive
    benign_cost: LinearExpectation | None
    transfer: TransferSettings
    out_of_distribution: PoolOptions


class PrivacyOptions(TypedDict):
    """What is measured, and how costs add up."""

    accounting: Literal[HowCostsAdd, "paired"]
    bound: Bound
    conversion: Conversion
    buckets: Node
    measures: Node


class OracleOptions(TypedDict):
    """Which kind of oracle is asked, besides what a server's has."""

    name: Literal["in_process", "http"]


class PathsOptions(TypedDict):
    """Folders."""

    data: str
    store: str
    output: str


class ExplainOptions(TypedDict):
    """What `tollgate explain` asks and shows."""

    queries: Count
    pictures: Annotated[int, Bounds(1, MOST_PICTURES)]
    step: Share


READ: Mapping[str, tuple[Any, ...]] = {
    "victim": (VictimSettings,),
    "substitute": (SubstituteSettings,),
    "attack": (ExtractionSettings, AttackOptions),
    "dataset": (DatasetOptions,),
    "query_pool": (PoolOptions,),
    "privacy": (PrivacyOptions,),
    "paths": (PathsOptions,),
    "oracle": (Remote, OracleOptions),
    "explain": (ExplainOptions,),
}
"""What declares the options of groups that are read by name."""

MADE = ("trainer", "honest_users", "defense", "hardware", "honest_hardware", "reference_client", "logger")
"""Groups whose classes declare their options."""


OTHERS: Mapping[str, Callable[[Node], None]] = {
    "pow_calibration": check_calibration,
    "puzzle": check_puzzle,
}
"""Groups with a check of their own."""


def check_config(plain: Node) -> None:
    """Check each option of a resolved config by itself; raises ValueError naming the option."""
    if "seed" in plain:
        check_value("seed", plain["seed"], Natural)
    for group in [name for name in (*READ, *MADE, *OTHERS) if name in plain]:
        check_group(group, plain[group])


def transfer_settings(plain: Node) -> TransferSettings:
    """How transferability is measured; raises ValueError naming the option."""
    return settings(TransferSettings, plain["dataset"]["transfer"], "dataset.transfer")


def check_group(group: str, node: Any) -> None:
    """Check each option of one group; raises ValueError naming the option."""
    if not isinstance(node, dict):
        raise ValueError(f"{group} must be a group of options, not {node!r}")
    if group in OTHERS:
        OTHERS[group](node)
    elif group in MADE:
        check_types(node, group)
    else:
        check_values(node, group, *READ[group])
