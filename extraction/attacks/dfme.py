"""Data-free model extraction, DFME (Truong et al. 2021): it needs no images, but many queries."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from extraction.attacks.base import Ask, Attack, Attacker
from extraction.learning.data_free import DataFree, DataFreeRecipe, Generator, Iterations
from storage.identity import stable_id
from training.fit import make_trainer, run_trainer
from training.recipe import Recipe
from training.seeds import derive_seed, seeded
from victims.datasets.images import ImageSet


@stable_id("attack/dfme")
class Dfme(Attack):
    """Trains a generator against the student; every image that the victim sees is a query.

    See `extraction.learning.data_free` for the loop. The student is the substitute and is trained further in
    each round, so attack.warm_start must be true.

    Args:
        recipe: Steps, sizes and rates of the loop.
        budget: Queries of the whole extraction, of which `milestones` are shares.
        milestones: Shares of the budget at which the student's learning rate falls, as in the paper.
        decay: Factor by which it falls each time.
    """

    answers = ("soft",)
    keeps_transfer_set = False

    def __init__(
        self,
        recipe: DataFreeRecipe,
        budget: int,
        milestones: tuple[float, ...] = (0.1, 0.3, 0.5),
        decay: float = 0.3,
    ) -> None:
        self.recipe, self.budget = recipe, budget
        self.milestones, self.decay = tuple(milestones), decay
        self.spent = 0
        self.generator: dict[str, Tensor] | None = None
        self.optimizers: list[dict[str, Any]] | None = None
        self.replay: tuple[Tensor, Tensor] | None = None

    def supply(self, pool: ImageSet, other_pool: ImageSet | None) -> int | None:
        """Return None, no limit: the attack makes its images."""
        return None

    def run_round(self, attacker: Attacker, ask: Ask, count: int) -> None:
        """Run as many iterations as `count` queries pay for; less than one image's share may be left."""
        seed = derive_seed(attacker.seed, "iterations", attacker.round)
        iterations = Iterations(count, self.recipe, seed)
        if not len(iterations):
            return
        module = self._module(attacker, ask)
        trainer = make_trainer(attacker.hardware, epochs=1)
        with seeded(attacker.seed, "data free", attacker.round):
            run_trainer(trainer, module.train(), iterations)
        self.spent += count
        self.generator = {
            name: value.detach().cpu().clone() for name, value in module.generator.state_dict().items()
        }
        self.optimizers = [optimizer.state_dict() for optimizer in trainer.optimizers]
        self.replay = module.replay
        attacker.hardware.place(module.student)

    def _module(self, attacker: Attacker, ask: Ask) -> DataFree:
        """Return student and generator in the states that the last round left them in."""
        assert attacker.student is not None
        with seeded(attacker.seed, "generator"):
            generator = Generator(attacker.pool.image_shape, self.recipe.latent, self.recipe.width)
        if self.generator is not None:
            generator.load_state_dict(self.generator)
        passed = sum(self.spent >= milestone * self.budget for milestone in self.milestones)
        return DataFree(
            attacker.student,
            generator,
            lambda images: ask(images).values,
            self.recipe,
            self.optimizers,
            self.recipe.student_rate * self.decay**passed,
            self.replay,
        )

    def train(self, attacker: Attacker, network: nn.Module, recipe: Recipe) -> None:
        """Do nothing: the student has learned while it asked."""

    def state_dict(self) -> dict[str, Any]:
        """Return the spent queries, the generator, both optimisers, and the answers to replay."""
        names = ("spent", "generator", "optimizers", "replay")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for name, value in state.items():
            setattr(self, name, value)
