"""`tollgate serve`: a victim behind the gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from commands.hydra_app.application import run_application, stay_here
from commands.parsing import packages_of

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(arguments: Sequence[str]) -> int:
    """Serve the victim that the arguments describe."""
    return run_application("serve", "serve", run, arguments)


def run(config: DictConfig) -> None:
    """Serve the composed cell's victim."""
    stay_here()
    with packages_of("sweeps"):
        from experiment.serving.running import serve
    serve(config)
