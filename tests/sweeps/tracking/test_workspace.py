"""The saved workspace: what it shows, and that it is saved with a key only."""

from __future__ import annotations

import builtins
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from commands.workspace import main
from experiment.tracking.arrival import Arrival, note
from experiment.tracking.figures import axes_of
from support.commands import ROOT, run_python
from support.tracking.wandb_stub import KEY, wandb_stub
from sweeps.tracking import workspace

COMMAND = ("-m", "commands", "workspace", "--project", "grids", "--datasets", "digits", "mnist")


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    """A user with a home of its own, and so without a key."""
    return {"HOME": str(tmp_path), "WANDB_API_KEY": "", "PYTHONPATH": str(ROOT)} | more


def panels(view: Mapping[str, Any]) -> list[dict[str, Any]]:
    sections = view["section"]["panelBankConfig"]["sections"]
    return [panel for section in sections for panel in section["panels"]]


def test_without_a_key_the_specification_is_printed(tmp_path: Path) -> None:
    process = run_python(*COMMAND, folder=tmp_path, **environment(tmp_path))
    assert process.returncode == 0, process.stderr
    assert "nothing was saved" in process.stderr
    view = json.loads(process.stdout)
    assert (view["project"], view["displayName"]) == ("grids", workspace.NAME)
    lines = [panel["config"] for panel in panels(view["spec"]) if "Line Plot" in panel["viewType"]]
    assert [(line["xAxis"], line["metrics"]) for line in lines] == [
        (f"{dataset}/by_{axis}/{column}", [f"{dataset}/by_{axis}/accuracy"])
        for dataset in ("digits", "mnist")
        for axis, column in axes_of(workspace.MEASURES).items()
    ], "on the axes that runs log"
    points = [panel["config"] for panel in panels(view["spec"]) if panel["viewType"] == "Scatter Plot"]
    axes = [(panel["xAxis"], panel["yAxis"]) for panel in points]
    assert axes[:2] == [
        ("config:strength.value", "summary:digits/by_queries/accuracy"),
        ("config:strength.value", "summary:digits/by_queries/fidelity"),
    ]
    assert axes[6:] == [
        ("summary:final/overhead", "summary:final/accuracy"),
        ("summary:final/honest_overhead", "summary:final/accuracy"),
        ("summary:price/accuracy_90/queries", "summary:price_over_honest/accuracy_90"),
        ("config:strength.value", "summary:price_over_honest/accuracy_90"),
    ]
    sections = view["spec"]["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in sections[:4]] == ["digits", "mnist", "Who pays", "Runs"]
    assert panels(view["spec"])[-1]["viewType"] == "Run Comparer"
    (runs,) = view["spec"]["section"]["runSets"]
    assert [group["name"] for group in runs["grouping"]] == ["attack.value", "defense.value"]
    assert not filters(runs)


def filters(runs: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Keys and values that runs are filtered by."""
    found: list[tuple[str, str]] = []
    nodes = [runs["filters"]]
    while nodes:
        node = nodes.pop()
        nodes += node.get("filters") or []
        if node.get("key"):
            found.append((node["key"]["name"], node["value"]))
    return found


def test_a_sweep_has_its_own_data_sets_and_runs() -> None:
    made = workspace.specification(workspace.workspace("grids", "us", ["digits"], "my sweep"))
    (runs,) = made["spec"]["section"]["runSets"]
    assert filters(runs) == [("group", "my sweep")]
    assert made["displayName"] == f"{workspace.NAME}: my sweep"


def test_the_data_sets_of_a_sweep_are_those_of_its_cells(tmp_path: Path) -> None:
    for name, dataset in {"a": "mnist", "b": "digits", "c": "mnist"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(f"dataset: {{name: {dataset}}}\n")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.yaml").write_text("dataset: {name: [")
    assert workspace.datasets_of(tmp_path) == ["digits", "mnist"]
    assert workspace.group_of(tmp_path) == tmp_path.name
    note(tmp_path / "b", Arrival({"group": "a group of mine"}))
    assert workspace.group_of(tmp_path) == "a group of mine"


@pytest.mark.slow  # a process of its own
def test_with_a_key_it_is_saved(tmp_path: Path) -> None:
    with wandb_stub() as stub:
        variables = environment(tmp_path, WANDB_API_KEY=KEY, WANDB_BASE_URL=stub.url)
        process = run_python(*COMMAND, folder=tmp_path, **variables)
    assert process.returncode == 0, process.stderr
    (saved,) = stub.views
    assert (saved["entityName"], saved["projectName"], saved["type"]) == ("me", "grids", "project-view")
    assert len(panels(json.loads(saved["spec"]))) == 2 * (len(axes_of(workspace.MEASURES)) + 3) + 5
    assert process.stdout.startswith(f"{stub.url}/me/grids?nw=")


@pytest.mark.slow  # a process of its own
def test_a_server_that_refuses_is_named(tmp_path: Path) -> None:
    with wandb_stub() as stub:
        stub.errors = True
        variables = environment(tmp_path, WANDB_API_KEY=KEY, WANDB_BASE_URL=stub.url)
        process = run_python(*COMMAND, "--entity", "us", folder=tmp_path, **variables)
    assert process.returncode == 1
    assert process.stderr.splitlines()[-1].startswith("error: the workspace was not saved: ")


def test_the_package_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name.startswith("wandb_workspaces"):
            raise ModuleNotFoundError(name, name=name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SystemExit):
        main([])
    assert "pip install 'tollgate[workspace]'" in capsys.readouterr().err
