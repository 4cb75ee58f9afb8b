"""Cells from the command line to their files, on digits."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from support.commands import ROOT, Program, run_program, run_python
from victims.architectures.mnistnet import mnistnet
from victims.datasets import digits
from victims.datasets.splits import split

COLUMNS = [
    *("round", "queries", "accuracy", "fidelity", "cost_pate", "cost_pknn", "cost_entropy", "cost_gap"),
    *("query_seconds", "pow_seconds", "total_seconds", "overhead", "expected_hashes", "difficulty_bits"),
]
SMALL = [
    "logger=none",
    "trainer=cpu",
    "victim.recipe.epochs=8",
    "substitute.recipe.epochs=15",
    "privacy.measures.pate.teachers=10",
    "privacy.measures.pate.recipe.epochs=10",
    "attack.budget=300",
    "dataset.transfer.steps=2",
]


def command(tmp_path: Path, *overrides: str) -> list[str]:
    paths = [f"paths.store={tmp_path}/store", f"paths.output={tmp_path}/outputs"]
    flags = [override for override in overrides if override.startswith("-")]
    settings = [override for override in overrides if not override.startswith("-")]
    return ["run.py", *flags, *SMALL, *paths, *settings]


def run(tmp_path: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return run_program(*command(tmp_path, *overrides))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, subprocess.CompletedProcess[str]]:
    """Three attacks with two strengths and without work: nine cells in a sweep's folder."""
    tmp_path = tmp_path_factory.mktemp("sweep")
    folder = tmp_path / "sweep"
    process = run(
        tmp_path,
        "-m",
        "attack=standard,knockoff,jacobian",
        "defense=none,pow",
        "pow_calibration.strength=1,4",
        f"hydra.sweep.dir={folder}",
        "hydra.sweep.subdir=${attack.name}_${hydra.runtime.choices.defense}_${pow_calibration.strength}",
    )
    return tmp_path, folder, process


@pytest.mark.slow  # a whole sweep
def test_a_sweep_leaves_its_files_a_table_and_a_plot(
    sweep: tuple[Path, Path, subprocess.CompletedProcess[str]],
) -> None:
    _, folder, process = sweep
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    assert "warning" not in process.stdout.lower()
    assert "What each stolen model cost" in process.stdout
    assert (folder / "accuracy_digits.png").read_bytes().startswith(b"\x89PNG")
    for cell in folder.glob("*_*_*"):
        assert {path.name for path in cell.iterdir()} >= {
            "config.yaml",
            "curve.csv",
            "trace.parquet",
            "result.json",
            "log",
            ".hydra",
        }
        curve, trace = pd.read_csv(cell / "curve.csv"), pd.read_parquet(cell / "trace.parquet")
        assert list(curve.columns)[: len(COLUMNS)] == COLUMNS
        assert curve["queries"].iloc[-1] == len(trace) == 300
        assert trace.groupby("round").size().cumsum().tolist() == curve["queries"].tolist()
        assert curve["cost_pate"].to_numpy() == pytest.approx(
            trace["cost_pate"].cumsum().to_numpy()[curve["queries"] - 1]
        )
        result = json.loads((cell / "result.json").read_text())
        assert result["victim_accuracy"] > 0.9
        assert result["final"]["accuracy"] > 0.25, "ten classes: chance is 0.1"


@pytest.mark.slow  # a whole sweep
def test_what_differs_only_in_price_shares_an_extraction(
    sweep: tuple[Path, Path, subprocess.CompletedProcess[str]],
) -> None:
    tmp_path, folder, _ = sweep
    assert len(list((tmp_path / "store" / "victims").iterdir())) == 1
    assert len(list((tmp_path / "store" / "teachers").iterdir())) == 1
    assert len(list((tmp_path / "store" / "extractions").iterdir())) == 3
    free, cheap, expensive = (
        pd.read_csv(folder / name / "curve.csv")
        for name in ("standard_none_1", "standard_pow_1", "standard_pow_4")
    )
    assert free["accuracy"].tolist() == cheap["accuracy"].tolist() == expensive["accuracy"].tolist()
    assert (free["pow_seconds"] == 0).all()
    assert (free["overhead"] == 1).all()
    assert expensive["pow_seconds"].to_numpy() == pytest.approx(4 * cheap["pow_seconds"].to_numpy())


