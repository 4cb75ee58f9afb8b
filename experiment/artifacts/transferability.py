"""What the stolen model is worth to its attacker beyond accuracy, measured once an extraction."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from experiment.artifacts.stages import FinishedExtraction, ServedVictim, Stages
from experiment.components import Cell
from extraction.transferability import mean_divergence, pgd, share_misled
from storage.files import write_json
from training.fit import predict_logits
from training.seeds import generator
from victims.architectures.build import build_network

log = logging.getLogger(__name__)


def transferability(
    stages: Stages, victim: ServedVictim, extraction: FinishedExtraction
) -> dict[str, float | None]:
    """`kl`, `transfer` and `transfer_white_box` of an extraction's last substitute, measured once.

    kl: mean KL(victim || substitute) over the test images, in nats. transfer: share of test images which the
    victim gets right that it gets wrong once PGD on the substitute has changed them; transfer_white_box: the
    same with PGD on the victim itself. Shares are None where the victim gets no image right.
    """
    cell = stages.cell

    def make(directory: Path) -> None:
        log.info("measuring what the stolen model is worth: divergence and transfer of adversarial images")
        substitute = _substitute(cell, extraction.trace_path.with_name("substitute.pt"))
        logits = [
            predict_logits(network, cell.data.test.images, cell.hardware)
            for network in (victim.network, substitute)
        ]
        shared = _transferred(cell, substitute, victim.network)
        write_json(directory / "result.json", {"kl": mean_divergence(*logits), "transfer": shared})

    def make_white_box(directory: Path) -> None:
        log.info("attacking the victim itself, to compare with")
        shared = _transferred(cell, victim.network, victim.network)
        write_json(directory / "result.json", {"transfer_white_box": shared})

    identity, store = cell.identity, stages.store
    entries = (
        store.get("transferability", identity.transferability, make),
        store.get("white_box", identity.white_box, make_white_box),
    )
    found: dict[str, float | None] = {}
    for entry in entries:
        found |= json.loads((entry.path / "result.json").read_text())
    return found


def _substitute(cell: Cell, path: Path) -> nn.Module:
    """The substitute whose weights an extraction left."""
    classes = cell.data.train.num_classes
    network = build_network(cell.substitute.architecture, cell.pool.image_shape, classes, cell.pool.images)
    network.load_state_dict(torch.load(path, weights_only=True))
    return cell.hardware.place(network).eval()


def _transferred(cell: Cell, attacked: nn.Module, victim: nn.Module) -> float | None:
    """Share of the chosen test images that mislead the victim after PGD on the network `attacked`."""
    images, labels = _rightly_classified(cell, victim)
    if not len(images):
        return None
    random = generator(cell.config["seed"], "adversarial start")
    adversarial = pgd(attacked, images, labels, cell.transfer, cell.hardware, random)
    return share_misled(victim, adversarial, labels, cell.hardware)


def _rightly_classified(cell: Cell, victim: nn.Module) -> tuple[Tensor, Tensor]:
    """Random test images which the victim gets right, with their labels: as many as the settings say."""
    test = cell.data.test
    labels = test.labels.cpu()
    is_right = predict_logits(victim, test.images, cell.hardware).argmax(1).cpu() == labels
    order = torch.randperm(len(labels), generator=generator(cell.config["seed"], "adversarial images"))
    chosen = order[is_right[order]][: cell.transfer.images]
    return test.images[chosen], labels[chosen]
