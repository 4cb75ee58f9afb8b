"""PRADA against the paper's algorithm as a loop; its state after a resumed extraction; its three answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import shapiro
from torch import Tensor

from experiment.asking.journal import Journal, JournaledOracle
from victims.defenses.base import AtAlarm, Watch
from victims.defenses.prada import Prada, PradaWatch, normality
from victims.meter import Meter
from victims.oracle import BudgetedOracle
from victims.types import AccountBlocked, Answer, QueryBatch

CPU = torch.device("cpu")


def queries(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images, the later ones near copies of the earlier, and their labels of three classes."""
    random = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 1, 5, 5, generator=random)
    images[count // 2 :] = (images[: count - count // 2] + 0.01 * images[count // 2 :]).clamp(0, 1)
    return images, torch.randint(0, 3, (count,), generator=random)


def by_a_loop(images: Tensor, labels: Tensor, delta: float, minimum: int) -> tuple[list[float], int | None]:
    """Distances (NaN for a class's first) and the number of the query that raises the alarm."""
    growing: dict[int, list[np.ndarray]] = {}
    own: dict[int, list[float]] = {}
    thresholds: dict[int, float] = {}
    distances: list[float] = []
    found, alarm = [], None
    for number, (image, label) in enumerate(zip(images.numpy(), labels.tolist(), strict=True)):
        if label not in growing:
            growing[label], own[label], thresholds[label] = [image], [0.0], 0.0
            found.append(float("nan"))
            continue
        d = min(float(np.sqrt(((image - other).astype(np.float64) ** 2).sum())) for other in growing[label])
        found.append(d)
        distances.append(d)
        if d > thresholds[label]:
            growing[label].append(image)
            own[label].append(d)
            thresholds[label] = max(thresholds[label], float(np.mean(own[label]) - np.std(own[label])))
        if alarm is None and len(distances) >= minimum:
            near = [z for z in distances if abs(z - np.mean(distances)) <= 3 * np.std(distances)]
            if shapiro(near).statistic < delta:
                alarm = number
    return found, alarm


def observed(
    watch: Watch, images: Tensor, labels: Tensor, sizes: list[int], account: int = 0
) -> pd.DataFrame:
    parts, first = [], 0
    for size in sizes:
        part = slice(first, first + size)
        parts.append(watch.observe(QueryBatch(images[part], account), Answer(labels[part])))
        first += size
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("sizes", [[120], [1] * 120, [7, 60, 1, 52]])
def test_distances_and_the_alarm_against_a_loop(sizes: list[int]) -> None:
    images, labels = queries(120)
    expected, alarm = by_a_loop(images, labels, delta=0.9, minimum=30)
    assert alarm is not None and 30 < alarm < 119, "the data must be such that the alarm comes in between"
    seen = observed(Prada(0.9, 30, 1, "report", 10).watch(), images, labels, sizes)
    assert seen["prada_distance"].to_numpy() == pytest.approx(expected, abs=1e-5, nan_ok=True)
    assert seen["alarm"].tolist() == [number >= alarm for number in range(120)]


def by_the_authors(images: Tensor, labels: Tensor, delta: float, minimum: int, least: int) -> list[bool]:
    """Whether the attacker is present after each query: lists of distances by class, tested after each."""
    found, _ = by_a_loop(images, labels, delta, minimum)
    by_class: dict[int, list[float]] = {}
    present, states = False, []
    for distance, label in zip(found, labels.tolist(), strict=True):
        if not np.isnan(distance):
            by_class.setdefault(label, []).append(distance)
            counted = np.array([d for own in by_class.values() if len(own) >= least for d in own])
            if len(counted) >= minimum:
                near = counted[abs(counted - counted.mean()) < 3 * counted.std()]
                present = bool(shapiro(near).statistic < delta)
        states.append(present)
    return states


def three_times() -> tuple[Tensor, Tensor]:
    """Images, near copies of them, and images that lie far apart again; a fourth class has few."""
    random = torch.Generator().manual_seed(3)
    apart = torch.rand(150, 1, 5, 5, generator=random)
    images = torch.cat([apart[:40], (apart[:30] + 0.01 * apart[40:70]).clamp(0, 1), apart[70:]])
    labels = torch.randint(0, 3, (len(images),), generator=random)
    labels[torch.arange(5, len(labels), 25)] = 3
    return images, labels


@pytest.mark.parametrize("sizes", [[150], [1] * 150, [7, 60, 1, 82]])
@pytest.mark.parametrize("least", [1, 5, 10])
def test_an_alarm_is_taken_back_as_by_the_authors(least: int, sizes: list[int]) -> None:
    images, labels = three_times()
    expected = by_the_authors(images, labels, 0.93, 30, least)
    assert expected != sorted(expected) and True in expected, "the data must be such that an alarm goes"
    watch = Prada(0.93, 30, 1, "report", 10, class_minimum=least, lasts=False).watch()
    assert observed(watch, images, labels, sizes)["alarm"].tolist() == expected
    lasting = Prada(0.93, 30, 1, "report", 10, class_minimum=least).watch()
    first = expected.index(True)
    assert observed(lasting, images, labels, sizes)["alarm"].tolist() == [n >= first for n in range(150)]


def test_who_is_blocked_stays_blocked() -> None:
    images, labels = three_times()
    watch = Prada(0.93, 30, 1, "block", 10, lasts=False).watch()
    seen = observed(watch, images[:100], labels[:100], [100])
    first = by_the_authors(images, labels, 0.93, 30, 1).index(True)
    assert len(seen) == first + 1 < 100 and watch.is_blocked(0)


def test_distances_of_rare_classes_count_once_there_are_enough() -> None:
    counts = {}
    for least in (1, 10):
        watch = PradaWatch(Prada(0.9, 30, 1, "report", 10, class_minimum=least))
        observed(watch, *three_times(), [150])
        counts[least] = len(watch._counted(watch.accounts[0], 140))
    assert counts[1] == 140 > counts[10] > 100


def test_tested_after_every_seventh_distance_it_raises_the_alarm_there() -> None:
    images, labels = queries(120)
    found, _ = by_a_loop(images, labels, delta=0.9, minimum=30)
    number_of = [number for number, distance in enumerate(found) if not np.isnan(distance)]
    distances = np.array(found)[number_of]
    alarm = next(count for count in range(35, 113, 7) if normality(distances[:count]) < 0.9)
    assert normality(distances[: alarm - 1]) < 0.9, "the data must be such that it would come earlier"
    for sizes in ([120], [1] * 120):
        seen = observed(Prada(0.9, 30, 7, "report", 10).watch(), images, labels, sizes)
        assert int(seen["alarm"].argmax()) == number_of[alarm - 1]


def test_a_repeated_image_lies_at_no_distance() -> None:
    """However the rounding errors of large sums fall."""
    images = 0.9 + 0.1 * torch.rand(40, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    watch, labels = PradaWatch(Prada(0.9, 3, 1, "report", 1)), torch.zeros(40, dtype=torch.long)
    observed(watch, images, labels, [40])
    joined = len(watch.accounts[0].sets[0].members)
    again = observed(watch, images, labels, [7, 33])["prada_distance"]
    assert joined >= 20 and (again == 0).sum() == joined


def test_blocks_of_queries_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = queries(120)
    whole = observed(Prada(0.9, 30, 1, "block", 1).watch(), images, labels, [120])
    monkeypatch.setattr("victims.defenses.prada.BLOCK", 16)
    pd.testing.assert_frame_equal(
        observed(Prada(0.9, 30, 1, "block", 1).watch(), images, labels, [120]), whole
    )
    assert len(whole) < 120 and whole["alarm"].tolist() == [False] * (len(whole) - 1) + [True]


def test_accounts_are_watched_apart() -> None:
    images, labels = queries(120)
    watch = Prada(0.9, 30, 1, "block", 1).watch()
    other = observed(watch, images[:40], labels[:40], [40], account=1)
    alone = observed(Prada(0.9, 30, 1, "block", 1).watch(), images, labels, [120])
    pd.testing.assert_frame_equal(observed(watch, images, labels, [120]), alone)
    assert len(other) == 40 and watch.is_blocked(0) and not watch.is_blocked(1)


def test_equal_distances_raise_no_alarm_and_outliers_are_left_out() -> None:
    assert normality(np.full(50, 0.25)) == 1
    random = np.random.default_rng(0).normal(size=300)
    assert normality(np.append(random, 1e6)) == pytest.approx(shapiro(random).statistic)
    assert normality(np.random.default_rng(1).exponential(size=300)) < 0.9 < normality(random)


class Labels:
    """Answers with the labels of `queries`, looked up, and meters a column."""

    def __init__(self, meter: Meter, images: Tensor, labels: Tensor) -> None:
        self.meter, self.images, self.labels, self.asked = meter, images, labels, 0

    def query(self, batch: QueryBatch) -> Answer:
        self.asked += len(batch)
        rows = pd.DataFrame({"round": batch.round, "account": batch.account}, index=range(len(batch)))
        self.meter._rows.append(rows)
        nearest = torch.cdist(batch.images.flatten(1), self.images.flatten(1)).argmin(1)
        return Answer(self.labels[nearest])


def journaled(directory: Path, at_alarm: AtAlarm, next_round: int = 1) -> tuple[BudgetedOracle, Labels]:
    meter, journal = Meter({}), Journal(directory)
    victim = Labels(meter, *queries(120))
    watch = Prada(0.9, 30, 1, at_alarm, 2).watch()
    oracle = JournaledOracle(victim, meter, journal, CPU, watch, next_round)
    return BudgetedOracle(oracle, 120, spent=journal.queries_before(next_round)), victim


def batches() -> list[QueryBatch]:
    """Three rounds of two calls of 20 queries."""
    images, _ = queries(120)
    return [QueryBatch(part, 0, 1 + number // 2) for number, part in enumerate(images.split(20))]


def ask(oracle: BudgetedOracle, asked: list[QueryBatch]) -> int:
    """Answers until the account is blocked."""
    answered = 0
    for batch in asked:
        try:
            answered += len(oracle.query(batch))
        except AccountBlocked as blocked:
            answered += blocked.answered
    return answered


@pytest.mark.parametrize("at_alarm", ["report", "block"])
@pytest.mark.parametrize(("asked_before", "finished_rounds"), [(2, 1), (3, 1), (4, 2), (5, 2), (6, 3)])
def test_resumed_between_rounds_and_within_one_it_sees_the_same(
    tmp_path: Path, at_alarm: AtAlarm, asked_before: int, finished_rounds: int
) -> None:
    whole = journaled(tmp_path / "whole", at_alarm)[0]
    answered = ask(whole, batches())
    expected = Journal(tmp_path / "whole").trace()
    assert len(expected) == answered == whole.spent
    assert (answered < 120) == (at_alarm == "block")

    ask(journaled(tmp_path / "cut", at_alarm)[0], batches()[:asked_before])
    before = len(Journal(tmp_path / "cut").trace())
    again, victim = journaled(tmp_path / "cut", at_alarm, next_round=finished_rounds + 1)
    ask(again, batches()[2 * finished_rounds :])
    assert again.spent == answered
    pd.testing.assert_frame_equal(Journal(tmp_path / "cut").trace(), expected, check_exact=True)
    if at_alarm == "report":
        assert victim.asked == 120 - before, "nothing is asked twice"


def test_a_blocked_account_costs_its_budget_no_more(tmp_path: Path) -> None:
    oracle, victim = journaled(tmp_path, "block")
    answered = ask(oracle, batches())
    asked = victim.asked
    with pytest.raises(AccountBlocked) as blocked:
        oracle.query(batches()[0])
    assert blocked.value.answered == 0 and victim.asked == asked and oracle.spent == answered


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"delta": 1.5}, "defense.prada.delta must be a number between 0 and 1, not 1.5"),
        ({"minimum": 2}, "defense.prada.minimum must be a whole number of at least 3, not 2"),
        ({"every": 0}, "defense.prada.every must be a whole number of at least 1, not 0"),
        ({"class_minimum": 0}, "defense.prada.class_minimum must be a whole number of at least 1, not 0"),
        ({"lasts": "long"}, "defense.prada.lasts must be true or false, not 'long'"),
        ({"at_alarm": "shout"}, "defense.prada.at_alarm must be one of report, block, charge"),
        ({"surcharge": 0.5}, "defense.prada.surcharge must be a number of at least 1, not 0.5"),
    ],
)
def test_options_without_sense_are_refused(options: dict[str, object], said: str) -> None:
    make: Callable[..., Prada] = Prada
    with pytest.raises(ValueError, match=said):
        make(**{"delta": 0.9, "minimum": 30, "every": 1, "at_alarm": "report", "surcharge": 2, **options})
