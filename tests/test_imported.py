"""What takes seconds to import is imported only where it is used."""

from __future__ import annotations

import json
import subprocess
import sys

from support.sources import ROOT

TORCH = {"torch", "torchvision", "torchmetrics", "pytorch_lightning"}
LIGHT = {
    "commands.run": TORCH | {"hydra", "omegaconf", "numpy", "pandas"},
    "commands.hydra_app.errors": TORCH | {"numpy", "pandas"},
    "sweeps.status": TORCH | {"pandas", "scipy", "matplotlib", "submitit"},
    "gate.client": TORCH | {"pandas", "scipy", "fastapi", "matplotlib"},
    "experiment.naming": TORCH | {"pandas", "scipy"},
    "sweeps.report.write": TORCH | {"sklearn", "scipy.stats"},
    "pow.replay.asked": TORCH | {"sklearn", "scipy.stats"},
    "pow.usage": TORCH | {"sklearn", "scipy.stats"},
    "sweeps.launch.sweep": TORCH - {"torch"} | {"sklearn", "scipy.stats", "wandb"},
    "experiment.cell": TORCH - {"torch"} | {"sklearn", "scipy.stats", "wandb"},
    "extraction.attacks.dfme": TORCH - {"torch"},
    "extraction.attacks.mixmatch": TORCH - {"torch"},
    "extraction.attacks.swiftthief": TORCH - {"torch"},
    "victims.datasets.digits": TORCH - {"torch"} | {"sklearn"},
}
"""Modules, the lighter ones first, and what they do without."""

PROGRAM = """
import importlib, json, sys
found = {}
for module, heavy in json.loads(sys.argv[1]).items():
    importlib.import_module(module)
    found[module] = [name for name in heavy if name in sys.modules]
print(json.dumps(found))
"""


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    told = json.dumps({module: sorted(heavy) for module, heavy in LIGHT.items()})
    command = [sys.executable, "-c", PROGRAM, told]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert json.loads(said) == {module: [] for module in LIGHT}
