"""How long what is missing may take, by what the store's entries took."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from storage.identity import identify
from sweeps.grid.units import Plan, Unit, counted

PRICE_SECONDS = 1.0
"""Of pricing one cell whose extraction is in the store."""


class Estimates:
    """Medians over a store: seconds of each attack on each data set with a budget, else a query of it with
    another budget, else of any attack; and of each preparation.
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
        preparing: dict[str, list[float]] = defaultdict(list)
        for kind in ("victims", "teachers"):
            for identity, result in _entries(store / kind):
                if "seconds" in result:
                    preparing[kind + identity["train"]].append(result["seconds"])
        self.by_budget = {key: median(seconds) for key, seconds in by_budget.items()}
        self.by_attack = {key: median(rates) for key, rates in by_attack.items()}
        self.by_data = {key: median(rates) for key, rates in by_data.items()}
        self.preparing = {key: median(seconds) for key, seconds in preparing.items()}

    def seconds(self, unit: Unit) -> float | None:
        """What a unit may take; None where the store holds nothing like it."""
        cell = unit.cells[0]
        train = cell.identity.data.train
        if unit.stage == "prepare":
            parts = [self.preparing.get(kind + train) for kind in ("victims", "teachers")]
            known = [part for part in parts if part is not None]
            return sum(known) if known else None
        prices = PRICE_SECONDS * len(unit.cells)
        if unit.stage == "price":
            return prices
        attack = cell.config["attack"]
        name, budget = identify(attack["rule"]["_target_"]), attack["budget"]
        rate = self.by_attack.get((name, train), self.by_data.get(train))
        took = self.by_budget.get((name, train, budget), None if rate is None else rate * budget)
        return None if took is None else took + prices

    def sentence(self, plan: Plan) -> str:
        """The sum over what is missing, and for how much of it nothing is known."""
        seconds = [self.seconds(unit) for unit in plan.units]
        known = [one for one in seconds if one is not None]
        unknown = len(seconds) - len(known)
        parts = [f"about {duration(sum(known))} if run one after another"] if known else []
        if unknown:
            parts.append(f"{counted(unknown, 'job')} of a kind that the store has not seen")
        return "estimated time: " + "; and ".join(parts)


def duration(seconds: float) -> str:
    """Seconds in the unit that reads best."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


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
