"""What a cell's artefacts are the result of: computed from its config and hashes of its data alone.

The identities here are hashed into the keys of the store. They need no network and no instantiated part,
so a grid of thousands of cells is planned in seconds. Code is named in them by stable ids (storage.identity)
and asked what it is by its class, so they depend on no path and on no spelling of a YAML.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from experiment.kinds import defense_class, measure_class
from storage.conf import CONF
from storage.files import file_hash
from storage.identity import identified, identify
from storage.store import identity_key
from victims.defenses.base import Watching

Config = dict[str, Any]

ATTACK_RULES_OF_CHOICE = ("rule", "budget", "round_size", "accounts", "answers", "top_k", "warm_start")
NEUTRAL = {"recover": "none", "repeats": 1}
"""Options of an attack that are in its identity only where they are not these, so that older keys stand."""

EVASION = {"evade": "none", "patience_days": 0, "hardware_choices": []}
"""Options of an attack that only price it, and are in a cell's identity where they are not these."""

NUMERICS = ("precision", "channels_last", "batch_size")
"""What of the trainer's settings can change a figure."""

TOLL_GROUPS = (
    *("defense", "pow_calibration", "honest_users"),
    *("puzzle", "hardware", "honest_hardware", "reference_client"),
)


@dataclass(frozen=True)
class DataPrints:
    """Content hashes of the images of a cell: the victim's own, the test images, the attacker's pools."""

    train: str
    test: str
    pool: str
    other_pool: str | None = None


def is_watched(config: Config) -> bool:
    """Whether a defense watches."""
    return any(defense_class(config, name).kind == "watches" for name in config["defense"])


def asking_accounts(config: Config) -> int:
    """How many accounts ask in the extraction itself.

    Where nothing can tell accounts apart, no defense that watches and no server, one account asks, and
    the queries are shared out when they are priced: any number of accounts then shares one extraction.
    """
    accounts: int = config["attack"]["accounts"]
    return accounts if is_watched(config) or config["oracle"]["name"] == "http" else 1


