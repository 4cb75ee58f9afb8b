"""The mean of what the victim may have said, given its answer: the partial Bayes attack of Tang et al. 2024.

The attacker knows the defense, and of probabilities only what is true of all classifiers: it draws some,
passes them through the defense, and learns to undo it. ("ModelGuard: Information-Theoretic Defense Against
Model Extraction Attacks"; the authors look answers up in a table, where a network generalises here.)
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from extraction.recovery.base import Imagine
from extraction.recovery.denoise import mean_answers
from training.batches import to_float
from training.fit import fit, predict_logits
from training.recipe import Hardware, Recipe
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
"""Added to answers before their logarithm, which the network sees beside them."""


class Bayes:
    """E[y | answer] under a prior on y (see `prior`), as a network learns it from `samples` draws.

    Cross entropy with y as target is least at that mean. The images whose answers are imagined are the
    attacker's own. Learned once, when the first answer comes.
    """

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
        """See Recovery."""
        if self._network is None:
            self._network = self._learn(repeats)
        logits = predict_logits(self._network, features(mean_answers(answer, repeats)), self.hardware)
        return Answer(logits.softmax(1))

    def _learn(self, repeats: int) -> nn.Module:
        probabilities = prior(self.samples, self.num_classes, self.seed).to(self.hardware.device)
        answers = torch.cat(
            [
                self._imagined(part, repeats, number)
                for number, part in enumerate(probabilities.split(self.hardware.batch_size))
            ]
        )
        with seeded(self.seed, "undoing the defence"):
            network = undoing_network(self.num_classes)
        seed = derive_seed(self.seed, "undoing the defence")
        fit(network, features(answers), probabilities, RECIPE, self.hardware, seed)
        return network

    def _imagined(self, probabilities: Tensor, repeats: int, number: int) -> Tensor:
        """Answers `[n, classes]` to random images of the pool, for which the network says `probabilities`."""
        random = generator(self.seed, "imagined images", number)
        chosen = torch.randint(len(self.pool), (len(probabilities),), generator=random)
        images = to_float(self.pool.images[chosen.to(self.pool.images.device)].to(probabilities.device))
        asked, said = (values.repeat_interleave(repeats, 0) for values in (images, probabilities))
        return mean_answers(self.imagine(asked, said, number), repeats)


def prior(count: int, classes: int, seed: int) -> Tensor:
    """Probabilities float32 `[count, classes]` of classifiers in general, from almost sure to any at all.

    Symmetric Dirichlet, so no class is likelier than another, its concentration log-uniform in [0.01, 1].
    """
    with seeded(seed, "prior"):
        concentration = 10 ** (-2 * torch.rand(count, 1, dtype=torch.float64))
        return torch.distributions.Dirichlet(concentration.expand(-1, classes)).sample().float()


def features(answers: Tensor) -> Tensor:
    """Answers `[n, classes]` and their logarithms, as images of `2 * classes` channels and one pixel."""
    return torch.cat([answers, (answers + SMALLEST).log()], 1)[:, :, None, None]


def undoing_network(classes: int, width: int = 128) -> nn.Module:
    """From features to the logits of E[y | answer]."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(2 * classes, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, classes),
    )
