"""How a sweep of Submitit's own launchers stands, which leaves no plan: by the folders of its jobs."""

from __future__ import annotations

from pathlib import Path

from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from sweeps.grid.units import counted
from sweeps.launch.cluster.jobs import slurm_states

JOBS = ".submitit"
"""In the sweep's folder: a folder a job, by its number."""


def show_unplanned(directory: Path) -> bool:
    """Print how its jobs stand, and what cannot be told; returns whether none has failed.

    Raises ClusterSilent where the cluster does not answer.
    """
    names = {path.name for path in (directory / JOBS).iterdir() if path.name[:1].isdigit()}
    arrays = {name.split("_")[0] for name in names if "_" in name}
    jobs = sorted(names - arrays)
    cells = {_job_of(path): path.parents[1] for path in directory.glob("*/.hydra/hydra.yaml")}
    multirun = directory / "multirun.yaml"
    on_slurm = multirun.exists() and "submitit_slurm" in multirun.read_text()
    asked = {job: state.word for job, state in slurm_states(set(jobs)).items()} if on_slurm else {}
    table = Table("state", "job", "folder", box=None, pad_edge=False)
    words = []
    for job in jobs:
        words.append(_word(directory, job, cells.get(job), asked.get(job)))
        table.add_row(words[-1], job, cells[job].name if job in cells else "")
    console = Console(soft_wrap=True)
    console.print(table)
    counts = ", ".join(f"{words.count(word):,} {word}" for word in dict.fromkeys(words))
    console.print(
        f"{counted(len(jobs), 'job')}: {counts}. Submitit's own launchers leave no plan: which cells have no "
        f"job yet, and what they wait for, cannot be told. Logs are in {directory / JOBS}; "
        "hydra/launcher=slurm and local plan and resume a sweep"
    )
    return "failed" not in words


def _job_of(settings: Path) -> str:
    return str(OmegaConf.select(OmegaConf.load(settings), "hydra.job.id"))


def _word(directory: Path, job: str, cell: Path | None, of_the_cluster: str | None) -> str:
    """How a job stands: SLURM calls one that raised an error completed."""
    if cell is not None and (cell / "result.json").exists():
        return "done"
    if (directory / JOBS / job / f"{job}_0_result.pkl").exists() or of_the_cluster == "ended":
        return "failed"
    return of_the_cluster or "under way"
