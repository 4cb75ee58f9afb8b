"""HODA: degrees and distances against their definitions, one image at a time; its alarm and its answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from support.defended import CPU, small_net, victim
from training.recipe import Recipe
from victims.defenses.base import AtAlarm
from victims.defenses.hoda import (
    Hoda,
    Judge,
    Subclassifiers,
    SubclassifierSettings,
    degrees,
    pearson_distances,
)
from victims.types import Answer, QueryBatch

SETTINGS = SubclassifierSettings(small_net, Recipe(epochs=6), 0, count=3)


class Bright(Subclassifiers):
    """The degree of an image is its first pixel."""

    def __init__(self) -> None:
        super().__init__(small_net((1, 8, 8), 10), 3)
        self.normal.copy_(torch.tensor([0.8, 0.15, 0.05]))

    def forward(self, images: Tensor) -> Tensor:
        return (2 * images[:, 0, 0, 0]).round()


def bound(at_alarm: AtAlarm = "report", samples: int = 20) -> Hoda:
    hoda = Hoda(samples, 2000, at_alarm, 10, SETTINGS).bind(victim(network=Bright()))
    assert isinstance(hoda, Hoda)
    return hoda


def asked(hardness: np.ndarray) -> QueryBatch:
    images = torch.zeros(len(hardness), 1, 8, 8)
    images[:, 0, 0, 0] = torch.from_numpy(hardness) / 2
    return QueryBatch(images)


def observed(hoda: Hoda, hardness: np.ndarray, sizes: list[int]) -> pd.DataFrame:
    watch = hoda.watch()
    parts = np.split(hardness, np.cumsum(sizes)[:-1])
    answers = [Answer(torch.zeros(len(part), dtype=torch.int64)) for part in parts]
    seen = [watch.observe(asked(part), answer) for part, answer in zip(parts, answers, strict=True)]
    return pd.concat(seen, ignore_index=True)


def test_degrees_against_their_definition() -> None:
    labels = torch.randint(0, 3, (200, 5), generator=torch.Generator().manual_seed(0))
    for row, degree in zip(labels.tolist(), degrees(labels).tolist(), strict=True):
        assert degree == min(i for i in range(5) if all(label == row[-1] for label in row[i:]))


def test_distances_against_scipys_correlation() -> None:
    random = np.random.default_rng(0)
    histograms, normal = random.integers(0, 20, (30, 5)).astype(float), random.random(5)
    expected = [1 - np.corrcoef(own, normal)[0, 1] for own in histograms]
    assert pearson_distances(histograms, normal) == pytest.approx(expected)
    assert pearson_distances(np.full((1, 5), 4.0), normal) == [1.0]


@pytest.mark.parametrize("sizes", [[130], [1] * 130, [7, 60, 1, 62]])
def test_each_set_of_queries_is_compared_with_an_honest_users(sizes: list[int]) -> None:
    random, hoda = np.random.default_rng(0), bound()
    honest = random.choice(3, 60, p=[0.8, 0.15, 0.05])
    hard = random.choice(3, 70, p=[0.1, 0.1, 0.8])
    seen = observed(hoda, np.concatenate([honest, hard]), sizes)
    ends = np.flatnonzero(seen["hoda_distance"].notna())
    assert ends.tolist() == [19, 39, 59, 79, 99, 119]
    assert hoda.judge is not None
    for end in ends:
        part = np.concatenate([honest, hard])[end - 19 : end + 1]
        expected = 1 - np.corrcoef(np.bincount(part, minlength=3), [0.8, 0.15, 0.05])[0, 1]
        assert seen["hoda_distance"][end] == pytest.approx(expected)
    assert seen["alarm"].tolist() == [number >= 79 for number in range(130)]


def test_an_honest_user_lies_within_the_threshold_of_all_draws() -> None:
    hoda, random = bound(), np.random.default_rng(1)
    assert hoda.judge is not None and 0 < hoda.judge.threshold < 1
    seen = observed(hoda, random.choice(3, 400, p=[0.8, 0.15, 0.05]), [400])
    assert not seen["alarm"].any()


def test_who_is_blocked_gets_answers_up_to_the_alarm() -> None:
    watch, hard = bound("block").watch(), np.full(50, 2)
    seen = watch.observe(asked(hard), Answer(torch.zeros(50, dtype=torch.int64)))
    assert len(seen) == 20 and watch.is_blocked(0) and not watch.is_blocked(1)


def test_subclassifiers_are_checkpoints_of_one_training() -> None:
    own = victim()
    network = own.trained(SETTINGS)
    assert isinstance(network, Subclassifiers)
    weights = [torch.cat([it.flatten() for it in each.parameters()]) for each in network.checkpoints]
    assert not torch.equal(weights[0], weights[1])
    assert (weights[0] - weights[1]).norm() < (weights[0] - weights[2]).norm()
    assert float(network.normal.sum()) == pytest.approx(1)
    assert network.normal[0] > 0.3, "most digits are told by the first checkpoint"


def test_noise_is_harder_than_digits() -> None:
    own = victim()
    network = own.trained(replace(SETTINGS, recipe=Recipe(epochs=9)))
    assert isinstance(network, Subclassifiers)
    judge = Judge(network, CPU, network.normal.double().numpy(), 0.0)
    noise = torch.rand(300, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    digits = own.train.images.float() / 255
    assert judge.hardness(noise).mean() > judge.hardness(digits).mean()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"samples": 1}, "defense.hoda.samples must be a whole number of at least 2, not 1"),
        ({"draws": 0}, "defense.hoda.draws must be a whole number of at least 1, not 0"),
        ({"at_alarm": "shout"}, "defense.hoda.at_alarm must be one of report, block, charge"),
        ({"surcharge": 0.5}, "defense.hoda.surcharge must be a number of at least 1, not 0.5"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], said: str) -> None:
    valid = {"samples": 20, "draws": 10, "at_alarm": "report", "surcharge": 10, "subclassifiers": SETTINGS}
    with pytest.raises(ValueError, match=said):
        Hoda(**(valid | options))  # type: ignore[arg-type]


def test_there_are_no_more_checkpoints_than_epochs() -> None:
    network = replace(SETTINGS, count=9).untrained(victim().network, victim().train)
    assert isinstance(network, Subclassifiers) and len(network.checkpoints) == 6
    with pytest.raises(ValueError, match=r"defense.hoda.subclassifiers.count must be a whole number"):
        replace(SETTINGS, count=1)
