"""The journal: an answer on record is replayed to the bit and never asked again."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment.asking.journal import Journal, JournaledOracle
from experiment.asking.record import Record
from victims.meter import Meter
from victims.oracle import BudgetedOracle
from victims.types import Answer, BudgetExhausted, PriceTooHigh, QueryBatch


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
    for batch in BATCHES[:2]:  # the calls of a round that has ended share a file
        oracle.query(batch)
    journal = Journal(tmp_path)
    assert not journal.drop_damaged()
    path = tmp_path / Record(1, 1, 1).name
    content = bytearray(path.read_bytes())
    content[40] ^= 255
    path.write_bytes(content)
    assert journal.drop_damaged()
    again, asked = make(tmp_path)
    for batch in BATCHES[:2]:
        again.query(batch)
    assert asked.asked == 5


def calls(sizes: list[list[int]]) -> list[QueryBatch]:
    """Calls of so many images each, a list a round."""
    return [
        QueryBatch(torch.rand(size, 1, 2, 2), account % 3, round + 1)
        for round, row in enumerate(sizes)
        for account, size in enumerate(row)
    ]


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*.parquet"))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=11), min_size=1, max_size=3),
    st.integers(2, 4),
    st.booleans(),
    st.data(),
)
def test_merged_or_not_calls_are_replayed_in_their_order(
    sizes: list[list[int]], merged: int, with_images: bool, data: st.DataObject
) -> None:
    asked = calls(sizes)
    reopened = data.draw(st.sets(st.integers(0, len(asked))))
    with TemporaryDirectory() as folder:
        directory, answers, number = Path(folder), [], 0
        journal = Journal(directory, merged)
        for at, batch in enumerate(asked):
            number = number + 1 if at and asked[at - 1].round == batch.round else 0
            if at in reopened:
                journal = Journal(directory, merged)
            answers.append(Answer(torch.rand(len(batch), 3)))
            rows = pd.DataFrame(
                {"round": batch.round, "account": batch.account, "at": at}, index=range(len(batch))
            ).astype("int64")
            images = batch.images if with_images else None
            journal.write(batch.round, number, f"call {at}", rows, answers[-1], images)
        journal, number = Journal(directory, merged), 0
        for at, (batch, answer) in enumerate(zip(asked, answers, strict=True)):
            number = number + 1 if at and asked[at - 1].round == batch.round else 0
            read = journal.read(batch.round, number, f"call {at}")
            assert read is not None and torch.equal(read.values, answer.values)
            assert journal.read(batch.round, number + 100, f"call {at}") is None
        expected = [at for at, batch in enumerate(asked) for _ in range(len(batch))]
        assert journal.trace()["at"].tolist() == expected
        if with_images:
            seen = list(journal.calls_before(len(sizes) + 1))
            told = [(batch, it) for batch, it in zip(asked, answers, strict=True) if len(batch)]
            for (batch, answer), (wanted, given_answer) in zip(seen, told, strict=True):
                assert torch.equal(batch.images, wanted.images) and batch.round == wanted.round
                assert torch.equal(answer.values, given_answer.values)
        for round, row in enumerate(sizes, 1):
            found = [name for name in files(directory) if name.startswith(f"{round:06d}")]
            assert len(found) <= len(row) // merged + merged
            if round < len(sizes) and not reopened:
                assert len(found) <= -(-len(row) // merged)


def test_a_kill_while_calls_are_merged_loses_and_doubles_none(tmp_path: Path) -> None:
    oracle, _ = make(tmp_path)
    for batch in BATCHES[:2]:
        oracle.query(batch)
    parts = {path.name: path.read_bytes() for path in tmp_path.glob("*.parquet")}
    oracle.query(BATCHES[2])
    assert files(tmp_path) == ["000001-000000-000001.parquet", "000002-000000.parquet"]
    for name, content in parts.items():
        (tmp_path / name).write_bytes(content)
    again, asked = make(tmp_path)
    for batch in BATCHES[:3]:
        again.query(batch)
    assert asked.asked == 0 and len(Journal(tmp_path).trace()) == 15
    assert len(files(tmp_path)) == 2


def test_other_queries_take_the_place_of_a_call_and_of_all_after_it(tmp_path: Path) -> None:
    """Who asks otherwise now will not ask those, and they would be in the trace."""
    oracle, _ = make(tmp_path)
    for batch in BATCHES[:3]:
        oracle.query(batch)
    again, asked = make(tmp_path)
    assert again.query(BATCHES[0]) and asked.asked == 0
    again.query(QueryBatch(torch.rand(4, 1, 4, 4), 1, 1))
    assert asked.asked == 4
    trace = Journal(tmp_path).trace()
    assert trace["account"].tolist() == [0] * 5 + [1] * 4 and set(trace["round"]) == {1}


@pytest.mark.parametrize("wrong", [b"{", b'["one"]'])
def test_damage_in_what_a_merged_file_says_of_its_calls_is_found(tmp_path: Path, wrong: bytes) -> None:
    oracle, _ = make(tmp_path)
    for batch in BATCHES[:3]:
        oracle.query(batch)
    path = tmp_path / Record(1, 0, 1).name
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({b"digests": wrong}), path, row_group_size=5)
    assert Journal(tmp_path).drop_damaged() and not path.exists()
    again, asked = make(tmp_path)
    for batch in BATCHES[:3]:
        again.query(batch)
    assert asked.asked == 10


def test_parts_of_a_call_that_ends_too_dear_are_not_metered(tmp_path: Path) -> None:
    """Their answers are dropped with the call, and the next one has rows of its own."""
    oracle, asked = make(tmp_path)

    class TooDear(CountingOracle):
        def query(self, batch: QueryBatch) -> Answer:
            answer = super().query(batch)
            if batch.account == 1:
                raise PriceTooHigh("too dear")
            return answer

    oracle.oracle = TooDear(asked.meter, False)
    with pytest.raises(PriceTooHigh):
        oracle.query(BATCHES[1])
    oracle.query(BATCHES[2])
    assert Journal(tmp_path).trace()["account"].tolist() == [0] * 5


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
