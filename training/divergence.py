"""Training that diverged is said: a network of NaN answers its first class, and agrees with any other."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from storage.errors import InputError
from training.recipe import Recipe


class Diverged(InputError):
    """The loss or the weights became NaN or infinite in training."""


def check_losses(losses: Tensor, epoch: int, recipe: Recipe) -> None:
    """Check an epoch's losses.

    They are looked at once an epoch, since a look at each would make the device wait.

    Args:
        losses: The loss of each step `[steps]`.
        epoch: The epoch, from 0.
        recipe: How it is trained.

    Raises:
        Diverged: One is NaN or infinite; the message says at which step it was the first time.
    """
    wrong = (~losses.isfinite()).nonzero()
    if len(wrong):
        step = int(wrong[0, 0])
        raise Diverged(
            f"training diverged: the loss was {float(losses[step]):g} at step {step + 1} of {len(losses)} in "
            f"epoch {epoch + 1} of {recipe.epochs}; choose a recipe.learning_rate below "
            f"{recipe.learning_rate:g}"
        )


def check_trained(weights: Mapping[str, Tensor]) -> None:
    """Raise Diverged where weights are NaN or infinite at the end, whatever the losses were."""
    if wrong := not_finite(weights):
        raise Diverged(
            f"training diverged: {wrong} holds NaN or infinity; choose a lower recipe.learning_rate"
        )


def not_finite(weights: Mapping[str, Tensor]) -> str | None:
    """Name of the first weights that hold NaN or infinity; None if all are finite."""
    return next((name for name, values in weights.items() if not torch.isfinite(values).all()), None)
