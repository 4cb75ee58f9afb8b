"""A cell of the grid, or with -m a grid: ``python run.py -m attack=standard,knockoff dataset=mnist``.

With --dry-run, a grid is planned and not run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from commands.errors import readable_errors
from experiment import naming

CONFIG = Path(__file__).resolve().parent / "conf"


@hydra.main(config_path=str(CONFIG), config_name="config", version_base="1.3")
def run(config: DictConfig) -> None:
    """Run the composed cell in Hydra's output directory."""
    from experiment.cell import run_cell  # here, so that --help and --cfg answer without importing torch

    run_cell(config, Path(HydraConfig.get().runtime.output_dir))


def main() -> None:
    """The command line."""
    sys.argv = ["hydra/launcher=dry_run" if argument == "--dry-run" else argument for argument in sys.argv]
    sys.argv = naming.network_overrides(sys.argv)
    naming.register()
    with readable_errors(CONFIG):
        run()


if __name__ == "__main__":
    main()