@pytest.mark.slow  # four processes
def test_attackers_who_know_share_an_extraction_and_agree_with_replay(
    sweep: tuple[Path, Path, subprocess.CompletedProcess[str]],
) -> None:
    """Many accounts, other hardware and a limit on the bill change prices alone."""
    tmp_path, whole, _ = sweep
    folder = tmp_path / "attackers"
    process = run(
        tmp_path,
        "-m",
        "attack=standard",
        "attack.accounts=1,5",
        "attack.give_up_usd=null,1e-12,1e-9",
        "hardware=rtx4090",
        "pow_calibration=linear",
        f"hydra.sweep.dir={folder}",
        "hydra.sweep.subdir=${attack.accounts}_${attack.give_up_usd}",
    )
    assert process.returncode == 0, process.stderr
    assert len(list((tmp_path / "store" / "extractions").iterdir())) == 3
    assert "rtx4090" in process.stdout
    curves = {path.parent.name: pd.read_csv(path) for path in folder.glob("*/curve.csv")}
    results = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/result.json")}
    free = pd.read_csv(whole / "standard_none_1" / "curve.csv")
    for name in ("1_None", "5_None"):
        assert curves[name]["accuracy"].tolist() == free["accuracy"].tolist()
        assert results[name]["gave_up"] is False
    assert pd.read_parquet(folder / "5_None" / "trace.parquet")["account"].nunique() == 5
    poor, richer = curves["1_1e-12"], curves["1_1e-09"]
    assert poor["round"].tolist() == [0] and poor["accuracy"].tolist() == [0.1]
    assert results["1_1e-12"]["gave_up"] is True
    assert 0 < len(richer) <= len(free) and (richer["attacker_usd"] <= 1e-9).all()
    for name in ("1_None", "5_None", "1_1e-12", "1_1e-09"):
        assert len(pd.read_parquet(folder / name / "trace.parquet")) == curves[name]["queries"].iloc[-1]
    assert "hold its first 0 queries" in (folder / "1_1e-12" / "log").read_text()

    expected = results["1_None"]["expected_cost"]
    replayed = run_program(
        *(
            "-m",
            "commands",
            "replay",
            f"{folder}/1_None/trace.parquet",
            "--dataset",
            "digits",
            "--accounts",
            "5",
        ),
        *("--calibration", "linear", "--hardware", "rtx4090", "--out", f"{folder}/rows.csv"),
        f"pow_calibration.expected={{slope: {expected['slope']}, intercept: {expected['intercept']}}}",
    )
    assert replayed.returncode == 0, replayed.stderr
    last, ours = pd.read_csv(folder / "rows.csv").iloc[-1], curves["5_None"].iloc[-1]
    assert last["overhead"] == pytest.approx(ours["overhead"], rel=1e-12)
    assert last["usd_rtx4090"] == pytest.approx(ours["attacker_usd"], rel=1e-12)


