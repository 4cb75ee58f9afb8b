"""PATE teachers: networks trained on disjoint shards of the training data, many in one module."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from storage.typed import Count, Natural
from training.batches import augment, to_float
from training.recipe import Augmentation, Hardware, Recipe
from training.seeds import derive_seed, generator, seeded
from victims.architectures.build import Architecture, build_network
from victims.datasets.images import ImageSet

log = logging.getLogger(__name__)

CPU_BATCH = 256
"""Images at a time on a CPU, at most: more do not fit its caches, and are answered a quarter slower."""


@dataclass(frozen=True)
class TeacherSettings:
    """How the teachers are made.

    Attributes:
        architecture: Factory of each teacher's network.
        recipe: How each is trained.
        count: Number of teachers.
        at_once: Teachers that are trained together in one module (vmap).
        seed: Seed of shards, initial weights and training.

    Raises:
        ValueError: `count` or `at_once` is below 1.
    """

    architecture: Architecture
    recipe: Recipe
    count: Count
    at_once: Count
    seed: Natural

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"privacy.measures.pate.teachers must be at least 1, not {self.count}")
        if self.at_once < 1:
            raise ValueError(f"privacy.measures.pate.at_once must be at least 1, not {self.at_once}")


class ShardBatches:
    """Batches for several teachers at once: images `[teachers, b, c, h, w]` and labels `[teachers, b]`.

    Args:
        images: All training images, uint8 `[n, c, h, w]`.
        labels: Their labels, int64 `[n]`.
        shards: Each teacher's images, int64 `[teachers, size]`.
        batch_size: Images of one teacher in a batch, at most.
        augmentation: Random changes of the images.
        seed: Seed of order and augmentation.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        shards: Tensor,
        batch_size: int,
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        self.images, self.labels, self.shards = images, labels, shards
        self.batches = max(1, -(-shards.shape[1] // batch_size))
        self.augmentation = augmentation
        self.random = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.rand(self.shards.shape, generator=self.random).argsort(1)
        for columns in self.shards.gather(1, order).tensor_split(self.batches, dim=1):
            columns = columns.to(self.images.device)
            images = augment(to_float(self.images[columns.flatten()]), self.augmentation, self.random)
            yield images.unflatten(0, columns.shape), self.labels[columns]


class TeacherEnsemble:
    """Trained teachers that vote.

    Args:
        skeleton: A network of the teachers' architecture.
        state: Each parameter and buffer of all teachers, stacked, `[teachers, ...]`.
        num_classes: Classes that the teachers vote for.
        hardware: Where they run.
    """

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
        """Number of teachers."""
        return len(next(iter(self.state.values())))

    @torch.no_grad()
    def predictions(self, images: Tensor) -> Tensor:
        """Return each teacher's label for each image, int64 `[teachers, n]`.

        Teachers answer one after another: vmap over the ensemble would make grouped convolutions, which are
        slower than this loop in inference.
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
        """Return the votes for each class, float64 `[n, classes]`, on images in [0, 1] `[n, c, h, w]`."""
        labels = self.predictions(images).T
        votes = torch.zeros(len(images), self.num_classes, dtype=torch.float64, device=labels.device)
        return votes.scatter_add_(1, labels, torch.ones_like(labels, dtype=torch.float64))


def _channels_last(values: Tensor) -> Tensor:
    """Return the same values; kernels `[teachers, out, in, h, w]` become channels_last for each teacher.

    A convolution answers in the layout of its kernel, and pooling takes six times as long in the other one.
    """
    if values.dim() != 5:
        return values
    # A clone, since `contiguous` does nothing to kernels with one input channel (grey images).
    return values.movedim(2, -1).clone(memory_format=torch.contiguous_format).movedim(-1, 2)


def shard(images: int, teachers: int, seed: int) -> Tensor:
    """Draw disjoint random shards of equal size; up to `teachers - 1` images stay unused.

    Args:
        images: Number of training images.
        teachers: Number of shards.
        seed: Seed of the drawing.

    Returns:
        Positions of images, int64 `[teachers, images // teachers]`.

    Raises:
        ValueError: There are fewer images than teachers.
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
    """Build one untrained teacher."""
    return build_network(settings.architecture, train.image_shape, train.num_classes, train.images)


def train_teachers(settings: TeacherSettings, train: ImageSet, hardware: Hardware) -> TeacherEnsemble:
    """Train all teachers on disjoint shards, `settings.at_once` of them together.

    Args:
        settings: How the teachers are made.
        train: The victim's training images.
        hardware: Where the teachers are trained, and later vote.

    Raises:
        ValueError: There are fewer images than teachers.
    """
    device, recipe = hardware.device, settings.recipe
    shards = shard(len(train), settings.count, settings.seed)
    images, labels = train.images.to(device), train.labels.to(device)
    states = []
    for first in range(0, settings.count, settings.at_once):
        group = shards[first : first + settings.at_once]
        with seeded(settings.seed, "teachers", first):
            networks = [build_teacher(settings, train).to(device) for _ in group]
            seed = derive_seed(settings.seed, "teacher batches", first)
            batches = ShardBatches(images, labels, group, recipe.batch_size, recipe.augmentation, seed)
            states.append(_train_together(networks, batches, recipe, hardware))
        log.info("teachers %d of %d trained", first + len(group), settings.count)
    state = {name: torch.cat([part[name] for part in states]) for name in states[0]}
    return TeacherEnsemble(networks[0], state, train.num_classes, hardware)


def _train_together(
    networks: list[nn.Module], batches: ShardBatches, recipe: Recipe, hardware: Hardware
) -> dict[str, Tensor]:
    """Train some teachers in one module, and return their stacked parameters and buffers."""
    from training.trainer import make_trainer, run_trainer  # here, since asking teachers needs no Lightning
    from victims.stacked_teachers import StackedTeachers

    module = StackedTeachers(networks, recipe, len(batches))
    run_trainer(make_trainer(hardware, recipe.epochs), module, batches)
    return module.state()
