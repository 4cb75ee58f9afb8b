"""An attacker that asks over HTTP and is killed within a call pays for its answers once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from experiment.asking.remote import RemoteVictim
from gate.client import Client, Receipt
from gate.kept import Forgetful
from support.gates.over_http import Server, count, serving
from support.gates.server import LARGEST_BATCH, predict, random_images
from training.recipe import Hardware
from victims.types import QueryBatch


class Logits(nn.Module):
    """The small gate's model."""

    def forward(self, images: Tensor) -> Tensor:
        """The logarithms of its answers."""
        return torch.from_numpy(np.log(predict(images.numpy()) + 1e-9))


class Recorded:
    """A meter that keeps the shares of the price."""

    def __init__(self) -> None:
        self.rows: list[pd.DataFrame] = []

    def record(self, batch: QueryBatch, log_probs: Tensor, shares: dict[str, Any]) -> None:
        """See Meter."""
        self.rows.append(pd.DataFrame(shares))


def victim(server: Server, keep: Path, meter: Recorded, client: Client | None = None) -> RemoteVictim:
    """The gate, asked by an attacker that keeps its work in a folder."""
    client = client or Client(server.url, server.keys["alice"])
    return RemoteVictim([client], Logits(), meter, Hardware(), "soft", (), keep)  # type: ignore[arg-type]


class Killed(Client):
    """A client whose process ends before a request of this number."""

    left = 2

    def request(self, images: np.ndarray, kept: Forgetful | None = None) -> Receipt:
        """See Client."""
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return super().request(images, kept)


def test_what_was_answered_before_the_kill_is_not_paid_again(tmp_path: Path) -> None:
    images = torch.from_numpy(random_images(3 * LARGEST_BATCH).astype(np.float32) / 255)
    images[LARGEST_BATCH : 2 * LARGEST_BATCH] = images[:LARGEST_BATCH]  # equal requests are two requests
    batch, keep = QueryBatch(images, 0, 1), tmp_path / "gate"
    with serving(tmp_path) as server:
        killed = victim(server, keep, Recorded(), Killed(server.url, server.keys["alice"]))
        with pytest.raises(KeyboardInterrupt):
            killed.query(batch)
        assert server.queries() == 2 * LARGEST_BATCH
        meter = Recorded()
        again = victim(server, keep, meter)
        answer = again.query(batch)
        assert server.queries() == 3 * LARGEST_BATCH
        assert count(server, "tollgate_puzzles_solved") == 3
        np.testing.assert_array_equal(answer.values.numpy(), predict(images.numpy()))
        assert [len(rows) for rows in meter.rows] == [LARGEST_BATCH] * 3
        assert all((rows["tried_hashes"] > 0).all() for rows in meter.rows)
        again.query(QueryBatch(images[:1], 0, 1))
        assert len([*keep.rglob("*.json")]) == 1, "the earlier call is on record by now"
