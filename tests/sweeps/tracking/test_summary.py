"""The run that sums a sweep up: its table, its plots and its page, once, and again when cells have come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml

from experiment.tracking.arrival import Arrival, noted
from support.grids.reports import write_cell
from support.tracking.wandb_stub import Stub
from sweeps.grid.listed import RECORDS
from sweeps.report.summary import summarize
from sweeps.tracking import sync


@pytest.fixture
def sweep(no_account: None, tmp_path: Path) -> Path:
    """Two attacks of two seeds, which Weights & Biases follows."""
    directory = tmp_path / "sweep"
    for attack, accuracy in (("knockoff", 0.5), ("standard", 0.7)):
        for seed in (0, 1):
            one_more(directory, attack, seed, accuracy + 0.1 * seed)
    (directory / RECORDS).mkdir()
    return directory


def one_more(directory: Path, attack: str, seed: int, accuracy: float, **options: Any) -> None:
    node = {
        "_target_": "experiment.tracking.wandb_logger.Wandb",
        "directory": str(directory.parent / "outputs"),
    }
    config = {"logger": {"wandb": node | options}, "dataset": {"name": "digits"}}
    name = f"{attack}{seed}"
    write_cell(directory / name, attack, seed, [0.3, accuracy], key=name, config=config)


def test_a_sweep_is_summed_up_by_one_run(sweep: Path, stub: Stub) -> None:
    summarize(sweep)
    first, *_ = stub.buckets
    assert (first["displayName"], first["groupName"], first["jobType"]) == (
        "summary of sweep",
        "sweep",
        "summary",
    )
    (row,) = stub.history()
    kinds = {name: it["_type"] for name, it in row.items() if isinstance(it, dict)}
    assert kinds == {
        "means": "table-file",
        "report": "html-file",
        **{path.stem: "image-file" for path in sweep.glob("*.png")},
    }
    assert "accuracy_digits" in kinds
    assert stub.exit_codes() == [0]
    table = row["means"]
    assert (table["nrows"], noted(sweep / RECORDS).arrived) == (2, True)  # type: ignore[union-attr]


def waiting(sweep: Path) -> dict[Path, Arrival]:
    return {path: it for path, it in sync.followed(sweep).items() if sync.waits(path, it)}


def test_the_table_has_means_and_intervals(sweep: Path) -> None:
    """Read from the file that an offline run keeps."""
    summarize(sweep)
    (path,) = (sweep.parent / "outputs" / "wandb").glob("offline-run-*/files/media/table/means*.json")
    told = json.loads(path.read_text())
    rows = {row[told["columns"].index("attack")]: row for row in told["data"]}
    accuracy, interval = (told["columns"].index(name) for name in ("accuracy", "accuracy_interval"))
    assert rows["knockoff"][accuracy] == pytest.approx(0.55)
    # Student's t of one degree of freedom times the standard error of two values that differ by 0.1
    assert rows["knockoff"][interval] == pytest.approx(12.7062 * 0.05, rel=1e-4)
    assert (sweep / RECORDS) in waiting(sweep)


def test_it_is_sent_again_only_when_cells_have_come(sweep: Path, stub: Stub) -> None:
    summarize(sweep)
    seen = len(stub.buckets)
    summarize(sweep)
    assert len(stub.buckets) == seen
    one_more(sweep, "jacobian", 0, 0.4)
    summarize(sweep)
    assert len({bucket["name"] for bucket in stub.buckets}) == 1 and len(stub.buckets) > seen
    assert stub.history()[-1]["means"]["nrows"] == 3


def test_a_sync_sends_what_was_lost(
    sweep: Path, stub: Stub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(wandb, "Table", None)
        summarize(sweep)
    assert "tollgate sync" in caplog.text
    left = waiting(sweep)
    assert dict(sync.send(left)) == {sweep / RECORDS: ""}
    assert stub.history()[-1]["means"]["nrows"] == 2
    assert not waiting(sweep)


@pytest.mark.parametrize("logger", [{}, {"wandb": {"summary": False}}])
def test_who_wants_none_has_none(sweep: Path, logger: dict[str, Any]) -> None:
    for path in sweep.glob("*/config.yaml"):
        config = yaml.safe_load(path.read_text())
        own = {name: config["logger"]["wandb"] | node for name, node in logger.items()}
        path.write_text(yaml.safe_dump(config | {"logger": own}))
    summarize(sweep)
    assert not (sweep.parent / "outputs").exists() and not waiting(sweep)
