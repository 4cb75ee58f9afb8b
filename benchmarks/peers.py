"""Our attacks beside those of the Adversarial Robustness Toolbox (ART), our epsilon beside dp_accounting's.

    python -m benchmarks.peers [--queries 3000] [--epochs 10] [--seeds 0 1 2] [--folder outputs/peers]
                               [dataset=mnist paths.data=...]

Both attack the same victim, by its weights, with the same pool, as many queries, the same network from the
same initial weights, the same optimiser, batch size, epochs and memory format, on one thread; each draws its
own queries. A run has a process of its own, and the sides begin by turns. CPU seconds (user and system) are
those of asking and training, without imports and data; ours hold scoring and a checkpoint, too. Memory is the
peak above what was in use when the attack began. Printed are medians, with the least and the largest, and the
median of the ratios of a seed's two runs.

ART and dp_accounting are installed into FOLDER/packages the first time, and nowhere else. Other arguments are
options of `tollgate run`, for both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from rich.console import Console
from rich.table import Table
from torch import nn

from experiment.artifacts.victim import TrainedVictim
from experiment.components import Cell
from experiment.compose import compose_cell
from extraction.extract import Evaluation, Extraction
from privacy import gnmax
from storage.conf import CONF
from training.batches import to_float
from training.fit import predict_logits
from training.seeds import seeded
from victims.architectures.build import build_network
from victims.types import Answer, QueryBatch

ROOT = Path(__file__).resolve().parents[1]
ATTACKS = ("knockoff", "copycat")
"""ART's adaptive Knockoff Nets is left out: it trains on one image at a time, and ends in NaN here."""

PACKAGES = ("adversarial-robustness-toolbox", "six", "dp-accounting", "absl-py", "attrs", "dm-tree", "mpmath")
SAME = (
    *("logger=none", "trainer=cpu", "trainer.precision=32-true", "trainer.channels_last=false"),
    *("substitute.recipe.schedule=constant", "substitute.recipe.augmentation.shift=0"),
    "substitute.recipe.augmentation.flip=false",
)
"""What makes the two sides' training the same."""


@dataclass(frozen=True)
class Measured:
    """What one run has cost and given: CPU seconds, peak MiB, shares of the test images."""

    seconds: float
    memory: float
    accuracy: float
    fidelity: float


def cell_of(attack: str, overrides: Sequence[str]) -> Cell:
    """The cell of an attack, with its data."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose_cell(compose("config", [f"attack={attack}", *SAME, *overrides]), progress=False)


class Served:
    """The victim's own probabilities, or labels where `hard`."""

    def __init__(self, network: nn.Module, cell: Cell) -> None:
        self.network, self.cell = network, cell

    def query(self, batch: QueryBatch) -> Answer:
        """See Oracle."""
        logits = predict_logits(self.network, batch.images, self.cell.hardware)
        return Answer(logits.argmax(1) if self.cell.settings.answers == "hard" else logits.softmax(1))


def ours(cell: Cell, victim: nn.Module) -> nn.Module:
    """Run our extraction; returns the substitute."""
    test = cell.data.test
    evaluation = Evaluation(test.images, test.labels, test.labels)
    classes = cell.data.train.num_classes
    with tempfile.TemporaryDirectory() as folder:
        extraction = Extraction(
            cell.attack,
            cell.pool,
            classes,
            cell.substitute,
            cell.settings,
            cell.hardware,
            Path(folder) / "checkpoint.pt",
        )
        return extraction.run(Served(victim, cell), evaluation)


def art(cell: Cell, victim: nn.Module, images: np.ndarray) -> nn.Module:
    """Run ART's extraction with the cell's settings on its pool's images, float32; returns the substitute."""
    from art.attacks.extraction import CopycatCNN, KnockoffNets
    from art.estimators.classification import PyTorchClassifier

    recipe, settings, pool = cell.substitute.recipe, cell.settings, cell.pool
    shape, classes = pool.image_shape, cell.data.train.num_classes
    with seeded(settings.seed, "substitute", 1):  # as ours is
        substitute = build_network(cell.substitute.architecture, shape, classes, pool.images)
    torch.manual_seed(settings.seed)
    np.random.seed(settings.seed)

    def classifier(network: nn.Module, optimizer: torch.optim.Optimizer | None) -> Any:
        loss = nn.CrossEntropyLoss()
        return PyTorchClassifier(network, loss, shape, classes, optimizer, device_type="cpu")

    attacks = {"copycat": CopycatCNN, "knockoff": KnockoffNets}
    attack = attacks[cell.config["attack"]["name"]](
        classifier(nn.Sequential(victim, nn.Softmax(1)), None),
        batch_size_fit=recipe.batch_size,
        batch_size_query=cell.hardware.batch_size,
        nb_epochs=recipe.epochs,
        nb_stolen=settings.budget,
        use_probability=settings.answers != "hard",
    )
    copy = classifier(substitute, recipe.make_optimizer(substitute.parameters()))
    attack.extract(images, thieved_classifier=copy)
    return substitute.eval()


SIDES = ("ours", "ART")


def _import(side: str) -> None:
    """Import what the attack would: those seconds are not its own."""
    if side == "ART":
        import art.estimators.classification  # noqa: F401
    else:
        import pytorch_lightning  # noqa: F401


def memory(kind: str) -> float:
    """MiB of this process: VmRSS in use, VmHWM the most since the peak was forgotten."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024


def forget_peak() -> None:
    """Let the peak of this process's memory begin at what is in use."""
    Path("/proc/self/clear_refs").write_text("5")


