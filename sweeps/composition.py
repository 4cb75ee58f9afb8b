"""From a composed config to the parts of a cell; all that can be wrong with the input is found here."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.errors import CompactHydraException
from omegaconf import DictConfig, OmegaConf

from extraction.attacks.base import Attack
from extraction.settings import ExtractionSettings, SubstituteSettings
from pow.calibration import LinearExpectation
from pow.options import instantiate
from pow.pricing import Pricing, make_pricing
from privacy.accountant import Accounting
from sweeps.files import file_hash
from training.recipe import Hardware
from victims.architectures.build import build_network
from victims.datasets.images import ImageSet
from victims.datasets.splits import Splits, check_disjoint, resolve_splits, select, split
from victims.defenses.base import Defense
from victims.defenses.pow import ProofOfWork
from victims.measures.base import Measure
from victims.victim import VictimSettings, build_victim

Config = dict[str, Any]
ATTACK_RULES_OF_CHOICE = ("rule", "budget", "round_size", "accounts", "answers", "top_k", "warm_start")


class InputError(CompactHydraException):
    """Something in the configuration, the data or the output folder is not as it must be."""


@dataclass(frozen=True, eq=False)
class Toll:
    """The defence that charges: completed once the expected cost of an honest user is known.

    `expected` is the published expectation, or None where it is to be measured on this victim.
    """

    defense: Callable[..., ProofOfWork]
    pricing: Pricing
    expected: LinearExpectation | None
    cost: str


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
    hardware: Hardware
    data: Splits
    pool: ImageSet
    other_pool: ImageSet | None
    victim: VictimSettings
    measures: Mapping[str, Callable[..., Measure]]
    attack: Attack
    settings: ExtractionSettings
    substitute: SubstituteSettings
    defenses: list[Defense]
    toll: Toll | None
    remote: Remote | None
    accounting: Mapping[str, Accounting]

    @property
    def knows_cost(self) -> bool:
        """Whether the thief sees the defender's cost."""
        return "cost" in self.config["attack"]["knows"]

    @property
    def accounts_after(self) -> int:
        """Over how many accounts the trace is shared out after the extraction."""
        asked: int = self.config["attack"]["accounts"]
        return asked if self.settings.accounts == 1 else 1

    @property
    def numerics(self) -> Config:
        """What of the trainer's settings can change a figure."""
        return {key: self.config["trainer"][key] for key in ("precision", "channels_last", "batch_size")}

    @property
    def victim_identity(self) -> Config:
        """All that decides the victim's weights."""
        victim = dict(self.config["victim"])
        checkpoint = victim.pop("checkpoint")
        if checkpoint is not None:
            victim["checkpoint"] = file_hash(Path(checkpoint))
        return {"victim": victim, "train": self.data.train.fingerprint, "numerics": self.numerics}

    @property
    def meter_identity(self) -> Config:
        """All that decides what a query costs under each measure."""
        return {"victim": self.victim_identity, "measures": self.config["privacy"]["measures"]}

    @property
    def extraction_identity(self) -> Config:
        """All that can change an answer or a choice; not the calibration, which only prices them."""
        answers = {
            name: node
            for name, node in self.config["defense"].items()
            if not _is_toll(instantiate(node, f"defense.{name}"))
        }
        attack = {key: self.config["attack"][key] for key in ATTACK_RULES_OF_CHOICE}
        attack["accounts"] = self.settings.accounts
        over_the_wire = {"oracle": self.config["oracle"].get("url"), "pricing": self._pricing_config}
        return {
            "meter": self.meter_identity,
            "pool": self.pool.fingerprint,
            **({"other_pool": self.other_pool.fingerprint} if self.other_pool else {}),
            "test": self.data.test.fingerprint,
            "attack": attack,
            "substitute": self.config["substitute"],
            "defense": answers,
            "numerics": self.numerics,
            "seed": self.config["seed"],
            **(over_the_wire if self.remote else {}),
        }

    @property
    def _pricing_config(self) -> Config:
        """What decides how much work a server asks for."""
        return {name: self.config[name] for name in ("defense", "pow_calibration", "puzzle", "privacy")}


