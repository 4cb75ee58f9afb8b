"""What a cluster can give at most, as its own commands say."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from sweeps.launch.cluster.jobs import slurm_lines
from sweeps.launch.types import ClusterSilent


@dataclass(frozen=True)
class Node:
    """What one job can get on a node.

    Attributes:
        cpus_per_task: Its processors.
        mem_gb: Its memory in GiB.
        timeout_min: The time limit of its partition; infinite where there is none.
    """

    cpus_per_task: int
    mem_gb: float
    timeout_min: float

    @property
    def most(self) -> dict[str, float]:
        """By Submitit's names."""
        return {
            "cpus_per_task": self.cpus_per_task,
            "mem_gb": self.mem_gb,
            "timeout_min": self.timeout_min,
        }


def largest_node(partition: str | None) -> Node | None:
    """The node with the most memory of a partition, else of the cluster's default one; None if not known."""
    options = [] if partition is None else [f"--partition={partition}"]
    try:
        rows = slurm_lines("sinfo", "--noheader", "--Node", "--format=%c|%m|%l|%P", *options)
    except ClusterSilent:
        return None
    if partition is None:
        rows = [row for row in rows if row[3].endswith("*")] or rows
    nodes = [Node(int(cpus), int(memory) / 1024, minutes(limit)) for cpus, memory, limit, _ in rows]
    return max(nodes, key=lambda node: (node.mem_gb, node.cpus_per_task), default=None)


def minutes(limit: str) -> float:
    """A time limit as sinfo writes it: `infinite`, or `days-hours:minutes:seconds` from the right."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit)
    if match is None:
        return math.inf
    days, hours, mins, _ = (int(part or 0) for part in match.groups())
    return 60 * (24 * days + hours) + mins


def largest_array() -> int | None:
    """How many jobs an array may have; None if not known."""
    try:
        settings = slurm_lines("scontrol", "show", "config")
    except ClusterSilent:
        return None
    for line in settings:
        if match := re.match(r"MaxArraySize\s*=\s*(\d+)", line[0]):
            return max(1, int(match[1]))  # 0: a cluster without arrays
    return None
