"""A victim behind the gate: ``python serve.py dataset=mnist pow_calibration=fitted server.port=8000``."""

from __future__ import annotations

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from commands.errors import readable_errors
from experiment import naming

CONFIG = Path(__file__).resolve().parent / "conf"


@hydra.main(config_path=str(CONFIG), config_name="serve", version_base="1.3")
def run(config: DictConfig) -> None:
    """Serve the composed cell's victim."""
    from experiment.serving import serve  # here, so that --help and --cfg answer without importing torch

    serve(config)


def main() -> None:
    """The command line."""
    sys.argv = naming.network_overrides(sys.argv)
    with readable_errors(CONFIG, "serve"):
        run()


if __name__ == "__main__":
    main()