@pytest.mark.slow  # four processes, one after the other
def test_killed_at_three_moments_it_asks_nothing_twice_and_ends_in_the_same_curve(
    sweep: tuple[Path, Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """The sweep's undisturbed cell is the comparison; each line of the log is a question to the victim."""
    whole = pd.read_csv(sweep[1] / "jacobian_pow_1" / "curve.csv")
    folder = tmp_path / "run"
    overrides = ["attack=jacobian", f"hydra.run.dir={folder}"]
    log = folder / "log"
    for moment in ("round 1: 100 queries asked", "round 2: 100 queries asked", "round 2: 200 of 300"):
        seen = len(log.read_text()) if log.exists() else 0
        with Program(command(tmp_path, *overrides), ROOT, os.environ) as program:  # killed when left
            while program.poll() is None and moment not in (log.read_text()[seen:] if log.exists() else ""):
                time.sleep(0.005)
    final = run(tmp_path, *overrides)
    assert final.returncode == 0, final.stderr
    curve = pd.read_csv(folder / "curve.csv")
    pd.testing.assert_frame_equal(curve[COLUMNS], whole[COLUMNS], check_exact=True)
    asked = [int(count) for count in re.findall(r"(\d+) queries asked of the victim", log.read_text())]
    assert sum(asked) == 300


def test_a_network_and_weights_of_ones_own_are_stolen(tmp_path: Path) -> None:
    """Trained by other code, on images that it normalises itself, saved as a state dict."""
    images = split(
        digits.load(),
        {"train": "train[:800]", "pool": "train[800:1497]", "test": "train[1497:]"},
        shuffle_seed=0,
    )
    torch.manual_seed(3)
    own = mnistnet((1, 16, 16), 10)
    optimizer = torch.optim.Adam(own.parameters(), 1e-3)
    inputs, labels = images.train.images.float() / 255, images.train.labels
    for _ in range(12):
        for index in torch.randperm(len(inputs)).split(50):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(own(inputs[index]), labels[index]).backward()
            optimizer.step()
    torch.save(own.state_dict(), tmp_path / "own.pt")
    with torch.no_grad():
        right = (own(images.test.images.float() / 255).argmax(1) == images.test.labels).double().mean()
    small = [option for option in SMALL if not option.startswith("victim.")]
    process = run_program(
        *("run.py", *small, f"paths.store={tmp_path}/store", "defense=none"),
        *("victim=custom", "victim.architecture._target_=victims.architectures.mnistnet.mnistnet"),
        f"victim.checkpoint={tmp_path}/own.pt",
        f"hydra.run.dir={tmp_path}/run",
    )
    assert process.returncode == 0, process.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert "training the victim" not in process.stderr
    assert result["victim_accuracy"] == pytest.approx(float(right), abs=0.004)
    assert right > 0.85
    assert result["final"]["fidelity"] > 0.6


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["dataset=digit"], "Could not find 'dataset/digit'"),
        (["attack.budgt=3"], "Did you mean attack.budget?"),
        (["atack=knockoff"], "Did you mean attack?"),
        (["attack.budget=5000"], "is more than the 697 images of the query pool"),
        (["hydra.run.dir=/dev/null/run"], "cannot write to"),
        (["paths.store=/dev/null/store"], "paths.store"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_bad_input_is_one_clear_error_before_any_training(
    tmp_path: Path, overrides: list[str], said: str
) -> None:
    small = [option for option in SMALL if option.split("=")[0] not in {o.split("=")[0] for o in overrides}]
    names = {option.split("=")[0] for option in overrides}
    paths = [f"paths.store={tmp_path}/store", f"hydra.run.dir={tmp_path}/run"]
    paths = [option for option in paths if option.split("=")[0] not in names]
    process = run_program("run.py", *small, *paths, *overrides)
    assert process.returncode == 1
    assert said in process.stderr
    assert "Traceback" not in process.stderr
    assert "training" not in process.stdout


@pytest.mark.parametrize("flags", [["--help"], ["--cfg", "job"]])
def test_help_does_not_import_torch(flags: list[str]) -> None:
    code = (
        "import sys; from commands.run import main\n"
        "try: main(sys.argv[1:])\nfinally: print('torch' in sys.modules)"
    )
    process = run_python("-c", code, *flags)
    assert process.stdout.strip().endswith("False"), process.stderr
    assert "jacobian" in process.stdout or "attack" in process.stdout


def test_teachers_vote_on_an_image_once_in_a_sweep(
    sweep: tuple[Path, Path, subprocess.CompletedProcess[str]],
) -> None:
    """Standard and jacobian begin with the same images of the pool; honest users have images of their own."""
    store = sweep[0] / "store"
    (teachers,) = (path.name for path in (store / "teachers").iterdir() if path.is_dir())
    files = sorted((store / "votes" / teachers).glob("*.parquet"))
    images = pd.concat([pd.read_parquet(path) for path in files])
    assert images.index.is_unique
    assert len(images) > 300 + 300, "the attacks' images and the honest users'"
    assert (images.sum(axis=1) == 10).all(), "each teacher votes once"
