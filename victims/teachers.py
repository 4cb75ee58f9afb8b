"""PATE teachers: networks on disjoint shards of the training data, trained together in one module."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from training.batches import augment, to_float
from training.fit import make_trainer, run_trainer
from training.recipe import Augmentation, Hardware, Recipe
from training.seeds import derive_seed, generator, seeded
from victims.architectures.build import Architecture, build_network
from victims.datasets.images import ImageSet

log = logging.getLogger(__name__)

CPU_BATCH = 256
"""Images that a teacher sees at a time on a CPU, at most: more do not fit its caches (a quarter slower)."""


@dataclass(frozen=True)
class TeacherSettings:
    """`count` teachers of one architecture; `at_once` of them share a module (vmap) while training."""

    architecture: Architecture
    recipe: Recipe
    count: int
    at_once: int
    seed: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"privacy.measures.pate.teachers must be at least 1, not {self.count}")
        if self.at_once < 1:
            raise ValueError(f"privacy.measures.pate.at_once must be at least 1, not {self.at_once}")


class ShardBatches:
    """Batches for all teachers at once: images `[teachers, b, c, h, w]` and labels `[teachers, b]`."""

    def __init__(
        self, images: Tensor, labels: Tensor, shards: Tensor, batch_size: int, how: Augmentation, seed: int
    ) -> None:
        self.images, self.labels, self.shards = images, labels, shards
        self.batches = max(1, -(-shards.shape[1] // batch_size))
        self.augmentation = how
        self.random = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.rand(self.shards.shape, generator=self.random).argsort(1)
        for columns in self.shards.gather(1, order).tensor_split(self.batches, dim=1):
            columns = columns.to(self.images.device)
            images = augment(to_float(self.images[columns.flatten()]), self.augmentation, self.random)
            yield images.unflatten(0, columns.shape), self.labels[columns]


class StackedTeachers(pl.LightningModule):
    """Teachers as one module of stacked parameters; a step trains each on its own batch (torch.func)."""

    def __init__(self, networks: list[nn.Module], recipe: Recipe, batches_per_epoch: int) -> None:
        super().__init__()
        parameters, self.buffers_of = stack_module_state(networks)
        # A parameter's name may hold no dot.
        self.stacked = nn.ParameterDict({name.replace(".", "/"): p for name, p in parameters.items()})
        self.skeleton = [copy.deepcopy(networks[0]).to("meta")]  # in a list, so as not to be registered
        self.recipe = recipe
        self.batches_per_epoch = batches_per_epoch

    def parameters_of(self) -> dict[str, Tensor]:
        """Stacked parameters by their names in one teacher, `[teachers, ...]` each."""
        return {name.replace("/", "."): p for name, p in self.stacked.items()}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """Sum of the teachers' losses, so that each has the gradient that it would have alone."""

        def loss(parameters: Any, buffers: Any, images: Tensor, labels: Tensor) -> Tensor:
            logits = functional_call(self.skeleton[0], (parameters, buffers), (images,))
            return nn.functional.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)

        losses = vmap(loss, randomness="different")(self.parameters_of(), self.buffers_of, *batch)
        total: Tensor = losses.sum()
        self.log("loss", total.detach(), logger=False)
        return total

    def configure_optimizers(self) -> Any:
        """The recipe's optimiser over the stacked parameters."""
        optimizer = self.recipe.make_optimizer(self.stacked.values())
        schedulers = self.recipe.make_schedulers(optimizer, self.batches_per_epoch)
        return ([optimizer], schedulers) if schedulers else optimizer

    def state(self) -> dict[str, Tensor]:
        """Parameters and buffers of all teachers, stacked, on the CPU."""
        return {k: v.detach().cpu() for k, v in (self.parameters_of() | self.buffers_of).items()}


