"""Victims: teachers trained together as if alone, answers of each kind, checkpoints of one's own."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.recipe import Augmentation, Hardware, Recipe
from victims.architectures.build import channel_statistics
from victims.architectures.resnet import resnet8
from victims.datasets import digits
from victims.datasets.images import ImageSet
from victims.measures.pate import teachers_of
from victims.measures.pknn import neighbours_of
from victims.meter import Meter
from victims.oracle import VictimOracle
from victims.stacked_teachers import StackedTeachers
from victims.teachers import (
    ShardBatches,
    TeacherEnsemble,
    TeacherSettings,
    shard,
    train_teachers,
)
from victims.types import Answer, QueryBatch

CPU = Hardware(accelerator="cpu", precision="32-true", channels_last=False)


def small_net(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(image_shape[0], 8, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * ((image_shape[1] - 1) // 2) ** 2, num_classes),
    )


def train_set(count: int = 600) -> ImageSet:
    part = digits.load((8, 8))["train"]
    return part.select(torch.randperm(len(part), generator=torch.Generator().manual_seed(0))[:count])


def test_shards_are_disjoint_and_equal() -> None:
    shards = shard(103, 10, seed=1)
    assert shards.shape == (10, 10)
    assert len(shards.flatten().unique()) == 100
    with pytest.raises(ValueError, match=r"privacy\.measures\.pate\.teachers=11 is more than the 10"):
        shard(10, 11, seed=1)


def test_stacked_teachers_train_as_each_would_alone() -> None:
    """One step of plain SGD on the stack against one step of each network by itself."""
    recipe = Recipe(epochs=1, batch_size=8, learning_rate=0.1, momentum=0.0, weight_decay=0.0)
    networks = [small_net((1, 8, 8), 10) for _ in range(3)]
    alone = [small_net((1, 8, 8), 10) for _ in range(3)]
    for copy, network in zip(alone, networks, strict=True):
        copy.load_state_dict(network.state_dict())
    module = StackedTeachers(networks, recipe, batches_per_epoch=1)
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    images, labels = torch.rand(3, 8, 1, 8, 8), torch.randint(0, 10, (3, 8))
    optimizer = module.configure_optimizers()
    module.training_step((images, labels), 0).backward()
    optimizer.step()
    for i, network in enumerate(alone):
        own = torch.optim.SGD(network.parameters(), lr=0.1)
        nn.functional.cross_entropy(network(images[i]), labels[i]).backward()
        own.step()
        for name, value in network.named_parameters():
            assert torch.allclose(module.parameters_of()[name][i], value, atol=1e-6)


def test_teachers_see_only_their_own_shard() -> None:
    shards = shard(40, 4, seed=0)
    labels = torch.arange(40)
    batches = ShardBatches(torch.zeros(40, 1, 2, 2), labels, shards, 4, Augmentation(), seed=0)
    seen = torch.cat([labels for _, labels in batches], dim=1)
    assert torch.equal(seen.sort(1).values, shards.sort(1).values)


@pytest.mark.parametrize("architecture", [small_net, resnet8])
def test_an_ensemble_votes_better_than_chance_and_counts_every_teacher(architecture: object) -> None:
    wide = architecture is not resnet8
    recipe = Recipe(epochs=20 if wide else 6, batch_size=16, learning_rate=0.1, momentum=0.9)
    settings = TeacherSettings(architecture, recipe, 5, 3, seed=0)  # type: ignore[arg-type]
    images = train_set(600 if wide else 300)
    ensemble = train_teachers(settings, images, CPU)
    assert ensemble.count == 5
    votes = ensemble.votes(images.images)
    assert (votes.sum(1) == 5).all()
    assert (votes.argmax(1) == images.labels).double().mean() > 0.5
    predictions = ensemble.predictions(images.images[:20])
    for row in range(20):
        counts = np.bincount(predictions[:, row].numpy(), minlength=10)
        assert counts.tolist() == votes[row].tolist()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_teachers_kernels_are_channels_last_and_their_answers_the_same(channels: int) -> None:
    """With one channel too, where a tensor is contiguous in both layouts and only its strides choose."""
    networks = [small_net((channels, 8, 8), 10) for _ in range(3)]
    state, _ = torch.func.stack_module_state(networks)
    state = {name: values.detach() for name, values in state.items()}
    fast = TeacherEnsemble(networks[0], state, 10, replace(CPU, channels_last=True))
    plain = TeacherEnsemble(networks[0], state, 10, CPU)
    images = torch.rand(50, channels, 8, 8)
    assert torch.equal(fast.predictions(images), plain.predictions(images))
    for index, network in enumerate(networks):
        expected = network.to(memory_format=torch.channels_last)[0].weight  # type: ignore[index]
        assert torch.equal(fast.state["0.weight"][index], expected)
        assert fast.state["0.weight"][index].stride() == expected.stride()


class Fixed(nn.Module):
    """The same logits for every image."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.tensor([0.0, 3.0, 1.0, 2.0]).repeat(len(images), 1)


