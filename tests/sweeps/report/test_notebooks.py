"""The notebooks run from top to bottom, and read sweeps through sweeps.report.write alone."""

from __future__ import annotations

import ast
import base64
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from support.commands import ROOT
from support.grids.reports import write_cell

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code(notebook: Any) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One sweep with a toll at three strengths, and one without any."""
    base = tmp_path_factory.mktemp("sweeps")
    number = 0
    for attack, factor in (("standard", 1.0), ("knockoff", 40.0)):
        for seed in (0, 1):
            for strength in (0.25, 1.0, 4.0):
                write_cell(
                    base / "tolled" / f"{number}",
                    attack,
                    seed,
                    [0.5, 0.8 + seed / 50],
                    strength=strength,
                    overhead=1 + strength * factor,
                    honest_overhead=1 + strength,
                )
                number += 1
            free: dict[str, Any] = {"defense": "none", "calibration": None, "strength": None}
            for folder in ("tolled", "free"):
                write_cell(
                    base / folder / f"free_{attack}_{seed}",
                    attack,
                    seed,
                    [0.5, 0.8],
                    overhead=1.0,
                    honest_overhead=1.0,
                    **free,
                )
    return {name: base / name for name in ("tolled", "free")}


def run(path: Path, folder: Path) -> tuple[str, int]:
    """What a notebook prints on a sweep, and how many pictures it shows."""
    notebook = read(path)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    parameters.source = f"folders = [{str(folder)!r}]"
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(path.parent)}}).execute()
    printed, pictures = "", 0
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr", output.get("text")
            printed += output.get("text", "")
            picture = output.get("data", {}).get("image/png")
            pictures += picture is not None and base64.b64decode(picture).startswith(b"\x89PNG")
    return printed, pictures


def test_there_are_both() -> None:
    assert [path.name for path in NOTEBOOKS] == ["calibration.ipynb", "cost_vs_accuracy.ipynb"]


@pytest.mark.slow  # a kernel of its own
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_on_a_sweep_with_a_toll(path: Path, sweeps: dict[str, Path]) -> None:
    printed, pictures = run(path, sweeps["tolled"])
    assert "16 cells: " in printed
    if path.stem == "cost_vs_accuracy":
        assert pictures == 4, "accuracy, and attacker beside honest user at each of three strengths"
        assert "knockoff pays 20.5 times what an honest user pays" in printed
        assert "standard pays 1 times" in printed and "slowed" not in printed
    else:
        assert pictures == 5, "what queries reveal, the price at three strengths, and over strength"


@pytest.mark.slow  # a kernel of its own
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_on_a_sweep_without_a_toll(path: Path, sweeps: dict[str, Path]) -> None:
    printed, pictures = run(path, sweeps["free"])
    assert "no cell of this sweep asks for work" in printed
    assert pictures == 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_committed_without_outputs_and_reads_through_the_report(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None
    imported = set()
    for node in ast.walk(ast.parse("\n".join(code(notebook)))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported |= {f"{node.module}.{alias.name}" for alias in node.names}
    ours = {name for name in imported if (ROOT / name.split(".")[0]).is_dir()}
    assert ours == {"sweeps.report"}