class TeacherEnsemble:
    """Trained teachers that vote. `state` holds each parameter and buffer stacked, `[teachers, ...]`."""

    def __init__(
        self, skeleton: nn.Module, state: dict[str, Tensor], num_classes: int, hardware: Hardware
    ) -> None:
        self.skeleton = skeleton.to(hardware.device).eval()
        self.state = {name: values.to(hardware.device) for name, values in state.items()}
        if hardware.channels_last:
            self.state = {name: _channels_last(values) for name, values in self.state.items()}
        self.num_classes = num_classes
        self.hardware = hardware

    @property
    def count(self) -> int:
        """How many teachers vote."""
        return len(next(iter(self.state.values())))

    @torch.no_grad()
    def predictions(self, images: Tensor) -> Tensor:
        """Each teacher's label for each image, int64 `[teachers, n]`.

        One teacher after another: grouped convolutions, which vmap would make of the whole ensemble,
        are slower than this loop in inference.
        """
        hardware = self.hardware
        on_cpu = hardware.device.type == "cpu"
        size = min(hardware.batch_size, CPU_BATCH) if on_cpu else hardware.batch_size
        batches = []
        for batch in images.split(size):
            inputs = to_float(batch.to(hardware.device))
            with hardware.autocast():
                labels = [
                    functional_call(self.skeleton, {k: v[i] for k, v in self.state.items()}, inputs).argmax(1)
                    for i in range(self.count)
                ]
            batches.append(torch.stack(labels))
        return torch.cat(batches, dim=1)

    def votes(self, images: Tensor) -> Tensor:
        """Votes for each class, float64 `[n, classes]`, for images in [0, 1] `[n, c, h, w]`."""
        labels = self.predictions(images).T
        votes = torch.zeros(len(images), self.num_classes, dtype=torch.float64, device=labels.device)
        return votes.scatter_add_(1, labels, torch.ones_like(labels, dtype=torch.float64))


def _channels_last(values: Tensor) -> Tensor:
    """The same values; where they are kernels `[teachers, out, in, h, w]`, each teacher's are channels_last.

    A convolution answers in the layout of its kernel, and pooling takes six times as long in the other one.
    The clone matters for grey images: with one channel in, `contiguous` would see nothing to do.
    """
    if values.dim() != 5:
        return values
    return values.movedim(2, -1).clone(memory_format=torch.contiguous_format).movedim(-1, 2)


def shard(images: int, teachers: int, seed: int) -> Tensor:
    """Disjoint random shards of equal size, int64 `[teachers, images // teachers]`.

    Up to `teachers - 1` images stay unused. Raises ValueError when there are fewer images than teachers.
    """
    size = images // teachers
    if size < 1:
        raise ValueError(
            f"privacy.measures.pate.teachers={teachers} is more than the {images:,} training images: each "
            "teacher needs at least one of its own"
        )
    order = torch.randperm(images, generator=generator(seed, "shards"))
    return order[: size * teachers].reshape(teachers, size)


def build_teacher(settings: TeacherSettings, train: ImageSet) -> nn.Module:
    """One untrained teacher."""
    return build_network(settings.architecture, train.image_shape, train.num_classes, train.images)


def train_teachers(settings: TeacherSettings, train: ImageSet, hardware: Hardware) -> TeacherEnsemble:
    """Train all teachers on disjoint shards of `train`, `settings.at_once` together."""
    device = hardware.device
    shards = shard(len(train), settings.count, settings.seed)
    images, labels = train.images.to(device), train.labels.to(device)
    states = []
    for first in range(0, settings.count, settings.at_once):
        group = shards[first : first + settings.at_once]
        with seeded(settings.seed, "teachers", first):
            networks = [build_teacher(settings, train) for _ in group]
            batches = ShardBatches(
                images,
                labels,
                group,
                settings.recipe.batch_size,
                settings.recipe.augmentation,
                derive_seed(settings.seed, "teacher batches", first),
            )
            module = StackedTeachers([n.to(device) for n in networks], settings.recipe, len(batches))
            run_trainer(make_trainer(hardware, settings.recipe.epochs), module, batches)
        states.append(module.state())
        log.info("teachers %d of %d trained", min(first + settings.at_once, settings.count), settings.count)
    state = {name: torch.cat([part[name] for part in states]) for name in states[0]}
    return TeacherEnsemble(networks[0], state, train.num_classes, hardware)
