"""DFMS-HL (Sanyal, Addepalli, Babu 2022, "Towards Data-Free Model Stealing in a Hard Label Setting").

See `extraction.learning.hard_label` for the loop. It needs labels only, and no image of the victim's kind:
its proxy images are random shapes, as in the paper, or those of the query pool.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn

from extraction.attacks.base import Attacker, pool_images
from extraction.attacks.dfme import Dfme, Schedule
from extraction.learning.data_free import DataFreeRecipe, Generator
from extraction.learning.hard_label import Adversary, make_discriminator
from extraction.learning.shapes import random_shapes
from storage.identity import stable_id
from storage.typed import AboveNone, Count, Natural, NonNegative, Share, check_declared
from training.seeds import seeded

ProxyImages = Literal["shapes", "pool"]


if TYPE_CHECKING:
    from extraction.learning.loops.data_free import DataFree


@stable_id("attack/dfms_hl")
class DfmsHl(Dfme):
    """Asks about the images of a GAN that the clone puts in all classes alike.

    Args:
        recipe: Steps, sizes and rates of the loop, with `directions` 0.
        budget: Queries of the whole extraction, of which `milestones` are shares.
        milestones: Shares of the budget at which all learning rates fall.
        decay: Factor by which they fall each time.
        schedule: See Dfme.
        proxy: What the GAN learns to look like: random `shapes`, or the images of the query `pool`.
        diversity: Weight of the diversity of classes, the paper's lambda.
        pretraining: Steps of the GAN before the first query.

    Raises:
        ValueError: An option is out of range.
    """

    answers = ("soft", "hard")
    estimates_gradients = False

    def __init__(
        self,
        recipe: DataFreeRecipe,
        budget: Count,
        milestones: tuple[Share, ...] = (0.4, 0.8),
        decay: AboveNone = 0.3,
        schedule: Schedule = "steps",
        proxy: ProxyImages = "shapes",
        diversity: NonNegative = 10.0,
        pretraining: Natural = 1000,
    ) -> None:
        super().__init__(recipe, budget, milestones, decay, schedule)
        self.proxy, self.diversity, self.pretraining = proxy, diversity, pretraining
        check_declared(self, "attack.rule")
        self.discriminator: dict[str, Tensor] | None = None

    def _loop(self) -> type[DataFree]:
        from extraction.learning.loops.hard_label import HardLabelLoop

        return HardLabelLoop

    def _student(self, attacker: Attacker) -> nn.Module:
        assert attacker.student is not None
        shape = attacker.pool.image_shape
        with seeded(attacker.seed, "discriminator"):
            discriminator = make_discriminator(shape, self.recipe.width)
        if self.discriminator is not None:
            discriminator.load_state_dict(self.discriminator)
        proxy = partial(_drawn, attacker) if self.proxy == "pool" else partial(random_shapes, shape)
        pretraining = self.pretraining if self.spent == 0 else 0
        student, seed = attacker.student, attacker.seed
        return Adversary(student, discriminator, proxy, self.diversity, pretraining, seed)

    def _generator(self, attacker: Attacker) -> Generator:
        """DFME's without its last normalisation, which keeps a batch's pixels from being mostly dark."""
        generator = super()._generator(attacker)
        generator.layers = generator.layers[:-1]
        return generator

    def _keep(self, module: DataFree) -> None:
        super()._keep(module)
        told = cast(Adversary, module.student).discriminator.state_dict()
        self.discriminator = {name: value.detach().cpu().clone() for name, value in told.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return what `Dfme` does, and the weights of the discriminator."""
        return super().state_dict() | {"discriminator": self.discriminator}


def _drawn(attacker: Attacker, count: int, random: torch.Generator) -> Tensor:
    """Images of the pool, drawn with replacement."""
    return pool_images(attacker, attacker.pool, torch.randint(len(attacker.pool), (count,), generator=random))
