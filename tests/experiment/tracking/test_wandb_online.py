"""What a Weights & Biases server is told, by a stub of one on this machine."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb

from experiment.tracking import wandb_service
from experiment.tracking.following import follow
from experiment.tracking.labels import run_id
from experiment.tracking.wandb_service import mode_of
from support.tracked import CURVE, RESULT, exit_codes, no_account, records, tracked
from support.wandb_stub import KEY, Stub, wandb_stub

__all__ = ["no_account"]


@pytest.fixture
def stub(no_account: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """A server, and a user with a key of it."""
    wandb.teardown()  # in this process it would keep to the server of its first run
    with wandb_stub() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield server
        wandb.teardown()


def test_a_run_online(stub: Stub, tmp_path: Path) -> None:
    with follow(tracked(tmp_path, tmp_path / "sweep" / "cell", entity="us")) as tracker:
        tracker.log(CURVE[:2])
        tracker.log(CURVE)
        tracker.summarize(RESULT)
    first = stub.buckets[0]
    assert (first["groupName"], first["jobType"]) == ("sweep", "knockoff")
    assert (first["project"], first["entity"]) == ("tollgate", "us")
    assert first["name"] == run_id("key")
    assert set(first["tags"]) == {"digits", "knockoff", "pow"}
    assert json.loads(first["config"])["attack"]["value"] == "knockoff"
    rows = stub.history()
    assert [row["curve/queries"] for row in rows] == [100, 200, 300]
    assert [row["digits/by_money/attacker_usd"] for row in rows] == pytest.approx([1e-6, 2e-6, 5e-6])
    assert [row["digits/by_money/accuracy"] for row in rows] == [0.5, 0.7, 0.8]
    assert stub.exit_codes() == [0]


def test_a_cell_that_raises_has_failed_online(stub: Stub, tmp_path: Path) -> None:
    with (
        pytest.raises(SystemExit),
        follow(tracked(tmp_path, tmp_path / "sweep" / "cell")),
    ):
        raise SystemExit(143)
    assert stub.exit_codes() == [1]


def test_a_resumed_cell_goes_on_in_its_run(stub: Stub, tmp_path: Path) -> None:
    """Its curve starts from the first round again; the server has each round once."""
    output = tmp_path / "sweep" / "cell"
    with contextlib.suppress(KeyboardInterrupt), follow(tracked(tmp_path, output)) as tracker:
        tracker.log(CURVE[:2])
        raise KeyboardInterrupt
    with follow(tracked(tmp_path, output)) as tracker:
        for rounds in (1, 2, 3):
            tracker.log(CURVE[:rounds])
    assert [row["curve/queries"] for row in stub.history()] == [100, 200, 300]
    assert [row["_step"] for row in stub.history()] == [0, 1, 2]
    assert stub.exit_codes() == [1, 0]
    assert len({bucket["name"] for bucket in stub.buckets}) == 1


def test_without_a_server_a_run_is_kept_offline(
    no_account: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    wandb.teardown()
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(wandb_service, "START_SECONDS", 2)
    with follow(tracked(tmp_path, tmp_path / "sweep" / "cell")) as tracker:
        tracker.log(CURVE)
    assert "kept offline" in caplog.text
    assert mode_of(None) == "offline", "no further cell waits"
    written = records(tmp_path)
    assert len(written["history"]) == 3
    assert exit_codes(written) == [0]
