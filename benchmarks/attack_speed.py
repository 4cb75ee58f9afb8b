"""How long attacks take to choose their queries: Jacobian augmentation, and k-center selection.

    python -m benchmarks.attack_speed [--images 1000] [--pool 60000] [--dimensions 500]

Each is compared with the plain loop that one would write first. For augmentation that is ten backward passes
for each image (the whole Jacobian, of which one row is used); for selection it is an update of every distance
for each center. Images have MNIST's shape, and the network is the one that the paper trains on MNIST.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from extraction.attacks.jacobian import label_gradient
from extraction.attacks.k_center import k_center
from training.recipe import Hardware
from victims.architectures.mnistnet import mnistnet

IMAGE_SHAPE = (1, 28, 28)
CLASSES = 10


def jacobian_loop(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Do what `label_gradient` does by each image's whole Jacobian, with a backward pass for each class."""
    rows = []
    for image, label in zip(images, labels.tolist(), strict=True):
        inputs = image[None].clone().requires_grad_(True)
        logits = network(inputs)[0]
        jacobian = [torch.autograd.grad(logit, inputs, retain_graph=True)[0] for logit in logits]
        rows.append(jacobian[label])
    return torch.cat(rows)


def k_center_loop(points: Tensor, centers: Tensor, count: int) -> Tensor:
    """Do what `k_center` does by the distance of every point to each chosen one."""
    nearest = torch.cdist(points, centers).amin(1)
    chosen: list[int] = []
    for _ in range(count):
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (points - points[chosen[-1]]).norm(dim=1))
    return torch.tensor(chosen)


def timed(work: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """Return the result of `work`, and its seconds."""
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def clustered(count: int, dimensions: int, random: torch.Generator) -> Tensor:
    """Draw points `[count, dimensions]` around ten means; none is negative, as features after a ReLU."""
    means = 2 * torch.randn(CLASSES, dimensions, generator=random)
    noise = torch.randn(count, dimensions, generator=random)
    return (means[torch.randint(CLASSES, (count,), generator=random)] + noise).relu()


def add_row(table: Table, name: str, ours: float, loop: float, agreement: str) -> None:
    """Add a line: seconds of both, how many times faster, and whether the results agree."""
    table.add_row(name, f"{loop:.3g}", f"{ours:.3g}", f"{loop / ours:.1f}", agreement)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--pool", type=int, default=60_000)
    parser.add_argument("--chosen", type=int, default=1000)
    parser.add_argument("--dimensions", type=int, default=500)
    options = parser.parse_args()
    random = torch.Generator().manual_seed(0)
    table = Table(title=f"Choosing queries, {torch.get_num_threads()} threads")
    table.add_column("step")
    for name in ("loop, s", "ours, s", "times faster", "results"):
        table.add_column(name, justify="right")

    hardware = Hardware(accelerator="cpu")
    network = hardware.place(mnistnet(IMAGE_SHAPE, CLASSES)).eval()
    images = torch.rand(options.images, *IMAGE_SHAPE, generator=random)
    labels = torch.randint(CLASSES, (options.images,), generator=random)
    label_gradient(network, images, labels, hardware)  # warm-up: the first call initialises libraries
    ours, seconds = timed(lambda: label_gradient(network, images, labels, hardware))
    theirs, loop_seconds = timed(lambda: jacobian_loop(network, images, labels))
    difference = float((ours - theirs).abs().max() / theirs.abs().max())
    add_row(
        table, f"Jacobian step, {options.images:,} images", seconds, loop_seconds, f"differ {difference:.0e}"
    )

    points = clustered(options.pool, options.dimensions, random)
    centers = points[:100]
    chosen, seconds = timed(lambda: k_center(points, centers, options.chosen))
    looped, loop_seconds = timed(lambda: k_center_loop(points, centers, options.chosen))
    same = float((chosen == looped).double().mean())
    add_row(
        table,
        f"k-center, {options.chosen:,} of {options.pool:,}",
        seconds,
        loop_seconds,
        f"{100 * same:.0f} % equal",
    )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
