"""The defenses of a cell that change answers, completed for its victim; what they train is in the store."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from experiment.components import Cell
from extraction.recovery import Imagine
from storage.files import write_json
from storage.store import Store
from training.fit import accuracy, fit, predict_logits
from training.reverse import reverse_cross_entropy
from training.seeds import derive_seed, seeded
from victims.answers import limited, perturbed
from victims.architectures.build import build_network
from victims.defenses.base import DefendedVictim, MisinformerSettings, Perturb
from victims.types import Answer

log = logging.getLogger(__name__)


def bind_perturbations(cell: Cell, store: Store, network: nn.Module, seed: int) -> list[Perturb]:
    """What changes the answers of the victim `network`, in the stack's order; random choices by `seed`."""

    def misinformer(settings: MisinformerSettings) -> nn.Module:
        return stored_misinformer(cell, store, settings)

    victim = DefendedVictim(network, cell.data.train, cell.hardware, seed, misinformer)
    return [perturbation.bind(victim) for perturbation in cell.stack.perturbations]


def imagined_defense(cell: Cell, store: Store, network: nn.Module) -> Imagine:
    """What a service defended like this one would answer, for an attacker that is said to know the defense.

    It knows what the defense has trained, but not its random choices.
    """
    seed = derive_seed(cell.config["seed"], "imagined defence")
    perturbations = bind_perturbations(cell, store, network, seed)
    settings = cell.settings

    def imagine(images: Tensor, probabilities: Tensor, first: int) -> Answer:
        changed = perturbed(perturbations, images, probabilities, first)
        return limited(changed, settings.answers, settings.top_k)

    return imagine


def stored_misinformer(cell: Cell, store: Store, settings: MisinformerSettings) -> nn.Module:
    """The network that a defense misinforms by, trained once for its data, architecture, recipe and seed."""
    train, hardware = cell.data.train, cell.hardware

    def build() -> nn.Module:
        with seeded(settings.seed, "misinformer"):
            return build_network(settings.architecture, train.image_shape, train.num_classes, train.images)

    def make(directory: Path) -> None:
        started = time.perf_counter()
        log.info("training the network that misinforms on %d images", len(train))
        network, seed = build(), derive_seed(settings.seed, "misinformer training")
        fit(network, train.images, train.labels, settings.recipe, hardware, seed, loss=reverse_cross_entropy)
        torch.save(network.state_dict(), directory / "weights.pt")
        right = accuracy(predict_logits(network, train.images, hardware), train.labels)
        seconds = time.perf_counter() - started
        write_json(directory / "result.json", {"train_accuracy": right, "seconds": seconds})

    identity = cell.identity.misinformer
    assert identity is not None, "it is asked for by the defense that configures it"
    entry = store.get("misinformers", identity, make)
    network = build()
    network.load_state_dict(torch.load(entry.path / "weights.pt", weights_only=True))
    return hardware.place(network).eval()
