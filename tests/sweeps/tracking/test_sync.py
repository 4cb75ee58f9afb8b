"""What has not arrived at Weights & Biases is sent: offline runs, lost curves, summaries; each once."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import wandb

from commands.sync import main
from experiment.tracking.arrival import Arrival, note, noted
from experiment.tracking.base import TrackedCell
from experiment.tracking.following import follow
from experiment.tracking.labels import run_id
from support.tracking.tracked import CURVE, LABELS, RESULT, tracked, write_files
from support.tracking.user import give_key
from support.tracking.wandb_stub import KEY, Stub
from sweeps.tracking import sync


def cell_of(tmp_path: Path, seed: int, **logger: Any) -> TrackedCell:
    cell = tracked(tmp_path, tmp_path / "sweep" / f"cell{seed}", **logger)
    return replace(cell, labels=LABELS | {"seed": seed, "cell": f"key{seed}"}, name=f"s{seed}")


def kept_offline(tmp_path: Path, seed: int, **logger: Any) -> Path:
    cell = cell_of(tmp_path, seed, **logger)
    with follow(cell) as tracker:
        tracker.log(CURVE)
        tracker.summarize(RESULT)
        write_files(cell)
    return cell.output


def lost(tmp_path: Path, seed: int) -> Path:
    """A cell with its files, whose run never came to a server."""
    cell = cell_of(tmp_path, seed)
    write_files(cell)
    told = {"id": run_id(f"key{seed}"), "name": f"s{seed}", "tags": ["digits"], "config": dict(cell.labels)}
    note(cell.output, Arrival(told))
    return cell.output


def offline_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "outputs" / "wandb").glob("offline-run-*/run-*.wandb"))


def arrival_of(folder: Path) -> Arrival:
    arrival = noted(folder)
    assert arrival is not None
    return arrival


def test_offline_runs_and_lost_curves_are_sent_once(
    offered: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where an offline run's file is cut short, as by a kill; the command is given elsewhere."""
    kept_offline(tmp_path, 1), kept_offline(tmp_path, 2), lost(tmp_path, 3)
    os.truncate(offline_files(tmp_path)[1], 700)
    give_key(offered, monkeypatch)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main([str(tmp_path / "sweep")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "3 of 3 runs sent"
    for seed in (1, 2, 3):
        rows = offered.history(run_id(f"key{seed}"))
        assert [row["curve/queries"] for row in rows] == [100, 200, 300], seed
        first = next(bucket for bucket in offered.buckets if bucket["name"] == run_id(f"key{seed}"))
        told = json.loads(first["config"])
        assert (first["displayName"], told["seed"]["value"]) == (f"s{seed}", seed)
        assert told["options"]["value"]["attack"]["budget"] == 300
    assert offered.exit_codes() == [0, 0, 0]
    assert all(path.with_name(path.name + ".synced").exists() for path in offline_files(tmp_path))
    assert not list((tmp_path / "elsewhere").iterdir()), "W&B's own files are left nowhere"
    seen = len(offered.streams)
    assert main([str(tmp_path / "sweep")]) == 0
    assert "every run that was followed has arrived" in capsys.readouterr().out
    assert len(offered.streams) == seen


def test_what_a_cell_adds_after_a_sync_is_sent_by_the_next(
    offered: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = cell_of(tmp_path, 1)
    write_files(cell, rows=1, ended=False)
    note(cell.output, Arrival({"id": run_id("key1"), "tags": [], "config": {}}, str(tmp_path / "gone")))
    give_key(offered, monkeypatch)
    assert main([str(tmp_path)]) == 0
    assert [row["curve/queries"] for row in offered.history()] == [100] and offered.exit_codes() == [1]
    assert (arrival_of(cell.output).rows, arrival_of(cell.output).arrived) == (1, False)
    assert main([str(tmp_path)]) == 0 and offered.exit_codes() == [1], "nothing has come"
    write_files(cell)
    assert main([str(tmp_path)]) == 0
    assert [row["curve/queries"] for row in offered.history()] == [100, 200, 300]
    assert offered.exit_codes() == [1, 0] and arrival_of(cell.output).arrived


def test_a_cell_that_is_online_and_has_not_ended_is_left_alone(
    offered: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = cell_of(tmp_path, 1)
    write_files(cell, rows=2, ended=False)
    note(cell.output, Arrival({"id": run_id("key1"), "tags": [], "config": {}}, online=True))
    give_key(offered, monkeypatch)
    assert main([str(tmp_path)]) == 0 and not offered.buckets
    write_files(cell)
    assert main([str(tmp_path)]) == 0 and not offered.buckets, "it may hand in its result still"
    past = time.time() - 2 * sync.ENDING_SECONDS
    os.utime(cell.output / "result.json", (past, past))
    assert main([str(tmp_path), f"{tmp_path}/sweep/.."]) == 0 and len(offered.exit_codes()) == 1
    assert arrival_of(cell.output).arrived, "its end was lost"


@pytest.mark.parametrize("kept", [True, False])
def test_artifacts_are_sent_from_the_cell_and_the_store(
    kept: bool,
    offered: Stub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The store's relative path is that of the folder where the cell ran."""
    monkeypatch.chdir(tmp_path)
    substitute = Path("store") / "substitute.pt"
    substitute.parent.mkdir()
    substitute.write_bytes(b"content")
    cell = cell_of(tmp_path, 1, artifacts=["trace", "substitute"])
    write_files(cell)
    (cell.output / "trace.parquet").write_bytes(b"content")
    with follow(cell) as tracker:
        tracker.log(CURVE)
        tracker.summarize(RESULT)
        tracker.keep({"trace": cell.output / "trace.parquet", "substitute": substitute})
    if not kept:
        substitute.unlink()
    give_key(offered, monkeypatch)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main([str(tmp_path)]) == 0
    sent = sorted(it["artifactTypeName"] for it in offered.artifacts)
    assert sent == (["substitute", "trace"] if kept else ["trace"])
    assert ("the substitute is no artifact" in caplog.text) == (not kept)


def test_what_cannot_be_noted_is_not_sent(
    offered: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would be sent again each time."""
    lost(tmp_path, 1)
    give_key(offered, monkeypatch)

    def refuse(folder: Path, *_: object) -> None:
        raise OSError(f"cannot write to {folder}")

    monkeypatch.setattr(sync, "check_writable", refuse)
    assert main([str(tmp_path)]) == 1
    assert "cannot write to" in capsys.readouterr().err and not offered.buckets


def test_what_another_sync_is_sending_is_left_to_it(
    offered: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = lost(tmp_path, 1)
    give_key(offered, monkeypatch)
    left = sync.followed(folder)
    with sync._alone(folder):
        assert main([str(tmp_path)]) == 1
        assert "another sync is sending it" in capsys.readouterr().err and not offered.buckets
    note(folder, replace(left[folder], arrived=True))
    assert dict(sync.send(left)) == {folder: ""} and not offered.buckets, "it has sent it by now"


def test_without_a_key_nothing_is_sent(
    no_account: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost(tmp_path, 1)
    assert main([str(tmp_path)]) == 1
    assert "1 run waits, and no key" in capsys.readouterr().err


def test_a_server_that_does_not_answer_is_said_and_waited_for_once(
    no_account: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [kept_offline(tmp_path, 1), lost(tmp_path, 2)]
    wandb.teardown()
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr("experiment.tracking.wandb_service.START_SECONDS", 2)
    assert main([str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "0 of 2 runs sent" in said.out
    for folder in folders:
        assert f"error: {folder}: CommError" in said.err
        assert sync.waits(folder, arrival_of(folder)), "it waits for the next time"
    wandb.teardown()


@pytest.mark.parametrize("name", ["x", "."])
def test_a_folder_without_followed_runs_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SystemExit) as refusal:
        main([str(tmp_path / name)])
    assert refusal.value.code == 2