def compose_cell(config: DictConfig, progress: bool) -> Cell:
    """Instantiate and check a cell's parts; raises InputError, one clear sentence, before any training."""
    try:
        return _compose(config, progress)
    except (ValueError, OSError) as error:
        raise InputError(str(error)) from error


def _compose(config: DictConfig, progress: bool) -> Cell:
    plain: Config = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    accounting = _accounting(plain)
    rule: Attack = instantiate(plain["attack"]["rule"], "attack.rule")
    defenses, toll = _defenses(plain)
    settings = _extraction_settings(plain, defenses)
    give_up = plain["attack"]["give_up_usd"]
    if give_up is not None and not give_up > 0:
        raise ValueError(f"attack.give_up_usd must be above 0, or null, not {give_up!r}")
    data, other = _load_data(plain["dataset"]), plain["attack"]["other_pool"]
    cell = Cell(
        config=plain,
        hardware=replace(instantiate(plain["trainer"], "trainer"), progress=progress),
        data=data,
        pool=load_pool(plain["query_pool"], plain["dataset"], data),
        other_pool=load_pool(other, plain["dataset"], data) if other else None,
        victim=VictimSettings(**instantiate(plain["victim"], "victim")),
        measures=instantiate(plain["privacy"]["measures"], "privacy.measures"),
        attack=rule,
        settings=settings,
        substitute=SubstituteSettings(**instantiate(plain["substitute"], "substitute")),
        defenses=defenses,
        toll=toll,
        remote=_remote(plain),
        accounting=accounting,
    )
    _check(cell)
    return cell


def _check(cell: Cell) -> None:
    classes = cell.data.train.num_classes
    cell.settings.check_against(cell.attack, cell.attack.supply(cell.pool, cell.other_pool), classes)
    if cell.attack.needs_cost and not cell.knows_cost:
        raise ValueError("attack.knows must name cost for this attack, which asks by the defender's own cost")
    if cell.toll is not None and cell.toll.cost not in cell.measures:
        valid = ", ".join(cell.measures)
        raise ValueError(
            f"defense.pow.cost must be one of {valid} (privacy.measures), not {cell.toll.cost!r}"
        )
    checkpoint = cell.victim.checkpoint
    if checkpoint is not None and not Path(checkpoint).is_file():
        raise FileNotFoundError(f"victim.checkpoint={checkpoint}: there is no such file")
    build_victim(cell.victim, cell.data.train)
    build_network(cell.substitute.architecture, cell.pool.image_shape, classes)


def _extraction_settings(plain: Config, defenses: list[Defense]) -> ExtractionSettings:
    """The settings that an extraction runs with.

    Where nothing can tell accounts apart, no defence by its answers and no server, one account asks, and
    the queries are shared out when they are priced: any number of accounts then shares one extraction.
    """
    keys = ("budget", "round_size", "accounts", "answers", "top_k", "warm_start")
    settings = ExtractionSettings(**{key: plain["attack"][key] for key in keys}, seed=plain["seed"])
    keeps_accounts = defenses or plain["oracle"]["name"] == "http"
    return settings if keeps_accounts else replace(settings, accounts=1)


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


def _is_toll(defense: object) -> bool:
    """A defence that charges is left partial by its YAML, since its calibration is known only later."""
    return isinstance(defense, functools.partial)


def _defenses(plain: Config) -> tuple[list[Defense], Toll | None]:
    made = {name: instantiate(node, f"defense.{name}") for name, node in plain["defense"].items()}
    tolls = {name: defense for name, defense in made.items() if _is_toll(defense)}
    if len(tolls) > 1:
        raise ValueError(f"only one defence can charge, and {', '.join(tolls)} all do")
    pricing = make_pricing(plain)
    toll = None
    for name, complete in tolls.items():
        cost = plain["defense"][name]["cost"]
        accounting = _accounting(plain).get("pate")
        applies = cost == "pate" and accounting is not None and accounting.is_the_papers
        toll = Toll(complete, pricing, pricing.published if applies else None, cost)
        unfitted = pricing.calibration(expected=LinearExpectation(0.0, 0.0))
        complete(calibration=unfitted, puzzle=pricing.puzzle)  # refused if an option is wrong
    return [defense for defense in made.values() if not _is_toll(defense)], toll


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
    """The thief's pool, in the shape of the victim's images, and none of them the victim's own."""
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
