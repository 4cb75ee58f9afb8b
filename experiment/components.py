"""From a composed config to the parts of a cell; all that can be wrong with the input is found here."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.errors import CompactHydraException
from omegaconf import DictConfig, OmegaConf

from experiment.defense_stack import Stack, Toll, make_stack
from experiment.keys import Config, DataPrints, Identity, asking_accounts
from experiment.kinds import MakeMeasure, make_measures
from extraction.attacks.base import Attack
from extraction.settings import ExtractionSettings, SubstituteSettings
from extraction.transferability import TransferSettings
from privacy.accountant import Accounting
from storage.options import instantiate
from training.recipe import Hardware
from victims.architectures.build import build_network
from victims.datasets.images import ImageSet
from victims.datasets.splits import Splits, check_disjoint, resolve_splits, select, split
from victims.victim import VictimSettings


class InputError(CompactHydraException):
    """Something in the configuration, the data or the output folder is not as it must be."""


@dataclass(frozen=True)
class Remote:
    """A server that is asked in the victim's place, as so many accounts (conf/oracle/http.yaml).

    Raises ValueError naming the option for what makes no sense.
    """

    url: str
    key_variable: str
    max_hashes: float
    workers: int | None
    accounts: int

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"oracle.url must begin with http:// or https://, not {self.url!r}")
        if not self.max_hashes >= 1:
            raise ValueError(f"oracle.max_hashes must be at least 1, not {self.max_hashes!r}")
        if len(self.keys) < self.accounts:
            raise ValueError(
                f"oracle.key_variable={self.key_variable}: that variable must hold an API key for "
                f"each account, attack.accounts={self.accounts}, by commas; it holds {len(self.keys)}"
            )

    @property
    def keys(self) -> list[str]:
        """The API keys, which no config or result ever holds."""
        return [key.strip() for key in os.environ.get(self.key_variable, "").split(",") if key.strip()]


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


@dataclass(frozen=True, eq=False)
class CellData:
    """The images of a cell: the victim's own and the test's, the attacker's pool, and a second one."""

    data: Splits
    pool: ImageSet
    other_pool: ImageSet | None

    @cached_property
    def prints(self) -> DataPrints:
        """The images' content hashes."""
        other = self.other_pool.fingerprint if self.other_pool else None
        return DataPrints(
            self.data.train.fingerprint, self.data.test.fingerprint, self.pool.fingerprint, other
        )


def load_cell_data(plain: Config) -> CellData:
    """Load and cut the images of a cell; raises ValueError or OSError for what cannot be."""
    return CellImages(keep=1).load(plain)


class CellImages:
    """Loads the images of cells, and keeps the data sets and the pools that were needed last."""

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self._kept: dict[str, dict[str, Any]] = {"data": {}, "pool": {}}

    def load(self, plain: Config) -> CellData:
        """The images of a cell; raises ValueError or OSError for what cannot be."""
        dataset, other = plain["dataset"], plain["attack"]["other_pool"]
        data: Splits = self._once("data", [dataset], lambda: _load_data(dataset))

        def pool(choice: Config) -> ImageSet:
            made: ImageSet = self._once("pool", [choice, dataset], lambda: load_pool(choice, dataset, data))
            return made

        return CellData(data, pool(plain["query_pool"]), pool(other) if other else None)

    def _once(self, kind: str, told_by: list[Config], make: Callable[[], Any]) -> Any:
        kept, key = self._kept[kind], json.dumps(told_by, sort_keys=True)
        if key not in kept:
            while len(kept) >= self.keep:
                del kept[next(iter(kept))]
            kept[key] = make()
        return kept[key]


def compose_cell(config: DictConfig, progress: bool) -> Cell:
    """Instantiate and check a cell's parts; raises InputError, one clear sentence, before any training."""
    plain: Config = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    return compose_resolved(plain, progress)


def compose_resolved(plain: Config, progress: bool, data: CellData | None = None) -> Cell:
    """The same for a resolved config; `data` are the cell's images where they are at hand already."""
    try:
        return _compose(plain, progress, data)
    except (ValueError, OSError) as error:
        raise InputError(str(error)) from error


