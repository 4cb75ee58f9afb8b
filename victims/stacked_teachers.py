"""Several PATE teachers trained as one module."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from training.recipe import Recipe

LARGE = 2**14
"""Values of one teacher's batch from which on a CPU takes longer for grouped convolutions than for a loop."""


def takes_turns(images: Tensor) -> bool:
    """Whether teachers are trained one after another on a batch of images `[teachers, b, c, h, w]`."""
    return images.device.type == "cpu" and images[0].numel() >= LARGE


def one_by_one(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The losses of all teachers `[teachers]` as vmap gives them, by a loop.

    `loss` is that of one teacher, of its parameters, its buffers, its images and its labels.
    """

    def losses(parameters: Any, buffers: Any, images: Tensor, labels: Tensor) -> Tensor:
        own = [
            {name: values.unbind() for name, values in stacked.items()} for stacked in (parameters, buffers)
        ]
        turns = [
            loss(*({name: values[i] for name, values in each.items()} for each in own), images[i], labels[i])
            for i in range(len(images))
        ]
        return torch.stack(turns)

    return losses


class StackedTeachers(pl.LightningModule):
    """Several teachers as one module of stacked parameters; a step trains each on its own batch.

    Args:
        networks: Untrained teachers of one architecture.
        recipe: How each is trained.
        batches_per_epoch: Batches in an epoch, by which some schedules step.
    """

    def __init__(self, networks: list[nn.Module], recipe: Recipe, batches_per_epoch: int) -> None:
        super().__init__()
        parameters, self.stacked_buffers = stack_module_state(networks)
        # torch allows no dot in the name of a parameter.
        self.stacked = nn.ParameterDict({name.replace(".", "/"): p for name, p in parameters.items()})
        # In a list, so that torch does not register the skeleton's parameters as ours.
        self.skeleton = [copy.deepcopy(networks[0]).to("meta")]
        self.recipe = recipe
        self.batches_per_epoch = batches_per_epoch

    def parameters_of(self) -> dict[str, Tensor]:
        """Return the stacked parameters `[teachers, ...]` by their names in one teacher."""
        return {name.replace("/", "."): p for name, p in self.stacked.items()}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """Return the sum of the teachers' losses, so that each gets the gradient that it would get alone."""

        def loss(parameters: Any, buffers: Any, images: Tensor, labels: Tensor) -> Tensor:
            logits = functional_call(self.skeleton[0], (parameters, buffers), (images,))
            return nn.functional.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)

        together = vmap(loss, randomness="different")
        each = one_by_one(loss) if takes_turns(batch[0]) else together
        total: Tensor = each(self.parameters_of(), self.stacked_buffers, *batch).sum()
        self.log("loss", total.detach(), logger=False)
        return total

    def configure_optimizers(self) -> Any:
        """Return the recipe's optimiser and schedule for the stacked parameters."""
        optimizer = self.recipe.make_optimizer(self.stacked.values())
        schedulers = self.recipe.make_schedulers(optimizer, self.batches_per_epoch)
        return ([optimizer], schedulers) if schedulers else optimizer

    def state(self) -> dict[str, Tensor]:
        """Return parameters and buffers of all teachers, stacked, on the CPU."""
        return {k: v.detach().cpu() for k, v in (self.parameters_of() | self.stacked_buffers).items()}
