"""How an extraction runs, whatever the attack."""

from __future__ import annotations

from dataclasses import dataclass

from extraction.attacks.base import Attack
from extraction.recovery import RecoveryName
from storage.options import check_choice
from training.recipe import Recipe
from victims.architectures.build import Architecture
from victims.types import AnswerKind


@dataclass(frozen=True)
class ExtractionSettings:
    """Budget and rounds in queries; `accounts` that share each round's queries evenly.

    Each image is asked `repeats` times in a row, and its answer is what `recover` makes of those it gets.

    With `warm_start` a round's substitute goes on from the last one's weights, else it starts anew.
    """

    budget: int
    round_size: int
    accounts: int = 1
    answers: AnswerKind = "soft"
    top_k: int = 3
    warm_start: bool = False
    seed: int = 0
    recover: RecoveryName = "none"
    repeats: int = 1

    def __post_init__(self) -> None:
        for name in ("budget", "round_size", "accounts", "top_k", "repeats"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"attack.{name} must be a whole number of at least 1, not {value!r}")
        check_choice("attack.answers", self.answers, AnswerKind)
        check_choice("attack.recover", self.recover, RecoveryName)
        if self.recover != "none" and self.answers == "hard":
            raise ValueError(
                f"attack.recover={self.recover} needs probabilities: choose attack.answers=soft or topk"
            )
        if self.repeats > self.round_size:
            raise ValueError(
                f"attack.repeats={self.repeats} is more than the {self.round_size} queries of a round "
                "(attack.round_size)"
            )

    def check_against(self, attack: Attack, supply: int | None, num_classes: int) -> None:
        """Raise ValueError for what cannot work: answers that the attack cannot use, a budget beyond the
        images at hand (`supply`), a top_k without meaning."""
        if self.answers not in attack.answers:
            raise ValueError(
                f"attack.answers={self.answers} is not enough for this attack, which computes with "
                f"{' or '.join(attack.answers)} answers"
            )
        if supply is not None and self.budget // self.repeats > supply:
            times = f" over attack.repeats={self.repeats}" if self.repeats > 1 else ""
            raise ValueError(
                f"attack.budget={self.budget}{times} is more than the {supply:,} images of the query pool, "
                "and this attack asks about no image twice; lower attack.budget or choose another query_pool"
            )
        if self.answers == "topk" and self.top_k > num_classes:
            raise ValueError(f"attack.top_k={self.top_k} is more than the {num_classes} classes")


@dataclass(frozen=True)
class SubstituteSettings:
    """The substitute's architecture and how it is trained after each round."""

    architecture: Architecture
    recipe: Recipe
