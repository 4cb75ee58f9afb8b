"""The options of an extraction that do not depend on the attack."""

from __future__ import annotations

from dataclasses import dataclass

from extraction.attacks.base import Attack
from extraction.recovery import RecoveryName
from storage.typed import Count, Natural, check_declared
from training.recipe import Recipe
from victims.architectures.build import Architecture
from victims.types import AnswerKind


@dataclass(frozen=True)
class ExtractionSettings:
    """How an extraction asks and trains.

    Attributes:
        budget: Queries that the extraction may ask.
        round_size: Queries in a round.
        accounts: Accounts that share each round's queries evenly.
        answers: What the interface answers: probabilities, the `top_k` largest of them, or labels.
        top_k: Probabilities in a `topk` answer.
        warm_start: Whether a round trains the last round's substitute further, instead of a new network.
        seed: Seed of all the attacker's random choices.
        recover: How the victim's own answer is estimated from what a defense let through.
        repeats: How often each image is asked in a row; each time is one query.

    Raises:
        ValueError: An option is out of range, or options contradict each other; the message names them.
    """

    budget: Count
    round_size: Count
    accounts: Count = 1
    answers: AnswerKind = "soft"
    top_k: Count = 3
    warm_start: bool = False
    seed: Natural = 0
    recover: RecoveryName = "none"
    repeats: Count = 1

    def __post_init__(self) -> None:
        check_declared(self, "attack")
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
        """Check that these settings fit the attack and the data.

        Args:
            attack: The attack that will run.
            supply: Images that the attack can ask about; None for no limit.
            num_classes: Classes of the data set.

        Raises:
            ValueError: The attack cannot use such answers, the budget is more than the images that there
                are, or `top_k` is more than the classes.
        """
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
