"""What Weights & Biases is given, read back from the offline run's own file."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from experiment.tracking.following import follow
from experiment.tracking.labels import run_id
from experiment.tracking.wandb_service import mode_of
from support.tracking.tracked import CURVE, LABELS, RESULT, exit_codes, records, run_tracked, tracked

pytestmark = pytest.mark.usefixtures("no_account")


def track(tmp_path: Path) -> dict[str, list[Any]]:
    with follow(tracked(tmp_path, tmp_path / "sweep" / "cell")) as tracker:
        tracker.log(CURVE[:1])
        tracker.log(CURVE)
        tracker.summarize(RESULT)
    return records(tmp_path)


def test_an_offline_run_holds_the_curve_on_every_axis(tmp_path: Path) -> None:
    written = track(tmp_path)
    rows = [record["item"] for record in written["history"]]
    assert [row["curve/queries"] for row in rows] == [100, 200, 300], "each row once"
    for row, point in zip(rows, CURVE.to_dict("records"), strict=True):
        for axis, column in (
            ("queries", "queries"),
            ("privacy_cost", "cost_pate"),
            ("cost_entropy", "cost_entropy"),
            ("seconds", "total_seconds"),
            ("money", "attacker_usd"),
        ):
            assert row[f"digits/by_{axis}/{column}"] == point[column]
            assert row[f"digits/by_{axis}/accuracy"] == point["accuracy"]
    metrics = {record["name"]: record.get("step_metric") for record in written["metric"]}
    assert metrics["digits/by_seconds/accuracy"] == "digits/by_seconds/total_seconds"
    assert metrics["digits/by_privacy_cost/fidelity"] == "digits/by_privacy_cost/cost_pate"
    assert metrics["digits/by_queries/overhead"] == "digits/by_queries/queries"
    assert metrics["digits/by_money/accuracy"] == "digits/by_money/attacker_usd"


def test_an_offline_run_says_what_it_is(tmp_path: Path) -> None:
    written = track(tmp_path)
    (run,) = written["run"]
    assert (run["run_group"], run["job_type"], run["project"]) == ("sweep", "knockoff", "tollgate")
    assert (run["run_id"], run["display_name"]) == (run_id("key"), "knockoff digits pow x2 s0")
    assert set(run["tags"]) == {"digits", "knockoff", "pow"}
    told = run["config"]["update"]
    assert told["options"]["attack"]["budget"] == 300
    assert {name: told[name] for name in LABELS} == LABELS and told["sweep_name"] == "sweep"
    final: dict[str, Any] = {}
    for record in written["summary"]:
        final |= record["update"]
    assert final["final/accuracy"] == 0.8
    assert final["victim_accuracy"] == 0.99
    assert final["price/accuracy_90/pow_seconds"] == 8.0 and final["price/accuracy_90/reached"] is True
    assert final["price/fidelity_90/reached"] is False
    assert final["price_over_honest/accuracy_90"] == 4.0
    assert (final["honest/pow_seconds_median"], final["honest/queries_q95"]) == (0.5, 90.0)
    assert (final["honest_loss/accuracy"], final["transferability/transfer"]) == (0.98, 0.3)
    assert (final["alarm/raised"], final["alarm/queries"]) == (True, 250)
    assert (final["cheapest/strategy"], final["cheapest/pow_seconds"]) == ("split", 1.5)
    assert exit_codes(written) == [0]


def test_a_cell_that_raises_is_a_failed_run(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="out of luck"),
        follow(tracked(tmp_path, tmp_path / "cell")),
    ):
        raise RuntimeError("out of luck")
    assert exit_codes(records(tmp_path)) == [1]


@pytest.mark.slow  # processes that import all
def test_a_cell_that_is_terminated_is_a_failed_run(tmp_path: Path) -> None:
    """SIGTERM, as a cluster sends it."""
    program = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom support.tracking.tracked import tracked\n"
        "from experiment.tracking.following import follow\n"
        "folder = Path(sys.argv[1])\nwith follow(tracked(folder, folder / 'cell')):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    process = run_tracked(program, folder=tmp_path)
    assert process.returncode == 128 + signal.SIGTERM, process.stderr
    assert exit_codes(records(tmp_path)) == [1]


@pytest.mark.slow  # processes that import all
def test_a_service_that_is_killed_costs_no_cell_and_the_curve_is_handed_in(tmp_path: Path) -> None:
    """In a process of its own: its end must not fail either."""
    program = (
        "import os, signal, sys, time\nimport psutil\nfrom pathlib import Path\n"
        "from support.tracking.tracked import CURVE, RESULT, tracked\n"
        "from experiment.tracking.following import follow\n"
        "folder = Path(sys.argv[1])\n"
        "with follow(tracked(folder, folder / 'cell')) as tracker:\n"
        "    tracker.log(CURVE[:1])\n"
        "    for child in psutil.Process().children(recursive=True):\n"
        "        child.kill()\n"
        "    time.sleep(0.5)\n"
        "    tracker.log(CURVE[:2])\n"
        "    tracker.log(CURVE)\n"
        "    tracker.summarize(RESULT)\n"
    )
    process = run_tracked(program, folder=tmp_path)
    assert process.returncode == 0, process.stderr
    *_, last = sorted((tmp_path / "outputs" / "wandb").glob("offline-run-*"), key=os.path.getmtime)
    rows = [record["item"] for record in records(tmp_path, last)["history"]]
    assert [row["curve/queries"] for row in rows] == [100, 200, 300]


def test_handlers_of_others_stay(tmp_path: Path) -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        with follow(tracked(tmp_path, tmp_path / "cell")):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) == before
    assert exit_codes(records(tmp_path)) == [0]


@pytest.mark.parametrize(
    ("asked", "environment", "mode"),
    [
        (None, {}, "offline"),
        ("online", {}, "offline"),  # and no prompt
        (None, {"WANDB_API_KEY": "k"}, "online"),
        ("offline", {"WANDB_API_KEY": "k"}, "offline"),
        (None, {"WANDB_MODE": "disabled", "WANDB_API_KEY": "k"}, "disabled"),
        ("offline", {"WANDB_MODE": "disabled"}, "offline"),
    ],
)
def test_modes(
    asked: str | None, environment: dict[str, str], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert mode_of(asked) == mode
