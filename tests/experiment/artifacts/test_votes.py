"""Votes that are kept: each image of a data set is put to the teachers once, and the figures are the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from experiment.artifacts.votes import NOT_KEPT, RememberedVotes, byte_image_ids
from training.batches import to_float

CLASSES = 4


class CountingVoters:
    """Votes that depend on each image alone, by voters who count what they are shown."""

    num_classes = CLASSES

    def __init__(self) -> None:
        self.shown = 0

    def votes(self, images: Tensor) -> Tensor:
        self.shown += len(images)
        return expected(images)


def expected(images: Tensor) -> Tensor:
    sums = (images.double().flatten(1).sum(1) * 1000).long()
    return torch.stack([(sums * prime) % 251 for prime in (1, 3, 5, 7)], dim=1).double()


def byte_images(count: int, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return to_float(torch.randint(256, (count, 1, 5, 5), generator=random, dtype=torch.uint8))


def test_an_image_is_shown_once_whatever_the_batches(tmp_path: Path) -> None:
    voters = CountingVoters()
    remembered = RememberedVotes(voters, tmp_path)
    images = byte_images(50)
    for index in (torch.arange(30), torch.arange(20, 50), torch.arange(49, -1, -1), torch.tensor([7, 7])):
        assert torch.equal(remembered.votes(images[index]), expected(images[index]))
    assert voters.shown == 50


def test_an_image_twice_in_a_batch_is_kept_once(tmp_path: Path) -> None:
    remembered = RememberedVotes(CountingVoters(), tmp_path)
    images = byte_images(3)[torch.tensor([0, 1, 1, 2])]
    assert torch.equal(remembered.votes(images), expected(images))
    assert torch.equal(remembered.votes(images), expected(images))
    assert len(remembered.known) == 3


def test_saved_votes_serve_later_and_simultaneous_jobs(tmp_path: Path) -> None:
    images = byte_images(40)
    first, second = (RememberedVotes(CountingVoters(), tmp_path) for _ in range(2))
    first.votes(images[:20])
    first.save()
    second.votes(images[10:])
    second.save()
    assert second.voters.shown == 20  # type: ignore[attr-defined]
    later = RememberedVotes(CountingVoters(), tmp_path)
    assert torch.equal(later.votes(images), expected(images))
    assert later.voters.shown == 0  # type: ignore[attr-defined]
    later.save()
    assert len(list(tmp_path.iterdir())) == 2


def test_computed_images_are_shown_each_time_and_not_kept(tmp_path: Path) -> None:
    voters = CountingVoters()
    remembered = RememberedVotes(voters, tmp_path)
    images = byte_images(6)
    images[:4] = (images[:4] + 0.1 / 255).clamp(0, 0.999)
    for _ in range(2):
        assert torch.equal(remembered.votes(images), expected(images))
    assert voters.shown == 6 + 4
    remembered.save()
    assert len(RememberedVotes(CountingVoters(), tmp_path).known) == 0
    assert len(remembered.known) == 2


@pytest.mark.parametrize("damage", [b"", b"PAR1 no more", None])
def test_damaged_votes_are_counted_again(
    tmp_path: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    images = byte_images(10)
    first = RememberedVotes(CountingVoters(), tmp_path)
    first.votes(images)
    first.save()
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    middle = content[:40] + bytes([content[40] ^ 255]) + content[41:]
    path.write_bytes(middle if damage is None else damage)
    later = RememberedVotes(CountingVoters(), tmp_path)
    assert torch.equal(later.votes(images), expected(images))
    assert later.voters.shown == 10  # type: ignore[attr-defined]
    assert "damaged" in caplog.text
    later.save()
    assert RememberedVotes(CountingVoters(), tmp_path).votes(images).equal(expected(images))


def test_ids_know_bytes_from_other_pixels() -> None:
    every = to_float(torch.arange(256, dtype=torch.uint8).reshape(256, 1, 1, 1))
    ids = byte_image_ids(every)
    assert len(np.unique(ids)) == 256 and (ids >= 0).all()
    assert (byte_image_ids(every[:-1] + 1e-4) == NOT_KEPT).all()
    assert len(byte_image_ids(every[:0])) == 0
