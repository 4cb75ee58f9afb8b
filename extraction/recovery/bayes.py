"""The partial Bayes attack of Tang et al. 2024: the victim's expected own answer, given its defended one.

The attacker knows the defense, but nothing of the victim's probabilities except what holds for all
classifiers. It draws probabilities from such a prior, passes them through the defense, and learns to undo it.
("ModelGuard: Information-Theoretic Defense Against Model Extraction Attacks". The authors look answers up in
a table; here a network learns the map, so that it generalises.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from extraction.recovery.base import Imagine
from extraction.recovery.denoise import mean_answers
from training.batches import to_float
from training.fit import fit, predict_logits
from training.recipe import Hardware, Loss, Recipe
from training.seeds import derive_seed, generator, seeded
from victims.datasets.images import ImageSet
from victims.types import Answer

RECIPE = Recipe(
    epochs=20,
    batch_size=256,
    optimizer="adam",
    learning_rate=3e-3,
    weight_decay=0.0,
    schedule="one_cycle",
)
SMALLEST = 1e-6
"""Added to answers before the logarithm that the network gets as an input."""


class Bayes:
    """Estimates E[y | answer] under a prior on the victim's probabilities y (see `prior`).

    A network learns this mean, since the cross entropy with y as target is least there. It is trained once,
    when the first answer comes.

    Args:
        imagine: Passes probabilities through the victim's defense.
        pool: The attacker's images, for which answers are imagined.
        num_classes: Classes of the victim.
        hardware: Where the network runs; its precision is always 32 bits.
        seed: Seed of all random choices.
        samples: Probabilities drawn from the prior.
    """

    loss: Loss | None = None
    """Of logits and probabilities; None for the cross entropy."""

    def __init__(
        self,
        imagine: Imagine,
        pool: ImageSet,
        num_classes: int,
        hardware: Hardware,
        seed: int,
        samples: int = 20_000,
    ) -> None:
        self.imagine, self.pool, self.num_classes = imagine, pool, num_classes
        self.hardware = replace(hardware, precision="32-true", channels_last=False)
        self.seed, self.samples = seed, samples
        self._network: nn.Module | None = None

    def __call__(self, answer: Answer, repeats: int) -> Answer:
        """Return the estimated own answer of the victim to each image."""
        if self._network is None:
            self._network = self._learn(repeats)
        logits = predict_logits(self._network, features(mean_answers(answer, repeats)), self.hardware)
        return Answer(logits.softmax(1))

    def _learn(self, repeats: int) -> nn.Module:
        """Train the network on imagined answers, with the probabilities behind them as targets."""
        answers, targets = [], []
        for number, (images, probabilities) in enumerate(self.examples()):
            queries, own = (values.repeat_interleave(repeats, 0) for values in (images, probabilities))
            answers.append(mean_answers(self.imagine(queries, own, number), repeats))
            targets.append(probabilities)
        with seeded(self.seed, "undoing the defence"):
            network = undoing_network(self.num_classes)
        seed = derive_seed(self.seed, "undoing the defence")
        inputs = features(torch.cat(answers))
        fit(network, inputs, torch.cat(targets), RECIPE, self.hardware, seed, loss=self.loss)
        return network

    def examples(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of images in [0, 1] `[n, c, h, w]` with what a victim may say of them, `[n, classes]`.

        Here the probabilities are drawn from the prior, and the images at random from the pool.
        """
        probabilities = prior(self.samples, self.num_classes, self.seed).to(self.hardware.device)
        for number, part in enumerate(probabilities.split(self.hardware.batch_size)):
            random = generator(self.seed, "imagined images", number)
            yield self._pool_images(torch.randint(len(self.pool), (len(part),), generator=random)), part

    def _pool_images(self, chosen: Tensor) -> Tensor:
        """Images of the pool by their positions, float32 in [0, 1] `[n, c, h, w]`."""
        own = self.pool.images[chosen.to(self.pool.images.device)]
        return to_float(own.to(self.hardware.device))


def prior(count: int, classes: int, seed: int) -> Tensor:
    """Draw probabilities float32 `[count, classes]` as classifiers give them, from certain to uncertain ones.

    They are Dirichlet-distributed with a log-uniform concentration in [0.01, 1]; no class is preferred.
    """
    with seeded(seed, "prior"):
        concentration = 10 ** (-2 * torch.rand(count, 1, dtype=torch.float64))
        return torch.distributions.Dirichlet(concentration.expand(-1, classes)).sample().float()


def features(answers: Tensor) -> Tensor:
    """Return answers `[n, classes]` and their logarithms as images `[n, 2 * classes, 1, 1]`."""
    return torch.cat([answers, (answers + SMALLEST).log()], 1)[:, :, None, None]


def undoing_network(classes: int, width: int = 128) -> nn.Module:
    """Build the network that maps features to the logits of E[y | answer]."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(2 * classes, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, classes),
    )
