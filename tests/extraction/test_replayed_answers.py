"""The replay of data-free extraction keeps the newest answers, each with its image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from extraction.learning.replay import Replay


def numbered(first: int, count: int) -> tuple[Tensor, Tensor]:
    numbers = torch.arange(first, first + count).float()
    return (numbers / 1024)[:, None, None, None], numbers[:, None]


@pytest.mark.parametrize("limit", [None, 1, 7, 10, 64])
@pytest.mark.parametrize("sizes", [[3, 3, 3, 3], [10, 1], [1] * 9, [5, 20, 2]])
def test_the_replay_keeps_the_newest_and_draws_each_with_its_answer(
    limit: int | None, sizes: list[int]
) -> None:
    replay, total = Replay(limit), sum(sizes)
    for number, size in enumerate(sizes):
        replay.add(*numbered(sum(sizes[:number]), size))
    kept = min(total, limit or total)
    assert len(replay) == kept
    other = Replay(limit)
    other.load_state_dict(replay.state_dict())
    for one in (replay, other):
        images, answers = one.draw(50 * kept, torch.Generator().manual_seed(0), torch.device("cpu"))
        assert torch.equal(images.flatten() * 1024, answers.flatten())
        assert answers.unique().tolist() == list(range(total - kept, total))
        one.add(*numbered(total, 2))
    assert torch.equal(replay.images[: len(replay)], other.images[: len(other)])
