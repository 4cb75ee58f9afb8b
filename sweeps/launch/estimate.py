"""How long what is missing may take, by what the store's entries took."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from storage.durations import duration
from storage.identity import identify
from storage.store import TOOK, identity_key
from sweeps.grid.units import Plan, Unit, counted

PREPARED = ("victims", "teachers", "misinformers", "honest")
"""Kinds of artifacts that are made before an extraction; teachers' votes are in the time of honest users."""

AFTER_AN_EXTRACTION = ("transferability", "utility_loss")

PRICE_SECONDS = 1.0
"""Of pricing one cell whose extraction is in the store."""


class Estimates:
    """Medians over a store: seconds of each attack on each data set with a budget, else a query of it with
    another budget, else of any attack; and of each preparation, and of what is measured after an extraction.
    """

    def __init__(self, store: Path) -> None:
        by_budget: dict[tuple[str, str, int], list[float]] = defaultdict(list)
        by_attack: dict[tuple[str, str], list[float]] = defaultdict(list)
        by_data: dict[str, list[float]] = defaultdict(list)
        for identity, result in _entries(store / "extractions"):
            rounds, train = result["rounds"], identity["meter"]["victim"]["train"]
            took = sum(round["query_time"] + round["train_time"] for round in rounds)
            rate = took / max(rounds[-1]["queries"], 1)
            name, budget = identity["attack"]["rule"]["_target_"], identity["attack"]["budget"]
            by_budget[name, train, budget].append(took)
            by_attack[name, train].append(rate)
            by_data[train].append(rate)
        self.store = store
        self.made = {kind: _medians(store, kind) for kind in (*PREPARED, *AFTER_AN_EXTRACTION)}
        self.by_budget = {key: median(seconds) for key, seconds in by_budget.items()}
        self.by_attack = {key: median(rates) for key, rates in by_attack.items()}
        self.by_data = {key: median(rates) for key, rates in by_data.items()}

    def seconds(self, unit: Unit) -> float | None:
        """What a unit may take; None where the store holds nothing like it."""
        cell = unit.cells[0]
        train = cell.identity.data.train
        if unit.stage == "prepare":
            return self._preparing(unit)
        prices = PRICE_SECONDS * len(unit.cells)
        if unit.stage == "price":
            return prices
        attack = cell.config["attack"]
        name, budget = identify(attack["rule"]["_target_"]), attack["budget"]
        rate = self.by_attack.get((name, train), self.by_data.get(train))
        took = self.by_budget.get((name, train, budget), None if rate is None else rate * budget)
        after = sum(self.made[kind].get(train, 0.0) for kind in AFTER_AN_EXTRACTION)
        return None if took is None else took + after + prices

    def _preparing(self, unit: Unit) -> float | None:
        """What is missing of a victim, its teachers (by their number) and what else cells need."""
        cell = unit.cells[0]
        train = cell.identity.data.train
        missing = {
            kind: identity
            for kind, identity in cell.preparation.items()
            if not (self.store / kind / identity_key(identity) / "DONE").exists()
        }
        known = [
            self.made[kind][train] * _size(identity)
            for kind, identity in missing.items()
            if train in self.made.get(kind, {})
        ]
        return sum(known) if known else None

    def sentence(self, plan: Plan, processes: int = 1) -> str:
        """What is missing may take, over so many processes, and for how much of it nothing is known."""
        seconds = [self.seconds(unit) for unit in plan.units]
        known = [one for one in seconds if one is not None]
        unknown = len(seconds) - len(known)
        parts = [f"about {duration(self._together(plan, processes))}{_over(processes)}"] if known else []
        if unknown:
            parts.append(f"{counted(unknown, 'job')} of a kind that the store has not seen")
        return "estimated time: " + "; and ".join(parts)

    def _together(self, plan: Plan, processes: int) -> float:
        """Seconds of the known units over so many processes: preparations first, and no unit is cut."""
        total = 0.0
        for is_first in (True, False):
            units = [unit for unit in plan.units if (unit.stage == "prepare") == is_first]
            known = [seconds for unit in units if (seconds := self.seconds(unit)) is not None]
            total += max(sum(known) / processes, max(known, default=0.0))
        return total


def _over(processes: int) -> str:
    return " if run one after another" if processes == 1 else f" over {processes} processes"


def _size(identity: Mapping[str, Any]) -> float:
    """What the time of making an artifact grows with: how many teachers there are, unless the data say."""
    return float(identity.get("teachers", {}).get("teachers") or 1)


def _medians(store: Path, kind: str) -> dict[str, float]:
    """Median seconds to make an entry of a kind, for each set of training images; of teachers, of one."""
    found: dict[str, list[float]] = defaultdict(list)
    for path in sorted((store / kind).glob("*/DONE")):
        try:
            identity = json.loads((path.parent / "identity.json").read_text())
            took = path.with_name(TOOK)
            told = took if took.exists() else path.with_name("result.json")
            found[_train(identity)].append(json.loads(told.read_text())["seconds"] / _size(identity))
        except (OSError, ValueError, KeyError):
            continue  # damaged, or of an early version
    return {train: median(seconds) for train, seconds in found.items()}


def _train(identity: Mapping[str, Any]) -> str:
    """The training images that an artifact stems from."""
    for place in ((), ("victim",), ("extraction", "meter", "victim")):
        node: Any = identity
        for name in place:
            node = node.get(name, {})
        if isinstance(train := node.get("train"), str):
            return train
    raise KeyError("train")


def _entries(folder: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Identity and result of each finished entry of a kind."""
    entries = []
    for done in sorted(folder.glob("*/DONE")):
        try:
            identity = json.loads((done.parent / "identity.json").read_text())
            entries.append((identity, json.loads((done.parent / "result.json").read_text())))
        except (OSError, ValueError):
            continue  # damaged: the store finds that when the entry is asked for
    return entries
