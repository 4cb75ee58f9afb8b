"""What an honest user loses by the defenses of a cell, measured once for its victim."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiment.artifacts.base import Artifact, read_result
from experiment.artifacts.defending import bind_perturbations, bind_watching
from experiment.artifacts.honest_users import HONEST_IMAGES, honest_sample
from experiment.artifacts.losses import WATCHED_USERS, answer_losses, defended, watch_losses
from experiment.artifacts.victim import ServedVictim
from experiment.keys import Config
from experiment.pricing.bills import Surcharge
from storage.files import write_json
from storage.store import Entry
from training.batches import to_float
from training.seeds import generator

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class UtilityLoss(Artifact[dict[str, Any]]):
    """The losses under the cell's defenses: see `answer_losses` and `watch_losses`.

    `false_alarms` is None where no defense watches, and of what else is told of alarms there is nothing.
    """

    victim: ServedVictim

    kind = "utility_loss"

    @property
    def identity(self) -> Config:
        """See Artifact."""
        return self.cell.identity.utility_loss(min(self.cell.settings.budget, HONEST_IMAGES))

    def make(self, directory: Path) -> None:
        """Have honest users ask, and compare what they get with what the network says."""
        cell, seed, test = self.cell, self.cell.config["seed"], self.cell.data.test
        sample = honest_sample(test, generator(seed, "honest"))
        images = to_float(test.images[sample].to(cell.hardware.device))
        log.info("measuring what honest users lose by the defenses on %d test images", len(images))
        own = self.victim.log_probabilities(images).exp()
        perturbations = bind_perturbations(cell, self.victim)
        answers = defended(perturbations, images, own, cell.hardware.batch_size)
        losses: dict[str, Any] = {"images": len(images), **answer_losses(own, answers, test.labels[sample])}
        losses |= {"false_alarms": None, "refused": 0.0}
        if (watching := bind_watching(cell, self.victim)) is not None:
            random = generator(seed, "watched users")
            losses |= watch_losses(watching, images, answers, cell.settings.budget, random)
        write_json(directory / "result.json", losses)

    def load(self, entry: Entry) -> dict[str, Any]:
        """The figures by their names."""
        return read_result(entry)

    def surcharge(self) -> Surcharge | None:
        """What false alarms raise an honest user's toll by; None where no alarm does."""
        factor = self.cell.stack.surcharge
        if factor == 1:
            return None
        found = self.get()
        after, until = (
            np.array(found[f"false_alarms_{when}"], dtype=np.int64) for when in ("after", "until")
        )
        return Surcharge(factor, after, WATCHED_USERS, until)
