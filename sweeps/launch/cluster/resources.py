"""What a job asks of SLURM, by Submitit's names: of its stage, of all stages, or by default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import submitit

from storage.errors import InputError
from storage.options import check_inside, check_number
from sweeps.grid.units import Stage
from sweeps.launch.cluster.limits import Node

COUNTS = ("timeout_min", "cpus_per_task", "gpus_per_node")
NAMES = (
    *(*COUNTS, "mem_gb", "partition", "account", "qos", "constraint", "exclude", "nodelist", "gres"),
    *("mem_per_cpu", "mem_per_gpu", "cpus_per_gpu", "gpus_per_task", "exclusive", "comment", "wckey"),
    *("mail_type", "mail_user", "srun_args", "use_srun", "nodes", "tasks_per_node"),
)
"""What may be asked for, for a stage or for all."""

COMMON = ("name", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "timeout_min")
"""Names that Submitit has for any cluster; those of SLURM alone get a prefix."""

PER_UNIT = ("cpus_per_task", "mem_gb")
"""What a job needs as often as it runs units side by side."""

Asked = Mapping[str, Any]


class Resources:
    """What jobs of each stage ask for.

    Args:
        defaults: of each stage, lowered to what the largest node has.
        for_all: of all stages, before the defaults.
        of_stage: of each stage, before both.

    Raises:
        InputError: A name or a value is not one of Submitit's.
    """

    def __init__(
        self, defaults: Mapping[Stage, Asked], for_all: Asked, of_stage: Mapping[Stage, Asked]
    ) -> None:
        self.defaults = {stage: _given(asked) for stage, asked in defaults.items()}
        self.for_all = _checked(for_all, "hydra.launcher")
        self.of_stage = {
            stage: _checked(asked, f"hydra.launcher.resources.{stage}") for stage, asked in of_stage.items()
        }
        if unknown := sorted(self.of_stage.keys() - self.defaults.keys()):
            raise InputError(
                f"hydra.launcher.resources.{unknown[0]} is no stage of a sweep: {', '.join(self.defaults)}"
            )

    def asked(self, stage: Stage) -> dict[str, Any]:
        """What was asked for by the user, without defaults."""
        return self.for_all | self.of_stage.get(stage, {})

    def of(self, stage: Stage, largest: Node | None, gpus: int, at_a_time: int = 1) -> dict[str, Any]:
        """What a job asks for.

        Args:
            stage: of the job.
            largest: node of the partition, where it is known.
            gpus: that the job needs, unless something else was asked for.
            at_a_time: units that it runs side by side, each of which has the usual memory and processors.
        """
        defaults = {
            name: value * at_a_time if name in PER_UNIT else value
            for name, value in self.defaults[stage].items()
        }
        if largest is not None:
            defaults = {name: _at_most(value, largest.most.get(name)) for name, value in defaults.items()}
        asked = self.asked(stage)
        if gpus and not asked.keys() & {"gpus_per_node", "gpus_per_task", "gres"}:
            asked["gpus_per_node"] = gpus
        if asked.keys() & {"mem_per_cpu", "mem_per_gpu"}:
            defaults = {name: value for name, value in defaults.items() if name != "mem_gb"}
        return defaults | asked


def submitit_parameters(asked: Asked) -> dict[str, Any]:
    """The same by the names of Submitit's AutoExecutor."""
    return {name if name in COMMON else f"slurm_{name}": value for name, value in asked.items()}


def refusal(error: Exception) -> str:
    """What sbatch or Submitit said, in one line."""
    lines = [line.removeprefix("sbatch: error: ").strip() for line in str(error).splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line))


REFUSALS = (
    ValueError,
    NameError,
    AssertionError,
    submitit.core.utils.FailedSubmissionError,
    submitit.core.utils.FailedJobError,
)
"""What Submitit raises for parameters that it, or sbatch, does not take."""


def _at_most(value: float, most: float | None) -> float:
    return value if most is None else min(value, most)


def _given(asked: Asked) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if value is not None}


def _checked(asked: Asked, option: str) -> dict[str, Any]:
    given = _given(asked)
    for name, value in given.items():
        if name not in NAMES:
            raise InputError(f"{option}.{name} is not one of {', '.join(NAMES)}")
        _check_value(f"{option}.{name}", name, value)
    return given


def _check_value(option: str, name: str, value: Any) -> None:
    """Raise InputError where the value cannot be meant."""
    try:
        if name in COUNTS:
            check_number(option, value, 0 if name == "gpus_per_node" else 1, whole=True)
        elif name == "mem_gb":
            check_inside(option, value, 0)
    except ValueError as error:
        raise InputError(str(error)) from error
    if name in ("nodes", "tasks_per_node") and value != 1:
        raise InputError(f"{option} must be 1, not {value!r}: a cell is one process on one node")
