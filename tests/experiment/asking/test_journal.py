"""The journal: an answer on record is replayed to the bit and never asked again."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from experiment.asking.journal import Journal, JournaledOracle
from victims.meter import Meter
from victims.oracle import BudgetedOracle
from victims.types import Answer, BudgetExhausted, QueryBatch


class CountingOracle:
    """Answers at random, so that an answer asked twice would differ, and meters one column."""

    def __init__(self, meter: Meter, hard: bool) -> None:
        self.meter, self.hard, self.asked = meter, hard, 0

    def query(self, batch: QueryBatch) -> Answer:
        self.asked += len(batch)
        rows = pd.DataFrame(
            {"round": batch.round, "account": batch.account, "cost_gap": torch.rand(len(batch))}
        )
        self.meter._rows.append(rows)
        if self.hard:
            return Answer(torch.randint(0, 10, (len(batch),)))
        return Answer(torch.rand(len(batch), 10))


def make(directory: Path, hard: bool = False) -> tuple[JournaledOracle, CountingOracle]:
    meter = Meter({})
    inner = CountingOracle(meter, hard)
    return JournaledOracle(inner, meter, Journal(directory), torch.device("cpu")), inner


BATCHES = [QueryBatch(torch.rand(5, 1, 4, 4), account, round) for round in (1, 2) for account in (0, 1)]


@pytest.mark.parametrize("hard", [True, False])
def test_recorded_answers_are_replayed(tmp_path: Path, hard: bool) -> None:
    first, asked = make(tmp_path, hard)
    answers = [first.query(batch).values for batch in BATCHES]
    assert asked.asked == 20
    second, not_asked = make(tmp_path, hard)
    for batch, answer in zip(BATCHES, answers, strict=True):
        replayed = second.query(batch).values
        assert replayed.dtype == answer.dtype and torch.equal(replayed, answer)
    assert not_asked.asked == 0
    trace = Journal(tmp_path).trace()
    assert trace["round"].tolist() == [1] * 10 + [2] * 10
    assert trace["account"].tolist() == ([0] * 5 + [1] * 5) * 2
    assert "answer" not in trace


def test_the_same_queries_asked_again_are_new_queries(tmp_path: Path) -> None:
    oracle, asked = make(tmp_path)
    first, second = oracle.query(BATCHES[0]), oracle.query(BATCHES[0])
    assert asked.asked == 10
    assert not torch.equal(first.values, second.values)


def test_other_queries_are_asked_anew(tmp_path: Path) -> None:
    make(tmp_path)[0].query(BATCHES[0])
    oracle, asked = make(tmp_path)
    oracle.query(QueryBatch(torch.rand(5, 1, 4, 4)))
    assert asked.asked == 5


def test_a_damaged_record_is_dropped(tmp_path: Path) -> None:
    oracle, _ = make(tmp_path)
    for batch in BATCHES:
        oracle.query(batch)
    journal = Journal(tmp_path)
    assert not journal.drop_damaged()
    path = journal.path(1, 1)
    content = bytearray(path.read_bytes())
    content[40] ^= 255
    path.write_bytes(content)
    assert journal.drop_damaged()
    again, asked = make(tmp_path)
    for batch in BATCHES:
        again.query(batch)
    assert asked.asked == 5


def test_queries_before_a_round(tmp_path: Path) -> None:
    oracle, _ = make(tmp_path)
    for batch in BATCHES:
        oracle.query(batch)
    assert [Journal(tmp_path).queries_before(round) for round in (1, 2, 3)] == [0, 10, 20]


def test_budget_refuses_one_image_too_many_and_counts_what_was_spent(tmp_path: Path) -> None:
    oracle, asked = make(tmp_path)
    budgeted = BudgetedOracle(oracle, budget=12, spent=5)
    budgeted.query(BATCHES[0])
    with pytest.raises(BudgetExhausted) as refusal:
        budgeted.query(BATCHES[1])
    assert refusal.value.remaining == 2
    assert asked.asked == 5