def measure(side: str, attack: str, overrides: Sequence[str]) -> Measured:
    """Run one side's attack in this process."""
    cell = cell_of(attack, overrides)
    victim = TrainedVictim(cell).get().network.eval()
    _import(side)
    test = cell.data.test
    told = predict_logits(victim, test.images, cell.hardware).argmax(1)
    images = to_float(cell.pool.images).numpy() if side == "ART" else None
    forget_peak()
    before, started = memory("VmRSS"), time.process_time()
    substitute = ours(cell, victim) if images is None else art(cell, victim, images)
    seconds, used = time.process_time() - started, memory("VmHWM") - before
    says = predict_logits(substitute, test.images, cell.hardware).argmax(1)
    accuracy, fidelity = (says == test.labels).double().mean(), (says == told).double().mean()
    return Measured(seconds, used, float(accuracy), float(fidelity))


def install(packages: Path) -> None:
    """Install the peers into a folder, without what this environment has. Raises CalledProcessError."""
    if packages.is_dir():
        return
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    with tempfile.TemporaryDirectory(dir=packages.parent) as folder:
        subprocess.run([*pip, folder + "/packages", *PACKAGES], check=True)
        Path(folder, "packages").replace(packages)


def epsilons(queries: int, sigma: float = 10.0, delta: float = 1e-5) -> dict[str, list[float]]:
    """Epsilon of so many queries by GNMax's bound for any votes, and CPU seconds: ours, dp_accounting's.

    One teacher moves two counts by one vote, so the vector of counts has sensitivity sqrt(2). dp_accounting
    converts as Canonne, Kamath and Steinke do.
    """
    from dp_accounting import GaussianDpEvent
    from dp_accounting.rdp import RdpAccountant

    orders = gnmax.ORDERS
    started = time.process_time()
    each = gnmax.rdp(torch.zeros(queries), sigma, orders, "data_independent").sum(0)
    own = float(gnmax.epsilon(each, orders, delta, "canonne_kamath_steinke"))
    took = time.process_time() - started
    started = time.process_time()
    accountant = RdpAccountant(orders=orders.tolist())
    for _ in range(queries):
        accountant.compose(GaussianDpEvent(sigma / 2**0.5))
    theirs = float(accountant.get_epsilon(delta))
    return {"ours": [own, took], "dp_accounting": [theirs, time.process_time() - started]}


def prepare(attack: str, *overrides: str) -> None:
    """Train the victim, or find it in the store, so that no run that is measured has to."""
    TrainedVictim(cell_of(attack, overrides)).get()
    print(json.dumps(None))


def print_measured(side: str, attack: str, *overrides: str) -> None:
    """Print what `measure` finds, as JSON."""
    print(json.dumps(asdict(measure(side, attack, overrides))))


def print_epsilons(queries: str) -> None:
    """Print what `epsilons` finds, as JSON."""
    print(json.dumps(epsilons(int(queries))))


def apart(packages: Path, function: str, *arguments: str) -> Any:
    """Call a function that prints JSON, in a process of its own that finds the peers; returns its JSON."""
    paths = os.pathsep.join([str(ROOT), str(packages), *filter(None, [os.environ.get("PYTHONPATH")])])
    variables = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    code = f"import sys; from benchmarks import peers; peers.{function}(*sys.argv[1:])"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=variables, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def spread(values: Sequence[float], form: str) -> str:
    """Median, and the least and the largest in brackets."""
    least, middle, most = (format(it, form) for it in (min(values), median(values), max(values)))
    return f"{middle} ({least} to {most})"


def row(attack: str, mine: Sequence[Measured], theirs: Sequence[Measured]) -> list[str]:
    """A row of the table, for the seeds' runs of both sides."""
    cells = [attack]
    for name, scale, form in (("accuracy", 100, ".1f"), ("fidelity", 100, ".1f"), ("seconds", 1, ".1f")):
        cells += [spread([scale * getattr(run, name) for run in side], form) for side in (mine, theirs)]
    ratios = [a.seconds / b.seconds for a, b in zip(mine, theirs, strict=True)]
    memory = [f"{median(run.memory for run in side):.0f}" for side in (mine, theirs)]
    return [*cells, spread(ratios, ".2f"), *memory]


def main() -> None:
    """Install, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=ATTACKS)
    parser.add_argument("--folder", type=Path, default=Path("outputs/peers"))
    options, overrides = parser.parse_known_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    install(folder / "packages")
    table = Table("attack", "accuracy %", "ART", "fidelity %", "ART", "CPU s", "ART", "ratio", "MiB", "ART")
    for attack in options.attacks:
        runs: dict[str, list[Measured]] = {side: [] for side in SIDES}
        for seed in options.seeds:
            budget = [f"attack.budget={options.queries}", f"attack.round_size={options.queries}"]
            told = [*budget, f"substitute.recipe.epochs={options.epochs}", f"seed={seed}", *overrides]
            told += [f"paths.store={folder / 'store'}"]
            apart(folder / "packages", "prepare", attack, *told)
            for side in SIDES if seed % 2 else reversed(SIDES):
                done = runs[side]
                done.append(Measured(**apart(folder / "packages", "print_measured", side, attack, *told)))
                print(f"{side}, {attack}, seed {seed}: {done[-1]}", file=sys.stderr)
        table.add_row(*row(attack, *runs.values()))
    console = Console(width=190)
    console.print(table)
    found = apart(folder / "packages", "print_epsilons", str(options.queries))
    for who, (value, seconds) in found.items():
        each = 1e6 * seconds / options.queries
        console.print(f"{who}: epsilon {value:.6f} of {options.queries} queries, {each:.1f} us each")


if __name__ == "__main__":
    main()
