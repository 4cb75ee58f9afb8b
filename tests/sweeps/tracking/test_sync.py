"""What has not arrived at Weights & Biases is sent: offline runs, lost curves, summaries; each once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml

from commands.sync import main
from experiment.tracking.arrival import Arrival, note, noted
from experiment.tracking.following import follow
from experiment.tracking.labels import run_id
from support.tracked import CURVE, LABELS, RESULT, no_account, tracked
from support.wandb_stub import KEY, Stub, wandb_stub
from sweeps.tracking import sync

__all__ = ["no_account"]


@pytest.fixture
def stub(no_account: None) -> Iterator[Stub]:
    wandb.teardown()
    with wandb_stub() as server:
        yield server
        wandb.teardown()


def online(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user has a key from now on."""
    wandb.teardown()
    monkeypatch.setenv("WANDB_BASE_URL", stub.url)
    monkeypatch.setenv("WANDB_API_KEY", KEY)


def kept_offline(tmp_path: Path, seed: int) -> Path:
    cell = tracked(tmp_path, tmp_path / "sweep" / f"cell{seed}")
    cell = type(cell)(cell.config, LABELS | {"seed": seed, "cell": f"key{seed}"}, f"s{seed}", cell.output)
    with follow(cell) as tracker:
        tracker.log(CURVE)
        tracker.summarize(RESULT)
    return cell.output


def lost(tmp_path: Path, seed: int, **more: Any) -> Path:
    """A cell with its files, whose run never came to a server."""
    cell = tracked(tmp_path, tmp_path / "sweep" / f"cell{seed}")
    cell.output.mkdir(parents=True)
    (cell.output / "config.yaml").write_text(yaml.safe_dump({**cell.config, "dataset": {"name": "digits"}}))
    CURVE.to_csv(cell.output / "curve.csv", index=False)
    (cell.output / "result.json").write_text(json.dumps(RESULT))
    labels = LABELS | {"seed": seed}
    told = {"id": run_id(f"key{seed}"), "name": f"s{seed}", "tags": ["digits"], "config": labels}
    note(cell.output, Arrival(told | more))
    return cell.output


def test_offline_runs_and_lost_curves_are_sent_once(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [kept_offline(tmp_path, 1), kept_offline(tmp_path, 2), lost(tmp_path, 3)]
    gone = noted(folders[1])
    assert gone is not None and gone.folder is not None
    online(stub, monkeypatch)
    assert main([str(tmp_path / "sweep")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "3 of 3 runs sent"
    for seed in (1, 2, 3):
        rows = stub.history(run_id(f"key{seed}"))
        assert [row["curve/queries"] for row in rows] == [100, 200, 300], seed
        first = next(bucket for bucket in stub.buckets if bucket["name"] == run_id(f"key{seed}"))
        told = json.loads(first["config"])
        assert (first["displayName"], told["seed"]["value"]) == (f"s{seed}", seed)
    assert stub.exit_codes() == [0, 0, 0]
    seen = len(stub.streams)
    assert main([str(tmp_path / "sweep")]) == 0
    assert "every run that was followed has arrived" in capsys.readouterr().out
    assert len(stub.streams) == seen


def test_without_a_key_nothing_is_sent(
    no_account: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost(tmp_path, 1)
    assert main([str(tmp_path)]) == 1
    assert "1 runs wait, and no key" in capsys.readouterr().err


def test_a_server_that_does_not_answer_is_said(
    no_account: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [kept_offline(tmp_path, 1), lost(tmp_path, 2)]
    wandb.teardown()
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr("experiment.tracking.wandb_service.START_SECONDS", 2)
    monkeypatch.setattr(sync, "SECONDS", 5.0)
    monkeypatch.setattr(sync, "SECONDS_A_RUN", 0.0)
    assert main([str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "0 of 2 runs sent" in said.out
    assert f"{folders[0]}: the server did not answer within 5 s" in said.err
    assert f"error: {folders[1]}: CommError" in said.err
    assert sync.waiting(tmp_path) == folders, "both wait for the next time"
    wandb.teardown()


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path / "x")])
