"""SwiftThief (Lee, Han, Lee 2024, "SwiftThief: Enhancing Query Efficiency of Model Stealing by Contrastive
Learning").

The substitute's features are learned from all images of the pool, asked about or not (see
`extraction.learning.contrastive`), before it is fitted to the answers. It asks where it is least sure, until
the budget that is left is needed to fill up the classes that were answered rarely.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from extraction.attacks.base import Ask, Attacker
from extraction.attacks.entropy import entropy
from extraction.attacks.k_center import features
from extraction.attacks.pretrained import last_layer
from extraction.attacks.selection import PoolSelection
from extraction.learning.contrastive import ContrastiveBatches, ContrastiveRecipe, Heads
from storage.identity import stable_id
from storage.typed import Count, Positive, check_declared
from training.fit import predict_logits
from training.recipe import Recipe
from training.seeds import derive_seed, seeded


@stable_id("attack/swiftthief")
class SwiftThief(PoolSelection):
    """Learns from images that it has not asked about, too.

    Args:
        recipe: How features are learned.
        budget: Queries of the whole extraction.
        bandwidth: Of the kernel that tells how close an image lies to the rarest class.
        parts: Parts of a round that fills up classes; after each, the rarest class is found again.

    Raises:
        ValueError: An option is out of range.
    """

    def __init__(
        self, recipe: ContrastiveRecipe, budget: Count, bandwidth: Positive = 0.5, parts: Count = 5
    ) -> None:
        super().__init__()
        self.recipe, self.budget, self.bandwidth, self.parts = recipe, budget, bandwidth, parts
        check_declared(self, "attack.rule")
        self.labels = torch.zeros(0, dtype=torch.int64)
        self.heads: dict[str, Tensor] | None = None

    def check_substitute(self, network: nn.Module) -> None:
        """See Attack: features are what goes into a last linear layer."""
        if not isinstance(last_layer(network), nn.Linear):
            raise ValueError("attack=swiftthief needs a substitute that ends with a linear layer")

    def run_round(self, attacker: Attacker, ask: Ask, count: int) -> None:
        """Ask the round's queries; in parts where rare classes are filled up."""
        parts = min(self.parts if self._fills_up(attacker) else 1, count)
        for number in range(parts):
            size = (number + 1) * count // parts - number * count // parts
            answer = ask(self.queries(attacker, size))
            self.labels = torch.cat([self.labels, answer.labels.cpu()])

    def _fills_up(self, attacker: Attacker) -> bool:
        """Whether what is left of the budget is needed for rare classes (the paper's equation 8)."""
        counts = torch.bincount(self.labels, minlength=attacker.num_classes).double()
        rare = counts[counts < counts.mean()]
        left = self.budget - len(self.labels)
        return bool(len(rare)) and left <= float((counts.mean() - rare).sum())

    def choose(self, attacker: Attacker, left: Tensor, count: int) -> Tensor:
        """Choose where the substitute is least sure, or close to the class that was answered least often."""
        assert attacker.substitute is not None
        images = attacker.pool.images
        candidates = images[left.to(images.device)]
        if not self._fills_up(attacker):
            logits = predict_logits(attacker.substitute, candidates, attacker.hardware)
            return entropy(logits).argsort(descending=True, stable=True)
        known = self.asked[: len(self.labels)][self.labels == self._rarest(attacker)]
        points, centers = (
            features(attacker.substitute, each, attacker.hardware).double()
            for each in (candidates, images[known.to(images.device)])
        )
        parts = [torch.cdist(part, centers).square() for part in points.split(attacker.hardware.batch_size)]
        closeness = (-torch.cat(parts) / (2 * self.bandwidth**2)).logsumexp(1)
        return closeness.argsort(descending=True, stable=True)

    def _rarest(self, attacker: Attacker) -> int:
        """The class with the fewest answers of those that have any."""
        counts = torch.bincount(self.labels, minlength=attacker.num_classes)
        return int(torch.where(counts > 0, counts, counts.max() + 1).argmin())

    def train(self, attacker: Attacker, network: nn.Module, recipe: Recipe) -> None:
        """Learn features by contrast, then fit the network to the answers by the substitute's recipe."""
        from extraction.learning.loops.contrastive import fit_contrastive

        last, known, device = last_layer(network), attacker.transfer_set, attacker.hardware.device
        assert isinstance(last, nn.Linear)
        answers = known.targets
        if answers.dim() == 1:
            answers = nn.functional.one_hot(answers, attacker.num_classes).float()
        is_left = ~torch.isin(torch.arange(len(attacker.pool)), self.asked)
        others = attacker.pool.images[is_left.to(attacker.pool.images.device)]
        seed = derive_seed(attacker.seed, "contrastive learning", attacker.round)
        unasked = (others if len(others) else attacker.pool.images).to(device)
        batches = ContrastiveBatches(unasked, known.images, answers, self.recipe, seed)
        with seeded(attacker.seed, "heads"):
            heads = Heads(last.in_features, self.recipe.width)
        if self.heads is not None:
            heads.load_state_dict(self.heads)
        fit_contrastive(network, last, heads, batches, attacker.hardware, seed)
        self.heads = {name: value.detach().cpu().clone() for name, value in heads.state_dict().items()}
        super().train(attacker, network, recipe)

    def state_dict(self) -> dict[str, Any]:
        """Return what was asked and answered, and the heads."""
        return super().state_dict() | {"labels": self.labels, "heads": self.heads}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        self.labels, self.heads = state["labels"].cpu(), state["heads"]