@dataclass(frozen=True, eq=False)
class Identity:
    """The identities of a cell's victim, teachers, honest users, extraction, and of the cell itself."""

    config: Config
    data: DataPrints

    @cached_property
    def named(self) -> Config:
        """The config with ids in place of Python paths: what enters keys."""
        named: Config = identified(self.config)
        return named | {"puzzle": named["puzzle"] | {"kind": identify(str(named["puzzle"]["kind"]))}}

    @property
    def numerics(self) -> Config:
        """The trainer's settings that can change a figure."""
        return {key: self.config["trainer"][key] for key in NUMERICS}

    @property
    def _network(self) -> Config:
        victim = dict(self.named["victim"])
        checkpoint = victim.pop("checkpoint")
        if checkpoint is not None:
            victim["checkpoint"] = file_hash(Path(checkpoint))  # which decides what normalize=null means
        elif victim["normalize"] is None:
            victim["normalize"] = True
        architecture = victim["architecture"]
        if isinstance(architecture, dict) and "function" in architecture:
            victim["architecture"] = architecture | {"function": _told(architecture["function"])}
        return {"victim": victim, "train": self.data.train, "numerics": self.numerics}

    @property
    def victim(self) -> Config:
        """The victim's weights, and the accuracy stated with them."""
        return self._network | {"test": self.data.test}

    @property
    def teachers(self) -> Config | None:
        """The PATE teachers, None where no measure asks them."""
        for name, node in self.named["privacy"]["measures"].items():
            options = measure_class(self.config, name).teacher_options
            if options:
                teachers = {option: node[option] for option in options}
                return {"teachers": teachers, "train": self.data.train, "numerics": self.numerics}
        return None

    @property
    def auxiliary(self) -> Config | None:
        """The network that a defense trains beside the victim, None where no defense does."""
        for name, node in self.named["defense"].items():
            defense = defense_class(self.config, name)
            if defense.trains is not None:
                told = {"auxiliary": node[defense.trains], "train": self.data.train}
                asked = {"victim": self._network["victim"]} if defense.trains_by_asking else {}
                return told | asked | {"numerics": self.numerics}
        return None

    @property
    def meter(self) -> Config:
        """What a query costs under each measure, and which bucket it falls in."""
        privacy = self.named["privacy"]
        return {"victim": self._network, "measures": privacy["measures"], "buckets": privacy["buckets"]}

    @property
    def honest(self) -> Config:
        """What honest users' images cost."""
        return self.meter | {"benign": self.data.test, "seed": self.config["seed"]}

    @property
    def fitted_toll(self) -> Config:
        """What a progressive calibration becomes when it is fitted; the strength multiplies it afterwards."""
        options = {name: value for name, value in self.named["pow_calibration"].items() if name != "strength"}
        return self.honest | {"pow_calibration": options, "honest_users": self.named["honest_users"]}

    @property
    def has_toll(self) -> bool:
        """Whether a defense charges, so that honest users must be known."""
        return any(defense_class(self.config, name).kind == "charges" for name in self.config["defense"])

    @property
    def _defense(self) -> Config:
        """The defenses that change answers, with their order where there are several, and what is watched."""
        changing, watches = {}, {}
        for name, node in self.named["defense"].items():
            defense = defense_class(self.config, name)
            if issubclass(defense, Watching):
                watches[name] = defense.seen_in_trace(node)
            elif defense.kind == "changes":
                changing[name] = node
        order = {"stack": list(changing)} if len(changing) > 1 else {}
        return {"defense": changing | watches} | order

    def utility_loss(self, queries: int) -> Config:
        """What honest users lose by the defenses; where one watches, by `queries` each, and when."""
        asked = {"queries": queries, "told": "when and for whom"} if is_watched(self.config) else {}
        told = {"victim": self._network, "benign": self.data.test, "seed": self.config["seed"]}
        return told | self._defense | asked

    @property
    def extraction(self) -> Config:
        """All that can change an answer or a choice; not the calibration, which only prices them."""
        config = self.named
        attack = {key: config["attack"][key] for key in ATTACK_RULES_OF_CHOICE}
        weights = attack["rule"].get("weights")
        if weights is not None and Path(weights).is_file():
            attack["rule"] = attack["rule"] | {"weights": file_hash(Path(weights))}
        attack["accounts"] = asking_accounts(self.config)
        attack |= {
            key: config["attack"][key] for key, plain in NEUTRAL.items() if config["attack"][key] != plain
        }
        identity = {
            "meter": self.meter,
            "pool": self.data.pool,
            "test": self.data.test,
            "attack": attack,
            "substitute": config["substitute"],
            **self._defense,
            "numerics": self.numerics,
            "seed": config["seed"],
        }
        if self.data.other_pool is not None:
            identity["other_pool"] = self.data.other_pool
        if config["oracle"]["name"] == "http":
            names = ("defense", "pow_calibration", "puzzle", "privacy")
            identity["oracle"] = config["oracle"]["url"]
            identity["pricing"] = {name: config[name] for name in names}
        return identity

    @property
    def transferability(self) -> Config:
        """What the extraction's substitute is worth beyond accuracy."""
        return {"extraction": self.extraction, "transfer": self.config["dataset"]["transfer"]}

    @property
    def white_box(self) -> Config:
        """How well the victim withstands attacks on itself."""
        attack = {"transfer": self.config["dataset"]["transfer"], "seed": self.config["seed"]}
        return self.victim | attack

    @property
    def _evasion(self) -> Config:
        """How the attacker answers the toll, with the content of the hardware that it may choose."""
        attack = self.config["attack"]
        evasion = {key: attack[key] for key, plain in EVASION.items() if attack[key] != plain}
        if "hardware_choices" in evasion:
            files = {name: CONF / "hardware" / f"{name}.yaml" for name in evasion["hardware_choices"]}
            evasion["hardware_choices"] = {name: file_hash(path) for name, path in files.items()}
        return evasion

    @property
    def cell(self) -> Config:
        """The extraction and how it is priced: equal for cells whose figures must be equal."""
        config = self.named
        attack = {key: config["attack"][key] for key in ("accounts", "give_up_usd")}
        pricing: Config = {"attack": attack | self._evasion}
        pricing["accounting"] = {key: config["privacy"][key] for key in ("accounting", "bound", "conversion")}
        pricing["request_seconds"] = config["dataset"]["request_seconds"]
        if self.has_toll:
            pricing |= {key: config[key] for key in TOLL_GROUPS} | {"honest": "on images not fitted to"}
        return {"extraction": self.extraction, "pricing": pricing}

    @property
    def cell_key(self) -> str:
        """The key of the cell, which names it in result.json and in Weights & Biases."""
        return identity_key(self.cell)


def _told(function: str) -> str:
    """What tells a victim's function from others: the content of its file."""
    return file_hash(Path(function)) if Path(function).is_file() else identify(function)
