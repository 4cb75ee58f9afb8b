"""What a job does about the cluster that it runs on: it says whose it is, and which GPU it misses."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from typing import Any

import torch

from storage.provenance import slurm_job
from sweeps.launch.cluster.jobs import slurm_lines
from sweeps.launch.types import ClusterSilent


def name_job(cell: str) -> None:
    """Have squeue and sacct show the cell that the job is at; nothing outside SLURM."""
    job = slurm_job()
    if job is not None:
        change = ["scontrol", "update", f"JobId={job}", f"JobName=tollgate {cell}", f"Comment={cell}"]
        try:  # a cluster may forbid it, and the cell does not depend on it
            subprocess.run(change, capture_output=True, timeout=30, check=False)
        except (OSError, subprocess.SubprocessError):
            return


def missed_gpu(config: Mapping[str, Any]) -> str | None:
    """A sentence where trainer=auto takes the processor in a job of SLURM although there is a GPU."""
    if slurm_job() is None or config["trainer"]["accelerator"] != "auto" or torch.cuda.is_available():
        return None
    promised = os.environ.get("SLURM_GPUS_ON_NODE") or os.environ.get("SLURM_JOB_GPUS")
    if promised:
        return (
            f"trainer=auto: SLURM gave this job a GPU (SLURM_GPUS_ON_NODE={promised}), but torch sees none, "
            "so the cell runs on the processor; trainer=gpu makes that an error"
        )
    node = os.environ.get("SLURMD_NODENAME", "")
    if _has_gpu(node):
        return (
            f"trainer=auto: node {node} has a GPU that this job did not ask for, so the cell runs on the "
            "processor; trainer=gpu or hydra.launcher.gpus_per_node=1 asks for one"
        )
    return None


def _has_gpu(node: str) -> bool:
    try:
        rows = slurm_lines("sinfo", "--noheader", "--Node", f"--nodes={node}", "--format=%G")
    except ClusterSilent:
        return False
    return any("gpu" in row[0] for row in rows)
