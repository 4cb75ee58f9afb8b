"""Lightning's loggers: what they have written, several at once, and that a broken one costs no cell."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from experiment.options import check_config
from experiment.tracking import lightning_loggers
from experiment.tracking.base import TrackedCell
from experiment.tracking.following import follow
from experiment.tracking.lightning_loggers import LightningTracker, Mlflow, Tensorboard
from support.tracking.tracked import CURVE, LABELS, RESULT, records, tracked

TENSORBOARD = {"_target_": "experiment.tracking.lightning_loggers.Tensorboard"}
CSV = {"_target_": "experiment.tracking.lightning_loggers.Csv"}

pytestmark = pytest.mark.usefixtures("no_account")


def followed(cell: TrackedCell) -> None:
    with follow(cell) as tracker:
        tracker.log(CURVE[:1])
        tracker.log(CURVE)
        tracker.summarize(RESULT)


def cell(folder: Path, **loggers: dict[str, Any]) -> TrackedCell:
    return TrackedCell({"logger": loggers, "privacy": {"measures": {}}}, LABELS, "a name", folder)


def test_no_logger_writes_nothing(tmp_path: Path) -> None:
    followed(cell(tmp_path / "cell"))
    assert list(tmp_path.iterdir()) == []


def test_a_csv_file_holds_the_curve_and_the_labels(tmp_path: Path) -> None:
    for _ in range(2):  # a cell that goes on logs its curve anew
        followed(cell(tmp_path, csv=CSV))
    written = pd.read_csv(tmp_path / "csv" / "metrics.csv")
    assert written["step"].tolist() == [100, 200, 300, 300]
    for name in CURVE:
        assert written[name].tolist()[:3] == pytest.approx(CURVE[name].tolist()), name
    last = written.iloc[-1]
    assert (last["price/accuracy_90/pow_seconds"], last["honest_loss/accuracy"]) == (8.0, 0.98)
    told = yaml.safe_load((tmp_path / "csv" / "hparams.yaml").read_text())
    assert told == LABELS


def test_several_loggers_are_told_the_same(tmp_path: Path) -> None:
    both = tracked(tmp_path, tmp_path / "sweep" / "cell")
    both.config["logger"]["csv"] = CSV
    followed(both)
    rows = [record["item"] for record in records(tmp_path)["history"]]
    written = pd.read_csv(tmp_path / "sweep" / "cell" / "csv" / "metrics.csv")
    assert [row["curve/accuracy"] for row in rows] == written["accuracy"].tolist()[:3]


class Broken:
    """A logger whose disk is full from the second step on."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def log_hyperparams(self, labels: dict[str, Any]) -> None:
        assert labels["attack"] == "knockoff"

    def log_metrics(self, figures: dict[str, float], step: int) -> None:
        self.steps.append(step)
        if len(self.steps) > 1:
            raise OSError("no space left on device")

    def save(self) -> None:
        """Nothing."""

    def finalize(self, status: str) -> None:
        raise AssertionError("it is lost")


def test_a_logger_that_fails_is_said_once_and_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    broken = Broken()
    tracker = LightningTracker(broken, LABELS)
    tracker.log(CURVE)
    tracker.summarize(RESULT)
    tracker.finish("success")
    assert broken.steps == [100, 200]
    (said,) = [record.message for record in caplog.records]
    assert said == "Broken is lost (OSError: no space left on device); the cell goes on"


@pytest.mark.parametrize(
    ("make", "package"), [(Tensorboard, "tensorboard"), (lambda: Mlflow("tollgate"), "mlflow")]
)
def test_what_is_not_installed_is_named(make: Any, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lightning_loggers, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=f"^logger={package} needs .*: pip install {package}$"):
        make()


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"csv": CSV | {"folder": "x"}}, "logger.csv has no 'folder'"),
        (
            {"wandb": {"_target_": "experiment.tracking.wandb_logger.Wandb", "directory": "x", "mode": "on"}},
            "logger.wandb.mode must be one of online, offline, disabled or null, not 'on'",
        ),
        (
            {"wandb": {"_target_": "experiment.tracking.wandb_logger.Wandb", "directory": "x", "tags": "a"}},
            "logger.wandb.tags must be",
        ),
    ],
)
def test_wrong_options_are_named(node: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match="logger") as error:
        check_config({"logger": node})
    assert said in str(error.value)


def test_tensorboard_has_the_curve(tmp_path: Path) -> None:
    for _ in range(2):
        followed(cell(tmp_path, tensorboard=TENSORBOARD))
    reading = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    events = reading.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("accuracy")] == [
        (step, pytest.approx(value)) for step, value in zip([100, 200, 300], [0.5, 0.7, 0.8], strict=True)
    ]


def test_mlflow_has_the_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # its small package has no database
    uri = (tmp_path / "runs").as_uri()
    node = {"_target_": "experiment.tracking.lightning_loggers.Mlflow", "experiment": "grids", "uri": uri}
    followed(cell(tmp_path / "sweep" / "cell", mlflow=node))
    client = importlib.import_module("mlflow.tracking").MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("grids").experiment_id])
    assert (run.info.run_name, run.info.status, run.data.tags["sweep"]) == ("a name", "FINISHED", "sweep")
    assert run.data.params["attack"] == "knockoff"
    points = client.get_metric_history(run.info.run_id, "accuracy")
    assert [(point.step, point.value) for point in points] == [(100, 0.5), (200, 0.7), (300, 0.8)]
