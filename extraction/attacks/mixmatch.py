"""Semi-supervised extraction with MixMatch (Berthelot et al. 2019; Jagielski et al. 2020 for extraction).

The attacker asks about a few images of its pool. The substitute learns from their answers, and from all
other images of the pool, for which it pays nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from extraction.attacks.base import Attacker, QueryAttack, random_pool_images
from extraction.learning.mixmatch import MixMatchRecipe
from storage.identity import stable_id
from training.recipe import Recipe
from training.seeds import derive_seed


@stable_id("attack/mixmatch")
class MixMatchExtraction(QueryAttack):
    """Asks random queries, and trains by MixMatch on their answers and on the whole pool without labels."""

    def __init__(self, recipe: MixMatchRecipe) -> None:
        self.recipe = recipe

    def queries(self, attacker: Attacker, count: int) -> Tensor:
        """Choose the next `count` images of the pool's random order."""
        return random_pool_images(attacker, count)

    def train(self, attacker: Attacker, network: nn.Module, recipe: Recipe) -> None:
        """Train `network` in place by this attack's own recipe; the substitute's `recipe` is not used."""
        from extraction.learning.loops.mixmatch import fit_mixmatch

        known = attacker.transfer_set
        targets = known.targets
        if targets.dim() == 1:
            targets = torch.nn.functional.one_hot(targets, attacker.num_classes).float()
        fit_mixmatch(
            network,
            known.images,
            targets,
            attacker.pool.images,
            self.recipe,
            attacker.hardware,
            derive_seed(attacker.seed, "substitute training", attacker.round),
        )
