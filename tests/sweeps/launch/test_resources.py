"""What jobs ask of SLURM, as it stands in the scripts that sbatch gets."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from storage.conf import CONF
from storage.errors import InputError
from support.grids.played_slurm import job, play
from sweeps.grid.units import Stage
from sweeps.launch.cluster.limits import minutes
from sweeps.launch.cluster.slurm import SlurmLauncher
from sweeps.launch.folder import SweepFolder

FLAT = {
    "partition=big": "partition=big",
    "timeout_min=5": "time=5",
    "gpus_per_node=2": "gpus-per-node=2",
    "cpus_per_task=3": "cpus-per-task=3",
    "mem_gb=2": "mem=2GB",
    "mem_gb=1.5": "mem=1536MB",
    "account=mine": "account=mine",
    "qos=night": "qos=night",
    "constraint=a100": "constraint=a100",
    "tasks_per_node=1": "ntasks-per-node=1",
    "additional_parameters={account: mine}": "account=mine",
    "+exclude=n1": "exclude=n1",
}


def launcher(*overrides: str) -> SlurmLauncher:
    """The launcher of conf/hydra/launcher/slurm.yaml with these overrides."""
    config = OmegaConf.load(CONF / "hydra" / "launcher" / "slurm.yaml")
    for override in overrides:
        name, value = override.removeprefix("+").split("=", 1)
        OmegaConf.update(config, name, OmegaConf.create(f"it: {value}").it, force_add=True)
    ours = ("_target_", "cells_per_job", "prices_per_job", "wait")
    options: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment] # a mapping
    return SlurmLauncher(**{name: value for name, value in options.items() if name not in ours})


def script(tmp_path: Path, *overrides: str, stage: Stage = "extract", accelerator: str = "auto") -> str:
    """What sbatch gets for one job."""
    root = tmp_path / "sweep"
    launcher(*overrides).start([job(root, "one", stage, None, accelerator)], SweepFolder(root), {})
    return (tmp_path / "bin" / "script").read_text()


@pytest.fixture(autouse=True)
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play(tmp_path / "bin", monkeypatch)


@pytest.mark.parametrize("stage", ["prepare", "extract", "price"])
@pytest.mark.parametrize(("override", "line"), FLAT.items(), ids=list(FLAT))
def test_what_is_given_for_all_stages_stands_in_each_script(
    override: str, line: str, stage: Stage, tmp_path: Path
) -> None:
    assert f"#SBATCH --{line}\n" in script(tmp_path, override, stage=stage)


def test_a_stage_has_its_own_before_what_all_have(tmp_path: Path) -> None:
    both = ("mem_gb=2", "resources.extract.mem_gb=3")
    assert "#SBATCH --mem=3GB\n" in script(tmp_path, *both)
    assert "#SBATCH --mem=2GB\n" in script(tmp_path, *both, stage="prepare")


def test_the_usual_is_at_most_what_the_largest_node_of_the_partition_has(tmp_path: Path) -> None:
    text = script(tmp_path)
    assert {"#SBATCH --mem=4000MB", "#SBATCH --cpus-per-task=2", "#SBATCH --time=720"} < set(
        text.splitlines()
    )
    assert "#SBATCH --mem=8000MB\n" in script(tmp_path, "partition=big")
    assert "#SBATCH --mem=64GB\n" in script(tmp_path, "mem_gb=64"), "what is asked for is not lowered"


def test_where_nothing_is_known_of_the_nodes_the_usual_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(tmp_path / "bin", monkeypatch, sinfo=None)
    assert "#SBATCH --mem=16GB\n" in script(tmp_path)


def test_a_gpu_is_asked_for_by_stages_that_use_it(tmp_path: Path) -> None:
    gpu = "#SBATCH --gpus-per-node=1\n"
    assert gpu in script(tmp_path, stage="prepare", accelerator="gpu")
    assert gpu in script(tmp_path, stage="extract", accelerator="gpu")
    assert "--gpus" not in script(tmp_path, stage="price", accelerator="gpu")
    assert "--gpus" not in script(tmp_path, accelerator="auto")
    text = script(tmp_path, "+gres=gpu:a100:1", accelerator="gpu")
    assert "--gres=gpu:a100:1" in text and "--gpus" not in text


def test_commands_at_the_start_and_the_command_of_python(tmp_path: Path) -> None:
    text = script(tmp_path, "setup=[module load cuda]", "python=singularity exec image.sif python")
    assert "\nmodule load cuda\n" in text
    assert re.search(r"exec \"\$0\" \"\$@\"' singularity exec image.sif python -u -m submitit", text)


def test_the_job_is_named_by_its_cell(tmp_path: Path) -> None:
    text = script(tmp_path)
    assert "#SBATCH --job-name='tollgate extract one on digits, none, seed 0'\n" in text
    assert "#SBATCH --comment='one on digits, none, seed 0'\n" in text


def test_the_warning_leaves_half_of_a_short_limit(tmp_path: Path) -> None:
    assert "#SBATCH --signal=USR2@60\n" in script(tmp_path, "timeout_min=2")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("mem_gb=16GB", "hydra.launcher.mem_gb must be above 0, not '16GB'"),
        ("mem_gb=0", "hydra.launcher.mem_gb must be above 0, not 0"),
        ("timeout_min=1.5", "hydra.launcher.timeout_min must be a whole number of at least 1, not 1.5"),
        ("tasks_per_node=2", "hydra.launcher.tasks_per_node must be 1, not 2"),
        ("+nodes=2", "hydra.launcher.nodes must be 1, not 2"),
        ("+memory=2", "hydra.launcher.memory is not one of timeout_min, cpus_per_task"),
        ("+resources.extract.mem=2", "hydra.launcher.resources.extract.mem is not one of timeout_min"),
        ("+resources.train.mem_gb=2", "hydra.launcher.resources.train is no stage of a sweep: prepare"),
        ("array_size=0", "hydra.launcher.array_size must be a whole number of at least 1, not 0"),
        ("additional_parameters=3", "hydra.launcher.additional_parameters must be options of sbatch"),
    ],
)
def test_what_cannot_be_meant_is_refused(override: str, said: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(said)}"):
        launcher(override)


def test_time_limits_of_partitions() -> None:
    assert [minutes(limit) for limit in ("2:00", "1:30:00", "1-02:00:00")] == [2, 90, 1560]
    assert minutes("infinite") == float("inf")


def test_cells_share_a_gpu(tmp_path: Path) -> None:
    """Extractions only, each with the usual memory; what is asked for by hand is of the job."""
    root = tmp_path / "sweep"
    folder = SweepFolder(root)
    four = [job(root, name, accelerator="gpu") for name in "abcd"]
    other = job(root, "e", accelerator="cpu")
    play(tmp_path / "bin", pytest.MonkeyPatch(), sinfo="64|400000|infinite|main*")
    launcher("cells_per_gpu=3").start([*four, other], folder, {})
    scripts = sorted((root / ".tollgate" / "slurm").rglob("*submission.sh"))
    assert len(scripts) == 1, "an array"
    assert {"#SBATCH --mem=48GB", "#SBATCH --cpus-per-task=12", "#SBATCH --gpus-per-node=1"} < set(
        scripts[0].read_text().splitlines()
    )
    written = {path.stem: json.loads(path.read_text()) for path in (root / ".tollgate" / "jobs").iterdir()}
    told = {name: ([unit["id"] for unit in it["units"]], it["at_a_time"]) for name, it in written.items()}
    assert told == {"a": (["a", "b", "c"], 3), "d": (["d"], 1), "e": (["e"], 1)}
    assert len({record["job"] for record in folder.jobs().values()}) == 3
    text = script(tmp_path, "cells_per_gpu=3", "mem_gb=20", accelerator="gpu")
    assert "#SBATCH --mem=20GB\n" in text


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["cells_per_gpu=0"], "hydra.launcher.cells_per_gpu must be a whole number of at least 1, not 0"),
        (["cells_per_gpu=2", "gpus_per_node=2"], "hydra.launcher.cells_per_gpu is of jobs with one GPU each"),
    ],
)
def test_what_sharing_cannot_be(overrides: list[str], said: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(said)}"):
        launcher(*overrides)
