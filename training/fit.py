"""Training and evaluation of networks on tensors; each fit gets a new Lightning Trainer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from storage.errors import InputError
from training.batches import TensorBatches, to_float
from training.recipe import Hardware, Loss, Recipe
from training.seeds import derive_seed, seeded


def fit(
    network: nn.Module,
    images: Tensor,
    targets: Tensor,
    recipe: Recipe,
    hardware: Hardware,
    seed: int,
    progress: bool = False,
    loss: Loss | None = None,
    after_epoch: Callable[[], None] | None = None,
) -> list[float]:
    """Train `network` in place; it ends in evaluation mode. Equal arguments give equal bits on a CPU.

    Args:
        network: Maps images in [0, 1] to logits.
        images: Uint8, or float32 in [0, 1], `[n, c, h, w]`.
        targets: Labels int64 `[n]`, or probabilities `[n, classes]`.
        recipe: How to train.
        hardware: Where to train.
        seed: Seed of batches, augmentation and dropout.
        progress: Whether to show a progress bar.
        loss: Loss of logits and targets; cross entropy by default. `after_epoch` is called after each epoch.

    Returns:
        The mean training loss of each epoch.

    Raises:
        Diverged: The loss or the weights became NaN or infinite.
    """
    from training import classifier, trainer  # here, since what only asks networks needs no Lightning

    network = hardware.place(network)
    batches = TensorBatches(
        images.to(hardware.device),
        targets.to(hardware.device),
        recipe.batch_size,
        recipe.augmentation,
        derive_seed(seed, "batches"),
        hardware.channels_last,
    )
    module = classifier.Classifier(network.train(), recipe, len(batches), loss, after_epoch)
    with seeded(seed, "fit"):
        trainer.run_trainer(trainer.make_trainer(hardware, recipe.epochs, progress), module, batches)
    hardware.place(network).eval()
    return module.epoch_losses


@torch.no_grad()
def predict_logits(network: nn.Module, images: Tensor, hardware: Hardware) -> Tensor:
    """Return the logits float32 `[n, classes]` of images uint8 or in [0, 1], computed in full precision.

    Raises InputError where the network answers NaN or infinity: the largest of such logits is no class.
    """
    network.eval()
    outputs = []
    for batch in images.split(hardware.batch_size):
        inputs = to_float(batch.to(hardware.device))
        if hardware.channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        outputs.append(network(inputs).float())
    logits = torch.cat(outputs)
    if not logits.isfinite().all():
        row = int((~logits.isfinite().all(1)).nonzero()[0])
        raise InputError(f"the network answers NaN or infinity, first for image {row} of {len(images)}")
    return logits


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of rows of `logits` `[n, classes]` whose largest entry is at `labels` `[n]`."""
    return float((logits.argmax(1) == labels.to(logits.device)).double().mean())
