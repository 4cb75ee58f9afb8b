"""What queries cost, and why: `python -m commands.explain dataset=mnist explain.queries=1000`."""

from __future__ import annotations

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from commands.errors import readable_errors
from experiment import naming

CONFIG = Path(__file__).resolve().parents[1] / "conf"


@hydra.main(config_path=str(CONFIG), config_name="explain", version_base="1.3")
def run(config: DictConfig) -> None:
    """Explain the costs of the composed cell's victim in Hydra's output directory."""
    from experiment.explain import explain

    explain(config, Path(HydraConfig.get().runtime.output_dir))


if __name__ == "__main__":
    sys.argv = naming.network_overrides(sys.argv)
    with readable_errors(CONFIG, "explain"):
        run()