def _compose(plain: Config, progress: bool, images: CellData | None) -> Cell:
    accounting = _accounting(plain)
    rule: Attack = instantiate(plain["attack"]["rule"], "attack.rule")
    stack = make_stack(plain, accounting)
    settings = _extraction_settings(plain)
    give_up = plain["attack"]["give_up_usd"]
    if give_up is not None and not give_up > 0:
        raise ValueError(f"attack.give_up_usd must be above 0, or null, not {give_up!r}")
    images = images or load_cell_data(plain)
    cell = Cell(
        config=plain,
        hardware=replace(instantiate(plain["trainer"], "trainer"), progress=progress),
        data=images.data,
        pool=images.pool,
        other_pool=images.other_pool,
        identity=Identity(plain, images.prints),
        victim=VictimSettings(**instantiate(plain["victim"], "victim")),
        measures=make_measures(plain),
        attack=rule,
        settings=settings,
        substitute=SubstituteSettings(**instantiate(plain["substitute"], "substitute")),
        stack=stack,
        remote=_remote(plain),
        accounting=accounting,
        transfer=TransferSettings(**plain["dataset"]["transfer"]),
    )
    _check(cell)
    return cell


def _check(cell: Cell) -> None:
    classes = cell.data.train.num_classes
    cell.settings.check_against(cell.attack, cell.attack.supply(cell.pool, cell.other_pool), classes)
    if cell.attack.needs_cost and not cell.knows_cost:
        raise ValueError("attack.knows must name cost for this attack, which asks by the defender's own cost")
    if cell.settings.recover == "bayes" and not cell.knows_defense:
        raise ValueError(
            "attack.recover=bayes is for an attacker who knows the defense: attack.knows=[defense]"
        )
    if cell.toll is not None and cell.toll.cost not in cell.measures:
        valid = ", ".join(cell.measures)
        raise ValueError(
            f"defense.{cell.toll.name}.cost must be one of {valid} (privacy.measures), not {cell.toll.cost!r}"
        )
    checkpoint = cell.victim.checkpoint
    if checkpoint is not None and not Path(checkpoint).is_file():
        raise FileNotFoundError(f"victim.checkpoint={checkpoint}: there is no such file")
    build_network(cell.victim.architecture, cell.data.train.image_shape, classes)
    build_network(cell.substitute.architecture, cell.pool.image_shape, classes)


def _extraction_settings(plain: Config) -> ExtractionSettings:
    """The settings that an extraction runs with."""
    keys = ("budget", "round_size", "accounts", "answers", "top_k", "warm_start", "recover", "repeats")
    settings = ExtractionSettings(**{key: plain["attack"][key] for key in keys}, seed=plain["seed"])
    return replace(settings, accounts=asking_accounts(plain))


def _remote(plain: Config) -> Remote | None:
    options = dict(plain["oracle"])
    match options.pop("name"):
        case "http":
            return Remote(**options, accounts=plain["attack"]["accounts"])
        case "in_process":
            return None
        case other:
            raise ValueError(f"oracle.name must be in_process or http, not {other!r}")


def _accounting(plain: Config) -> dict[str, Accounting]:
    """How the costs of each measure with Gaussian noise add up."""
    privacy = plain["privacy"]
    return {
        name: Accounting(
            node["sigma"], node["delta"], privacy["accounting"], privacy["bound"], privacy["conversion"]
        )
        for name, node in privacy["measures"].items()
        if "sigma" in node
    }


def _load_data(dataset: Config) -> Splits:
    parts = instantiate(dataset["source"], "dataset")
    slices = resolve_splits(dataset["splits"], dataset["split_choices"])
    return split(
        parts,
        slices,
        shuffle_seed=dataset["shuffle_seed"],
        allow_overlap=dataset["allow_overlap"],
        hint=f"splits of this data set: {', '.join(dataset['split_choices'])}",
    )


def load_pool(query_pool: Config, dataset: Config, data: Splits) -> ImageSet:
    """The attacker's pool, in the shape of the victim's images, and none of them the victim's own."""
    if query_pool["source"] is None:
        pool = data.pool
    else:
        pool = select(
            instantiate(query_pool["source"], "query_pool"), query_pool["part"], option="query_pool.part"
        )
    if not dataset["allow_overlap"]:
        check_disjoint({"the victim's training data": data.train, "the query pool": pool})
        check_disjoint({"the test images": data.test, "the query pool": pool})
    return pool.conform(data.train.image_shape)
