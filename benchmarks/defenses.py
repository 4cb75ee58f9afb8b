"""How much time each defense adds to the victim's own on a batch of MNIST's shape, and MAD against a loop.

    python -m benchmarks.defenses [--batch 1024] [--asked 9000] [--loop 100] [OVERRIDE ...]

Each defense has a row, with its options as configured (overrides change them): milliseconds of a batch beside
those of the victim's forward pass. The time of PRADA grows with the queries that an account has asked;
`asked` is their number, and the row is the mean. The loop is MAD as one would first write it, with gradients
as its authors compute them: image by image, with a backward pass for each class, then the way to every
extreme point. Both must agree.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import cache, partial
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from experiment.naming import network_overrides
from storage.options import instantiate
from sweeps.grid.compose import hydra_loader, master_config
from training.batches import to_float
from training.fit import predict_logits
from training.recipe import Hardware
from training.seeds import seeded
from victims.architectures.build import Architecture, build_network
from victims.datasets.images import ImageSet
from victims.defenses.base import AuxiliarySettings, DefendedVictim, Watching
from victims.defenses.mad import Mad, within
from victims.types import Answer, QueryBatch

ROOT = Path(__file__).resolve().parents[1]
IMAGE_SHAPE, CLASSES = (1, 28, 28), 10
REPEATS = 5


def configured(overrides: list[str]) -> tuple[Architecture, dict[str, Any]]:
    """Return the victim's architecture, and each defense that changes answers or watches."""
    names = [path.stem for path in sorted((ROOT / "conf" / "defense").glob("[!_]*.yaml"))]
    chosen = ",".join(name for name in names if name not in ("none", "pow"))
    with hydra_loader(ROOT / "conf") as loader:
        config = master_config(loader, ["dataset=mnist", f"defense=[{chosen}]", *overrides])
        nodes: Any = OmegaConf.to_container(config.defense, resolve=True)
        architecture = OmegaConf.to_container(config.victim.architecture, resolve=True)
    defenses = {name: instantiate(node, f"defense.{name}") for name, node in nodes.items()}
    return instantiate(architecture, "victim.architecture"), defenses


def least_seconds(*works: Callable[[], object]) -> list[float]:
    """Return the least seconds of each work over REPEATS calls, which take turns."""
    least = [float("inf")] * len(works)
    for _ in range(1 + REPEATS):  # one more, since the first calls initialise libraries
        for number, work in enumerate(works):
            started = time.perf_counter()
            work()
            least[number] = min(least[number], time.perf_counter() - started)
    return least


def timed(work: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """Return the result of `work`, and its least seconds."""
    return work(), least_seconds(work)[0]


def some_victim(architecture: Architecture, count: int) -> DefendedVictim:
    """Build an untrained victim with `count` random images; no time depends on the numbers in it."""
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, *IMAGE_SHAPE), dtype=torch.uint8, generator=random)
    labels = torch.randint(CLASSES, (count,), generator=random)
    train = ImageSet.decoded(images, labels, tuple("0123456789"))
    hardware = Hardware(accelerator="cpu")

    with seeded(0, "benchmark"):
        own = hardware.place(build_network(architecture, IMAGE_SHAPE, CLASSES, images)).eval()

    def untrained(settings: AuxiliarySettings) -> nn.Module:
        return hardware.place(settings.untrained(own, train)).eval()

    return DefendedVictim(own, train, hardware, 0, untrained)


def watched_seconds(watching: Watching, images: Tensor, labels: Tensor, batch: int) -> float:
    """Return mean seconds for each batch of watching one user who asks all images and gets these labels."""
    watch, batches = watching.watch(), zip(images.split(batch), labels.split(batch), strict=True)
    started = time.perf_counter()
    for part, answer in batches:
        watch.observe(QueryBatch(part), Answer(answer))
    return (time.perf_counter() - started) * batch / len(images)


def mad_loop(substitute: nn.Module, images: Tensor, probabilities: Tensor, epsilon: float) -> Tensor:
    """Return MAD's answers, float64 `[n, classes]`, with the label kept, image by image."""
    weight = [each for each in substitute.parameters() if each.dim() == 2][-1]
    answers = []
    for image, y in zip(images, probabilities.double(), strict=True):
        log_probs = substitute(image[None]).log_softmax(1)[0]
        gradients = [torch.autograd.grad(value, weight, retain_graph=True)[0] for value in log_probs]
        rows = torch.stack([gradient.flatten() for gradient in gradients]).double()
        extremes = sets_with(int(y.argmax()), len(y))
        ways = within(y[None], extremes, epsilon)
        cosine = torch.cosine_similarity(ways @ rows, (y @ rows)[None], dim=1)
        answers.append(ways[cosine.argmin()])
    return torch.stack(answers)


@cache
def sets_with(label: int, classes: int) -> Tensor:
    """Return equal shares of every set of classes with the label, float64 `[2^(classes - 1), classes]`."""
    others = [k for k in range(classes) if k != label]
    sets = [[label, *more] for size in range(classes) for more in combinations(others, size)]
    return torch.stack(
        [torch.zeros(classes, dtype=torch.float64).index_fill(0, torch.tensor(s), 1 / len(s)) for s in sets]
    )


def substitute_of(mad: Mad, victim: DefendedVictim) -> nn.Module:
    """Build the network whose gradients the defense redirects."""
    with seeded(victim.seed, "surrogate"):
        return build_network(mad.architecture, IMAGE_SHAPE, CLASSES, victim.train.images).eval()


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--asked", type=int, default=9000)
    parser.add_argument("--loop", type=int, default=100)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE")
    options = parser.parse_args()
    architecture, defenses = configured(network_overrides(options.overrides))
    victim = some_victim(architecture, options.asked)
    images = to_float(victim.train.images)
    own = predict_logits(victim.network, images, victim.hardware).softmax(1)
    batch, answers = images[: options.batch], own[: options.batch]

    table = Table(title=f"Defenses, batches of {len(batch):,}, {torch.get_num_threads()} threads")
    for name in ("defense", "victim, ms", "defense, ms", "of the victim's time"):
        table.add_column(name, justify="left" if name == "defense" else "right")
    for name, defense in defenses.items():
        forward = partial(predict_logits, victim.network, batch, victim.hardware)
        if hasattr(defense, "watch"):
            own_seconds = least_seconds(forward)[0]
            seconds = watched_seconds(defense.bind(victim), images, victim.train.labels, options.batch)
        else:
            perturb = partial(defense.bind(victim), batch, answers, 0)
            own_seconds, seconds = least_seconds(forward, perturb)
        share = f"{seconds / own_seconds:.3f}"
        table.add_row(name, f"{1e3 * own_seconds:.1f}", f"{1e3 * seconds:.1f}", share)
    Console(width=100).print(table)

    mad = defenses["mad"]
    substitute, some = substitute_of(mad, victim), images[: options.loop]
    ours, seconds = timed(partial(mad.bind(victim), some, own[: options.loop], 0))
    looped, loop_seconds = timed(partial(mad_loop, substitute, some, own[: options.loop], mad.epsilon))
    difference = float((ours - looped).abs().max())
    print(
        f"MAD, {len(some)} images: loop {1e3 * loop_seconds:.0f} ms, ours {1e3 * seconds:.1f} ms, "
        f"{loop_seconds / seconds:.0f} times faster, answers differ by {difference:.0e}"
    )


if __name__ == "__main__":
    main()
