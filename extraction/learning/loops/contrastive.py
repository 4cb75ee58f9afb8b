"""Training by contrastive losses (see extraction.learning.contrastive)."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from extraction.learning.contrastive import (
    Batch,
    ContrastiveBatches,
    ContrastiveRecipe,
    Heads,
    class_weights,
    similarity,
    soft_similarity,
)
from training.recipe import Hardware
from training.seeds import seeded
from training.trainer import make_trainer, run_trainer


class Contrastive(pl.LightningModule):
    """Trains a network's features, and the heads that the losses need.

    Args:
        network: The network, trained in place but for its last layer.
        last: The last layer, linear, of the network.
        heads: Trained in place.
        recipe: Rates and weights.
        weights: Of each class, for the adversary's loss, `[classes]`.
    """

    def __init__(
        self, network: nn.Module, last: nn.Linear, heads: Heads, recipe: ContrastiveRecipe, weights: Tensor
    ) -> None:
        super().__init__()
        self.network, self.heads, self.recipe = network, heads, recipe
        self.weights = weights
        self._seen: list[Tensor] = []
        self.hook = last.register_forward_pre_hook(lambda _, given: self._seen.append(given[0]))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions and projections of images `[n, c, h, w]`."""
        self.network(images)
        found: tuple[Tensor, Tensor] = self.heads(self._seen.pop().flatten(1).float())
        return found

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """The sum of the three losses."""
        one, two, first, second, answers = batch
        attacked = self._attacked(first, second)
        loss = self._both(one, two)
        (p1, z1), (p2, z2) = self(first), self(second)
        loss = loss + soft_similarity(torch.cat([p1, p2]), torch.cat([z1, z2]), answers.repeat(2, 1))
        weights = self.weights.to(answers.device)[answers.argmax(1)]
        return loss + self.recipe.adversarial_weight * self._both(attacked, second, weights)

    def _both(self, one: Tensor, two: Tensor, weights: Tensor | None = None) -> Tensor:
        (p1, z1), (p2, z2) = self(one), self(two)
        return (similarity(p1, z2, weights) + similarity(p2, z1, weights)) / 2

    def _attacked(self, one: Tensor, two: Tensor) -> Tensor:
        """The first views after one step that takes them away from the second ones."""
        self.eval()
        asked = one.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(self._both(asked, two), asked)
        self.train()
        return (one + self.recipe.adversary * slope.sign()).detach()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return SGD."""
        recipe = self.recipe
        return torch.optim.SGD(
            self.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )


def fit_contrastive(
    network: nn.Module,
    last: nn.Linear,
    heads: Heads,
    batches: ContrastiveBatches,
    hardware: Hardware,
    seed: int,
) -> None:
    """Train a network's features and the heads in place.

    Args:
        network: The network; it ends in evaluation mode.
        last: Its last layer.
        heads: What the losses need besides.
        batches: What to learn from.
        hardware: Where to train.
        seed: Seed of what is random in the network.
    """
    network = hardware.place(network)
    answers = batches.answers
    weights = class_weights(answers.argmax(1).cpu(), answers.shape[1])
    module = Contrastive(network, last, heads, batches.recipe, weights)
    try:
        with seeded(seed, "contrastive"):
            run_trainer(make_trainer(hardware, epochs=1), module.train(), batches)
    finally:
        module.hook.remove()
    hardware.place(network).eval()
