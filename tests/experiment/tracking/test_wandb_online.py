"""What a Weights & Biases server is told, by a stub of one on this machine."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import wandb

from commands.sync import main
from experiment.tracking import wandb_service
from experiment.tracking.arrival import noted
from experiment.tracking.following import follow
from experiment.tracking.labels import run_id
from experiment.tracking.wandb_service import mode_of
from support.tracking.tracked import CURVE, RESULT, exit_codes, records, run_tracked, tracked, write_files
from support.tracking.user import set_up
from support.tracking.wandb_stub import KEY, Stub, wandb_stub


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


def killed_in_mid_run(stub: Stub, folder: Path, and_the_server: bool) -> tuple[int, str]:
    """A cell whose service is killed after a round, in a process of its own: its code, and what it said."""
    program = (
        "import os, signal, sys, time\nimport psutil\nfrom pathlib import Path\n"
        "from support.tracking.tracked import CURVE, RESULT, tracked, write_files\n"
        "from experiment.tracking.following import follow\n"
        "from experiment.tracking import wandb_service\n"
        "wandb_service.START_SECONDS = 3\n"
        "folder = Path(sys.argv[1])\n"
        "cell = tracked(folder, folder / 'sweep' / 'cell')\n"
        "with follow(cell) as tracker:\n"
        "    tracker.log(CURVE[:1])\n"
        "    services = [it for it in psutil.Process().children(recursive=True) if 'wandb' in it.name()]\n"
        "    assert services\n"
        "    for service in services:\n"
        "        os.kill(service.pid, signal.SIGKILL)\n"
        "    time.sleep(0.5)\n"
        "    if sys.argv[2] == 'True':\n"
        "        os.environ['WANDB_BASE_URL'] = 'http://127.0.0.1:9'\n"
        "        os.environ['WANDB_MODE'] = 'online'\n"
        "    tracker.log(CURVE[:2])\n"
        "    tracker.log(CURVE)\n"
        "    write_files(cell)\n"
        "    tracker.summarize(RESULT)\n"
    )
    variables = {"WANDB_BASE_URL": stub.url, "WANDB_API_KEY": KEY}
    process = run_tracked(program, str(and_the_server), folder=folder, **variables)
    return process.returncode, process.stderr


@pytest.mark.slow  # it waits for services that are gone
def test_a_service_that_is_killed_costs_no_cell_and_no_round(stub: Stub, tmp_path: Path) -> None:
    code, said = killed_in_mid_run(stub, tmp_path, and_the_server=False)
    assert code == 0, said
    assert said.count("Weights & Biases is lost") == 1 and "Traceback" not in said
    assert [row["curve/queries"] for row in stub.history(run_id("key"))] == [100, 200, 300]
    assert stub.exit_codes()[-1] == 0
    record = noted(tmp_path / "sweep" / "cell")
    assert record is not None and record.arrived


@pytest.mark.slow  # it waits for services that are gone
def test_without_a_server_either_the_curve_waits_for_a_sync(
    stub: Stub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = killed_in_mid_run(stub, tmp_path, and_the_server=True)
    assert code == 0 and said.count("Weights & Biases is lost") == 1, said
    assert len(stub.history(run_id("key"))) < 3
    assert main([str(tmp_path / "sweep")]) == 0
    assert "1 of 1 runs sent" in capsys.readouterr().out
    assert [row["curve/queries"] for row in stub.history(run_id("key"))] == [100, 200, 300]
    assert stub.exit_codes()[-1] == 0


def test_an_artifact_is_kept_by_option(stub: Stub, tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("trace", "substitute")}
    for path in files.values():
        path.write_text("content")
    with follow(tracked(tmp_path, tmp_path / "cell", artifacts=["substitute"])) as tracker:
        tracker.log(CURVE)
        tracker.keep(files)
    assert stub.exit_codes() == [0]
    assert [it["artifactCollectionName"] for it in stub.artifacts if it["artifactTypeName"] in files] == [
        f"substitute-{run_id('key')}"
    ]


@pytest.mark.parametrize(
    ("settings", "variables", "options", "expected"),
    [
        ("", {}, {}, ("tollgate", "sweep", "knockoff digits pow x2 s0", None)),
        ("project = filed", {}, {}, ("filed", "sweep", "knockoff digits pow x2 s0", None)),
        (
            "project = filed",
            {"WANDB_PROJECT": "set", "WANDB_RUN_GROUP": "g", "WANDB_NAME": "n", "WANDB_NOTES": "why"},
            {},
            ("set", "g", "n", "why"),
        ),
        (
            "",
            {"WANDB_PROJECT": "set", "WANDB_RUN_GROUP": "g", "WANDB_NAME": "n", "WANDB_NOTES": "why"},
            {"project": "p", "group": "mine", "name": "its name", "notes": "so"},
            ("p", "mine", "its name", "so"),
        ),
    ],
)
def test_what_the_user_has_set_counts(
    settings: str,
    variables: dict[str, str],
    options: dict[str, str],
    expected: tuple[str | None, ...],
    stub: Stub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_up(tmp_path, settings, variables, monkeypatch)
    with follow(tracked(tmp_path, tmp_path / "sweep" / "cell", **options)) as tracker:
        tracker.log(CURVE)
    first = stub.buckets[0]
    assert (first["project"], first["groupName"], first["displayName"], first["notes"]) == expected


@pytest.mark.parametrize(
    ("settings", "variables"),
    [("mode = offline", {}), ("", {"WANDB_MODE": "dryrun"}), ("", {"WANDB_MODE": "offline"})],
)
def test_who_set_it_offline_is_sent_nothing(
    settings: str, variables: dict[str, str], stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `wandb offline`, which writes a file, or in the environment, by either name."""
    set_up(tmp_path, settings, variables, monkeypatch)
    with follow(tracked(tmp_path, tmp_path / "sweep" / "cell")) as tracker:
        tracker.log(CURVE)
    assert not stub.buckets
    assert len(records(tmp_path)["history"]) == 3


@pytest.mark.slow  # it waits for services that are gone
def test_a_server_that_ends_in_mid_run_costs_a_timeout_and_no_round(
    no_account: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole curve is kept offline, and sent to the server once that is back."""
    wandb.teardown()
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "3")
    monkeypatch.setattr(wandb_service, "START_SECONDS", 3)
    output = tmp_path / "sweep" / "cell"
    with wandb_stub() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        cell = tracked(tmp_path, output)
        following = follow(cell)
        tracker = following.__enter__()
        tracker.log(CURVE[:1])
    tracker.log(CURVE)
    tracker.summarize(RESULT)
    following.__exit__(None, None, None)
    write_files(cell)
    record = noted(output)
    assert record is not None and not record.arrived and record.offline is not None
    wandb.teardown()
    with wandb_stub() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        assert main([str(tmp_path / "sweep")]) == 0
        assert [row["curve/queries"] for row in server.history(run_id("key"))] == [100, 200, 300]
        wandb.teardown()