def ask(answers: str, top_k: int = 2) -> Answer:
    oracle = VictimOracle(Fixed(), (1, 2, 2), Meter({}), CPU, answers, top_k)  # type: ignore[arg-type]
    return oracle.query(QueryBatch(torch.rand(3, 1, 2, 2)))


def test_answers_are_what_the_interface_allows() -> None:
    soft = torch.tensor([0.0, 3.0, 1.0, 2.0]).softmax(0)
    assert torch.allclose(ask("soft").values[0], soft)
    assert ask("hard").values.tolist() == [1, 1, 1]
    top = ask("topk").values[0]
    assert torch.allclose(top, soft * torch.tensor([0.0, 1.0, 0.0, 1.0]))
    assert ask("topk", 4).labels.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "images",
    [
        torch.rand(2, 1, 2, 3),
        torch.rand(2, 1, 2, 2).double(),
        torch.rand(2, 1, 2, 2) + 1,
        torch.full((2, 1, 2, 2), float("nan")),
    ],
)
def test_queries_that_are_no_images_are_refused(images: Tensor) -> None:
    oracle = VictimOracle(Fixed(), (1, 2, 2), Meter({}), CPU)
    with pytest.raises(ValueError, match="queries must"):
        oracle.query(QueryBatch(images))


def test_channel_statistics_against_numpy() -> None:
    images = torch.randint(0, 256, (20, 3, 4, 5), dtype=torch.uint8)
    mean, std = channel_statistics(images)
    values = images.double().numpy() / 255
    assert np.allclose(mean, values.mean((0, 2, 3)))
    assert np.allclose(std, values.std((0, 2, 3)))


@pytest.mark.parametrize("build", [small_net, resnet8])
def test_large_batches_train_teachers_one_by_one_to_the_same_weights(
    build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(epochs=1, batch_size=8, learning_rate=0.1, momentum=0.0, weight_decay=0.0)
    images, labels = torch.rand(2, 8, 1, 8, 8), torch.randint(0, 10, (2, 8))
    torch.manual_seed(0)
    networks = [build((1, 8, 8), 10) for _ in range(2)]
    states = []
    for large in (1, 2**20):
        monkeypatch.setattr("victims.stacked_teachers.LARGE", large)
        module = StackedTeachers(deepcopy(networks), recipe, batches_per_epoch=1)
        module.log = lambda *_, **__: None  # type: ignore[method-assign]
        optimizer = module.configure_optimizers()
        module.training_step((images, labels), 0).backward()
        optimizer.step()
        states.append(module.state())
    assert states[0].keys() == states[1].keys()
    assert all(torch.allclose(states[0][name], states[1][name], atol=1e-5) for name in states[0])


@pytest.mark.parametrize(
    ("images", "teachers", "neighbours"),
    [(1, 1, 1), (36, 2, 1), (288, 9, 14), (800, 25, 40), (1600, 50, 50), (50_000, 50, 50)],
)
def test_how_many_teachers_and_neighbours_so_many_images_make(
    images: int, teachers: int, neighbours: int
) -> None:
    assert (teachers_of(images), neighbours_of(images)) == (teachers, neighbours)
