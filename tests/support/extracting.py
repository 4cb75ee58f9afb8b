"""What extractions of the tests work with: a pool, an oracle that tells the truth, small networks."""

from __future__ import annotations

import torch
from hydra import compose, initialize_config_dir
from torch import nn

from extraction.attacks.base import Attack
from extraction.extract import Evaluation
from storage.options import instantiate
from support.commands import ROOT
from training.recipe import Hardware
from victims.datasets import digits
from victims.datasets.images import ImageSet
from victims.types import Answer, BudgetExhausted, QueryBatch

CPU = Hardware(accelerator="cpu", precision="32-true", channels_last=False)


def network(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, num_classes))


def pool() -> ImageSet:
    return digits.load((8, 8))["train"].select(slice(0, 500))


class TruthOracle:
    """Answers the truth about the pool's images, by looking them up; remembers who asked."""

    def __init__(self, budget: int = 10_000) -> None:
        self.batches: list[QueryBatch] = []
        self.budget = budget

    def query(self, batch: QueryBatch) -> Answer:
        if sum(map(len, self.batches)) + len(batch) > self.budget:
            raise BudgetExhausted(self.budget, 0)
        self.batches.append(batch)
        images = pool().images.flatten(1).float() / 255
        nearest = torch.cdist(batch.images.flatten(1), images).argmin(1)
        return Answer(pool().labels[nearest])


def evaluation() -> Evaluation:
    part = digits.load((8, 8))["train"].select(slice(500, 900))
    return Evaluation(part.images, part.labels, part.labels)


CONF = ROOT / "conf"


def configured(name: str) -> Attack:
    recipe = "attack.rule.recipe"
    # On images of 8x8 a shift of two pixels leaves little.
    small = [f"{recipe}.steps=300", f"{recipe}.augmentation.shift=0"] if name == "mixmatch" else []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [f"attack={name}", *small])
    attack: Attack = instantiate(config.attack.rule, "attack.rule")
    return attack
