"""What a cell's artefacts are the result of: computed from its config and hashes of its data alone.

The identities here are hashed into the keys of the store. They need no network and no instantiated part,
so a grid of thousands of cells is planned in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.files import file_hash
from storage.store import identity_key

Config = dict[str, Any]

ATTACK_RULES_OF_CHOICE = ("rule", "budget", "round_size", "accounts", "answers", "top_k", "warm_start")
NEUTRAL = {"recover": "none", "repeats": 1}
"""Options of an attack that are in its identity only where they are not these, so that older keys stand."""

NUMERICS = ("precision", "channels_last", "batch_size")
"""What of the trainer's settings can change a figure."""

TOLL_GROUPS = ("defense", "pow_calibration", "puzzle", "hardware", "honest_hardware", "reference_client")


@dataclass(frozen=True)
class DataPrints:
    """Content hashes of the images of a cell: the victim's own, the test images, the attacker's pools."""

    train: str
    test: str
    pool: str
    other_pool: str | None = None


def is_toll(node: Config) -> bool:
    """A defense that charges is left partial by its YAML, since its calibration is known only later."""
    return bool(node.get("_partial_", False))


def is_watch(node: Config) -> bool:
    """A defense that watches says in its YAML what happens `at_alarm`."""
    return "at_alarm" in node


def _what_is_watched(watch: Config) -> Config:
    """What of a watch is in the trace or stops it: an alarm that only charges is one that is reported."""
    told = {key: value for key, value in watch.items() if key != "surcharge"}
    return told | {"at_alarm": "block" if told["at_alarm"] == "block" else "report"}


def asking_accounts(config: Config) -> int:
    """How many accounts ask in the extraction itself.

    Where nothing can tell accounts apart, no defense that watches and no server, one account asks, and
    the queries are shared out when they are priced: any number of accounts then shares one extraction.
    """
    watched = any(is_watch(node) for node in config["defense"].values())
    accounts: int = config["attack"]["accounts"]
    return accounts if watched or config["oracle"]["name"] == "http" else 1


@dataclass(frozen=True, eq=False)
class Identity:
    """The identities of a cell's victim, teachers, honest users, extraction, and of the cell itself."""

    config: Config
    data: DataPrints

    @property
    def numerics(self) -> Config:
        """The trainer's settings that can change a figure."""
        return {key: self.config["trainer"][key] for key in NUMERICS}

    @property
    def _network(self) -> Config:
        victim = dict(self.config["victim"])
        checkpoint = victim.pop("checkpoint")
        if checkpoint is not None:
            victim["checkpoint"] = file_hash(Path(checkpoint))
        return {"victim": victim, "train": self.data.train, "numerics": self.numerics}

    @property
    def victim(self) -> Config:
        """The victim's weights, and the accuracy stated with them."""
        return self._network | {"test": self.data.test}

    @property
    def teachers(self) -> Config | None:
        """The PATE teachers, None where no measure asks them."""
        pate = self.config["privacy"]["measures"].get("pate")
        if pate is None:
            return None
        teachers = {key: value for key, value in pate.items() if key not in ("sigma", "delta")}
        return {"teachers": teachers, "train": self.data.train, "numerics": self.numerics}

    @property
    def misinformer(self) -> Config | None:
        """The network that a defense misinforms by, None where no defense has one."""
        for node in self.config["defense"].values():
            if "misinformer" in node:
                return {
                    "misinformer": node["misinformer"],
                    "train": self.data.train,
                    "numerics": self.numerics,
                }
        return None

    @property
    def meter(self) -> Config:
        """What a query costs under each measure."""
        return {"victim": self._network, "measures": self.config["privacy"]["measures"]}

    @property
    def honest(self) -> Config:
        """What honest users' images cost."""
        return self.meter | {"benign": self.data.test, "seed": self.config["seed"]}

    @property
    def has_toll(self) -> bool:
        """Whether a defense charges, so that honest users must be known."""
        return any(is_toll(node) for node in self.config["defense"].values())

    @property
    def _defense(self) -> Config:
        """The defenses that change answers, with their order where there are several, and what is watched."""
        nodes = self.config["defense"]
        watches = {name: _what_is_watched(node) for name, node in nodes.items() if is_watch(node)}
        changing = {name: node for name, node in nodes.items() if not is_toll(node) and not is_watch(node)}
        order = {"stack": list(changing)} if len(changing) > 1 else {}
        return {"defense": changing | watches} | order

    def utility_loss(self, queries: int) -> Config:
        """What honest users lose by the defenses; where one watches, by `queries` each, and when."""
        watched = any(is_watch(node) for node in self.config["defense"].values())
        asked = {"queries": queries, "told": "when"} if watched else {}
        told = {"victim": self._network, "benign": self.data.test, "seed": self.config["seed"]}
        return told | self._defense | asked

    @property
    def extraction(self) -> Config:
        """All that can change an answer or a choice; not the calibration, which only prices them."""
        config = self.config
        attack = {key: config["attack"][key] for key in ATTACK_RULES_OF_CHOICE}
        attack["accounts"] = asking_accounts(config)
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
    def cell(self) -> Config:
        """The extraction and how it is priced: equal for cells whose figures must be equal."""
        config = self.config
        pricing: Config = {"attack": {key: config["attack"][key] for key in ("accounts", "give_up_usd")}}
        pricing["accounting"] = {key: config["privacy"][key] for key in ("accounting", "bound", "conversion")}
        pricing["request_seconds"] = config["dataset"]["request_seconds"]
        if self.has_toll:
            pricing |= {key: config[key] for key in TOLL_GROUPS}
        return {"extraction": self.extraction, "pricing": pricing}

    @property
    def cell_key(self) -> str:
        """The key of the cell, which names it in result.json and in Weights & Biases."""
        return identity_key(self.cell)
