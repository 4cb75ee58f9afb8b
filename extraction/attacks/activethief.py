"""ActiveThief (Pal et al. 2020), with its combined strategy: close to the boundary, then far from each other.

DeepFool finds the images that lie nearest to the substitute's decision boundary, more than a round has. Of
these, greedy k-center takes those that lie farthest from all that were asked, in the substitute's
probabilities.
"""

from __future__ import annotations

from torch import Tensor

from extraction.attacks.base import Attacker
from extraction.attacks.deepfool import DeepFool
from extraction.attacks.k_center import k_center
from storage.identity import stable_id
from storage.typed import Count, NonNegative, check_declared
from training.fit import predict_logits


@stable_id("attack/activethief")
class ActiveThief(DeepFool):
    """Asks about images near the boundary that lie far from each other.

    Args:
        subset: Images near the boundary among which is chosen, in rounds' sizes.
        candidates: See DeepFool, of the subset.
        steps: See DeepFool.
        overshoot: See DeepFool.

    Raises:
        ValueError: An option is out of range.
    """

    def __init__(
        self,
        subset: Count = 3,
        candidates: Count | None = 3,
        steps: Count = 20,
        overshoot: NonNegative = 0.02,
    ) -> None:
        super().__init__(candidates, steps, overshoot)
        self.subset = subset
        check_declared(self, "attack.rule")

    def choose(self, attacker: Attacker, left: Tensor, count: int) -> Tensor:
        """Choose `count` images of the subset by k-center around those asked before."""
        near = super().choose(attacker, left, self.subset * count).cpu()
        points, centers = (self._probabilities(attacker, index) for index in (left[near], self.asked))
        return near[k_center(points, centers, min(count, len(near))).cpu()]

    def _probabilities(self, attacker: Attacker, index: Tensor) -> Tensor:
        """The substitute's answers to images of the pool, float64 `[n, classes]`."""
        assert attacker.substitute is not None
        images = attacker.pool.images[index.to(attacker.pool.images.device)]
        return predict_logits(attacker.substitute, images, attacker.hardware).double().softmax(1)
