"""A cell of the grid, or with -m a grid: ``python run.py -m attack=standard,knockoff dataset=mnist``."""

from __future__ import annotations

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sweeps.errors import readable_errors

CONFIG = Path(__file__).resolve().parent / "conf"


@hydra.main(config_path=str(CONFIG), config_name="config", version_base="1.3")
def run(config: DictConfig) -> None:
    """Run the composed cell in Hydra's output directory."""
    from sweeps.cell import run_cell  # here, so that --help and --cfg answer without importing torch

    run_cell(config, Path(HydraConfig.get().runtime.output_dir))


def main() -> None:
    """The command line."""
    with readable_errors(CONFIG):
        run()


if __name__ == "__main__":
    main()
