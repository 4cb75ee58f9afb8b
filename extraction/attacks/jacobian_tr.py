"""Targeted Jacobian augmentation, JBDA-TR (Juuti et al. 2019, "PRADA", section IV).

New images are made by a step towards a random class other than the answered one:
x + step * sign(dF_other/dx). The code of the proof-of-work paper's authors steps away from that class;
`towards: false` does the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

from extraction.attacks.base import Attacker
from extraction.attacks.jacobian import Jacobian
from storage.identity import stable_id
from storage.typed import Count, Positive


@stable_id("attack/jacobian_tr@2")
class JacobianTargeted(Jacobian):
    """Jacobian augmentation along the gradient of another class, or against it.

    Args:
        initial: Images of the pool to ask about first.
        step: Change of each pixel of an image, on the scale [0, 1].
        towards: Whether to step towards the other class; false: away from it.
    """

    def __init__(self, initial: Count, step: Positive, towards: bool = True) -> None:
        super().__init__(initial, step)
        self.step = step if towards else -step

    def classes(self, attacker: Attacker, labels: Tensor) -> Tensor:
        """Draw for each answered label another class, all equally likely."""
        offset = torch.randint(1, attacker.num_classes, labels.shape, generator=attacker.random("targets"))
        return (labels + offset.to(labels.device)) % attacker.num_classes
