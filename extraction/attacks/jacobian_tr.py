"""Targeted Jacobian augmentation, JBDA-TR (Juuti et al. 2019, "PRADA", section IV).

New images are steps towards a random class other than the one answered: x + step * sign(dF_other/dx). The
code of the proof-of-work paper's authors steps away from it, which `towards: false` does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from extraction.attacks.base import Attacker
from extraction.attacks.jacobian import Jacobian
from storage.identity import stable_id


@stable_id("attack/jacobian_tr")
class JacobianTargeted(Jacobian):
    """As Jacobian, along the gradient of another class, or against it."""

    def __init__(self, initial: int, step: float, towards: bool = True) -> None:
        super().__init__(initial, step)
        self.step = step if towards else -step

    def classes(self, attacker: Attacker, labels: Tensor) -> Tensor:
        """For each answer another class, all equally likely."""
        offset = torch.randint(1, attacker.num_classes, labels.shape, generator=attacker.random("targets"))
        return (labels + offset.to(labels.device)) % attacker.num_classes
