"""What DisGUIDE (Rosenthal et al. 2023) trains: clones, and a generator of images on which they disagree.

Its gradient goes through the clones alone, so it is exact, and costs no query.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from extraction.learning.data_free import Disagreement, disagreement
from training.seeds import seeded


class Ensemble(nn.Module):
    """Clones of one victim, and by what their generator is trained.

    Args:
        clones: Networks of one architecture, two or more; the first is the substitute.
        diversity: Weight of the diversity of classes beside the clones' disagreement.
        grey: Of every so many images of a batch one is made grey; 0: none.
    """

    def __init__(self, clones: Sequence[nn.Module], diversity: float, grey: int) -> None:
        super().__init__()
        self.clones = nn.ModuleList(clones)
        self.diversity, self.grey = diversity, grey

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of each clone, `[clones, n, classes]`, for images `[n, c, h, w]`."""
        return torch.stack([clone(images) for clone in self.clones])


def renewed(network: nn.Module, seed: int, number: int) -> nn.Module:
    """A copy of a network with random weights of its own, as its layers begin with."""
    copy = deepcopy(network)
    with seeded(seed, "clone", number):
        for module in copy.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
    return copy


def generator_loss(logits: Tensor, diversity: float) -> Tensor:
    """What the generator lowers, of the clones' logits `[clones, n, classes]` (the paper's section 3).

    Less the standard deviation of the probabilities over clones, averaged over images and classes, less
    `diversity` times the entropy, in nats, of the probabilities' mean over clones and images.
    """
    probabilities = logits.softmax(2)
    mean = (probabilities + 1e-6).mean((0, 1))
    return diversity * (mean * mean.log()).sum() - probabilities.std(0).mean()


def clone_loss(logits: Tensor, answers: Tensor, kind: Disagreement) -> Tensor:
    """The loss of a clone's logits `[n, classes]`: by `kind` of probabilities, cross entropy of labels."""
    if answers.dim() == 1:
        return nn.functional.cross_entropy(logits, answers)
    return disagreement(logits, answers, kind).mean()
