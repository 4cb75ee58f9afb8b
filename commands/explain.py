"""`tollgate explain`: what queries cost, and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from commands.hydra_app.application import run_application, stay_here
from commands.parsing import packages_of

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(arguments: Sequence[str]) -> int:
    """Explain the costs of the victim that the arguments describe."""
    return run_application("explain", "explain", run, arguments)


def run(config: DictConfig) -> None:
    """Explain the costs of the composed cell's victim in Hydra's output directory."""
    from hydra.core.hydra_config import HydraConfig

    stay_here()
    with packages_of("sweeps"):
        from experiment.explaining.explain import explain
    explain(config, Path(HydraConfig.get().runtime.output_dir))
