"""Data-free model extraction, DFME (Truong et al. 2021): it needs no images, but many queries."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import Tensor, nn

from extraction.attacks.base import Ask, Attack, Attacker
from extraction.learning.data_free import DataFreeRecipe, Generator, Iterations
from extraction.learning.replay import Replay
from storage.identity import stable_id
from storage.typed import AboveNone, Count, Share, check_declared
from training.recipe import Recipe
from training.seeds import derive_seed, seeded
from victims.datasets.images import ImageSet
from victims.types import AnswerKind

if TYPE_CHECKING:
    from extraction.learning.loops.data_free import DataFree

Schedule = Literal["steps", "cosine"]


@stable_id("attack/dfme@2")
class Dfme(Attack):
    """Trains a generator against the student; every image that the victim sees is a query.

    See `extraction.learning.data_free` for the loop. The student is the substitute and is trained further in
    each round, so attack.warm_start must be true.

    Args:
        recipe: Steps, sizes and rates of the loop.
        budget: Queries of the whole extraction, of which `milestones` are shares.
        milestones: Shares of the budget at which both learning rates fall, as in the paper.
        decay: Factor by which they fall each time.
        schedule: `steps` at the milestones, or `cosine`: from the first rate to 0 over the budget, as MAZE's.

    Raises:
        ValueError: An option is out of range.
    """

    answers: ClassVar[tuple[AnswerKind, ...]] = ("soft",)
    keeps_transfer_set = False

    estimates_gradients: ClassVar[bool] = True
    """Whether the generator's gradient is estimated by queries."""

    def __init__(
        self,
        recipe: DataFreeRecipe,
        budget: Count,
        milestones: tuple[Share, ...] = (0.1, 0.3, 0.5),
        decay: AboveNone = 0.3,
        schedule: Schedule = "steps",
    ) -> None:
        if self.estimates_gradients != (recipe.directions > 0):
            rule = "at least 1" if self.estimates_gradients else "0: this attack estimates no gradient"
            raise ValueError(f"attack.rule.recipe.directions must be {rule}, not {recipe.directions}")
        self.recipe, self.budget, self.schedule = recipe, budget, schedule
        self.milestones, self.decay = tuple(milestones), decay
        check_declared(self, "attack.rule")
        self.spent = 0
        self.generator: dict[str, Tensor] | None = None
        self.optimizers: list[dict[str, Any]] | None = None
        self.replay = Replay(recipe.replay_size)

    def supply(self, pool: ImageSet, other_pool: ImageSet | None) -> int | None:
        """Return None, no limit: the attack makes its images."""
        return None

    def run_round(self, attacker: Attacker, ask: Ask, count: int) -> None:
        """Run as many iterations as `count` queries pay for; less than one image's share may be left."""
        from training.trainer import make_trainer, run_trainer

        seed = derive_seed(attacker.seed, "iterations", attacker.round)
        iterations = Iterations(count, self.recipe, seed)
        if not len(iterations):
            return
        module = self._module(attacker, ask)
        trainer = make_trainer(attacker.hardware, epochs=1)
        with seeded(attacker.seed, "data free", attacker.round):
            run_trainer(trainer, module.train(), iterations)
        self.spent += count
        self.optimizers = [optimizer.state_dict() for optimizer in trainer.optimizers]
        self._keep(module)
        attacker.hardware.place(module.student)

    def _loop(self) -> type[DataFree]:
        """Return what trains student and generator."""
        from extraction.learning.loops.data_free import DataFree

        return DataFree

    def _keep(self, module: DataFree) -> None:
        """Keep for later rounds what the loop has trained besides the substitute."""
        self.generator = {
            name: value.detach().cpu().clone() for name, value in module.generator.state_dict().items()
        }

    def _student(self, attacker: Attacker) -> nn.Module:
        """Return what the loop trains on the answers."""
        assert attacker.student is not None
        return attacker.student

    def _generator(self, attacker: Attacker) -> Generator:
        """Return the generator with the weights that it begins with."""
        with seeded(attacker.seed, "generator"):
            return Generator(attacker.pool.image_shape, self.recipe.latent, self.recipe.width)

    def _module(self, attacker: Attacker, ask: Ask) -> DataFree:
        """Return student and generator in the states that the last round left them in."""
        generator = self._generator(attacker)
        if self.generator is not None:
            generator.load_state_dict(self.generator)
        spent = self.spent
        return self._loop()(
            self._student(attacker),
            generator,
            lambda images: ask(images).values,
            self.recipe,
            self.optimizers,
            lambda queries: self.rate(spent + queries),
            self.replay,
        )

    def rate(self, spent: int) -> float:
        """Return the share of both learning rates that is left after `spent` queries."""
        share = min(spent / self.budget, 1.0)
        if self.schedule == "cosine":
            return (1 + math.cos(math.pi * share)) / 2
        return self.decay ** sum(share >= milestone for milestone in self.milestones)

    def train(self, attacker: Attacker, network: nn.Module, recipe: Recipe) -> None:
        """Do nothing: the student has learned while it asked."""

    def state_dict(self) -> dict[str, Any]:
        """Return the spent queries, the generator, both optimisers, and the answers to replay."""
        names = ("spent", "generator", "optimizers")
        return {name: getattr(self, name) for name in names} | {"replay": self.replay.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        own = dict(state)
        self.replay.load_state_dict(own.pop("replay"))
        for name, value in own.items():
            setattr(self, name, value)
