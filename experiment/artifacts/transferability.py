"""What the stolen model is worth to its attacker beyond accuracy, measured once an extraction."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from experiment.artifacts.base import Artifact, read_result
from experiment.artifacts.extraction import FinishedExtraction
from experiment.artifacts.victim import ServedVictim
from experiment.components import Cell
from experiment.keys import Config
from extraction.transferability import mean_divergence, pgd, share_misled
from storage.files import write_json
from storage.store import Entry
from training.fit import predict_logits
from training.seeds import generator
from victims.architectures.build import build_network
from victims.architectures.function import is_trainable

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Transferability(Artifact[dict[str, float | None]]):
    """`kl` and `transfer` of an extraction's last substitute (see `transferability`)."""

    victim: ServedVictim
    extraction: FinishedExtraction

    kind = "transferability"

    @property
    def identity(self) -> Config:
        """See Artifact."""
        return self.cell.identity.transferability

    def make(self, directory: Path) -> None:
        """Compare the answers of victim and substitute, and attack the victim by the substitute."""
        cell, victim = self.cell, self.victim.network
        log.info("measuring what the stolen model is worth: divergence and transfer of adversarial images")
        substitute = _substitute(cell, self.extraction.trace_path.with_name("substitute.pt"))
        images = cell.data.test.images
        logits = [predict_logits(network, images, cell.hardware) for network in (victim, substitute)]
        shared = _transferred(cell, substitute, victim)
        write_json(directory / "result.json", {"kl": mean_divergence(*logits), "transfer": shared})

    def load(self, entry: Entry) -> dict[str, float | None]:
        """The figures by their names."""
        return read_result(entry)


@dataclass(frozen=True, eq=False)
class WhiteBox(Artifact[dict[str, float | None]]):
    """`transfer_white_box` of a victim (see `transferability`)."""

    victim: ServedVictim

    kind = "white_box"

    @property
    def identity(self) -> Config:
        """See Artifact."""
        return self.cell.identity.white_box

    def make(self, directory: Path) -> None:
        """Attack the victim by its own network."""
        log.info("attacking the victim itself, to compare with")
        shared = _transferred(self.cell, self.victim.network, self.victim.network)
        write_json(directory / "result.json", {"transfer_white_box": shared})

    def load(self, entry: Entry) -> dict[str, float | None]:
        """The figure by its name."""
        return read_result(entry)


def transferability(
    cell: Cell, victim: ServedVictim, extraction: FinishedExtraction
) -> dict[str, float | None]:
    """`kl`, `transfer` and `transfer_white_box` of an extraction's last substitute, measured once.

    kl: mean KL(victim || substitute) over the test images, in nats. transfer: share of test images which the
    victim gets right that it gets wrong once PGD on the substitute has changed them; transfer_white_box: the
    same with PGD on the victim itself. Shares are None where the victim gets no image right,
    the last one also where the victim is a function without gradients.
    """
    by_substitute = Transferability(cell, victim, extraction).get()
    if not is_trainable(victim.network):
        log.info("the victim is a function without gradients, so transfer_white_box is left out")
        return by_substitute | {"transfer_white_box": None}
    return by_substitute | WhiteBox(cell, victim).get()


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
