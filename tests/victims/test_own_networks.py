"""Networks of one's own: what they answer, their weights, and what is said where something is wrong."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from victims.architectures.build import build_network

SHAPE = (1, 4, 4)


def network(*last: nn.Module) -> nn.Module:
    """A linear network of three classes, with further layers at its end."""
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3), *last)


class NotFinite(nn.Module):
    """Answers NaN for one class."""

    def forward(self, logits: Tensor) -> Tensor:
        return logits / torch.tensor([1.0, 1.0, 0.0]) * torch.tensor([1.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (nn.Softmax(1), "answers probabilities, but logits are needed"),
        (nn.Softmin(1), "answers probabilities, but logits are needed"),
        (NotFinite(), "answers NaN or infinity"),
    ],
)
def test_what_answers_no_logits_is_refused(last: nn.Module, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build_network(lambda: network(last), SHAPE, 3)


@pytest.mark.parametrize("last", [nn.Identity(), nn.LogSoftmax(1), nn.Sigmoid(), nn.ReLU()])
def test_all_else_is_taken(last: nn.Module) -> None:
    build_network(lambda: network(last), SHAPE, 3)
