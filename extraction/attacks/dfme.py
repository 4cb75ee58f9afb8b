"""Data-free model extraction, DFME (Truong et al. 2021): no images at all, but many queries."""

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
    """Generator against student, and every image that the victim sees is counted (see
    extraction.learning.data_free).

    The student is the substitute, trained on from round to round: attack.warm_start must be true. Its
    learning rate falls by `decay` at the shares `milestones` of `budget`, as in the paper.
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
        """No limit: images are made."""
        return None

    def run_round(self, attacker: Attacker, ask: Ask, count: int) -> None:
        """Iterations that ask `count` images together, but for less than a batch's share of one."""
        assert attacker.student is not None
        seed = derive_seed(attacker.seed, "iterations", attacker.round)
        iterations = Iterations(count, self.recipe, seed)
        if not len(iterations):
            return
        with seeded(attacker.seed, "generator"):
            generator = Generator(attacker.pool.image_shape, self.recipe.latent, self.recipe.width)
        if self.generator is not None:
            generator.load_state_dict(self.generator)
        passed = sum(self.spent >= milestone * self.budget for milestone in self.milestones)
        module = DataFree(
            attacker.student,
            generator,
            lambda images: ask(images).values,
            self.recipe,
            self.optimizers,
            self.recipe.student_rate * self.decay**passed,
            self.replay,
        )
        trainer = make_trainer(attacker.hardware, epochs=1)
        with seeded(attacker.seed, "data free", attacker.round):
            run_trainer(trainer, module.train(), iterations)
        self.spent += count
        self.generator = {
            name: value.detach().cpu().clone() for name, value in generator.state_dict().items()
        }
        self.optimizers = [optimizer.state_dict() for optimizer in trainer.optimizers]
        self.replay = module.replay
        attacker.hardware.place(attacker.student)

    def train(self, attacker: Attacker, network: nn.Module, recipe: Recipe) -> None:
        """Nothing: the student has learned while it asked."""

    def state_dict(self) -> dict[str, Any]:
        """Generator, both optimisers, and what is replayed."""
        names = ("spent", "generator", "optimizers", "replay")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Attack."""
        for name, value in state.items():
            setattr(self, name, value)
