"""Attacks for tests of what disturbs a sweep: one fails, and others wait in their second round."""

from __future__ import annotations

import os
import time
from pathlib import Path

from torch import Tensor

from extraction.attacks.base import Attacker
from extraction.attacks.standard import Standard


class Raising(Standard):
    """Fails in its second round."""

    def queries(self, attacker: Attacker, count: int) -> Tensor:
        """See Standard."""
        if attacker.round == 2:
            raise RuntimeError("this attack was made to fail")
        return super().queries(attacker, count)


class Gated(Standard):
    """Waits in its second round, after choosing its queries, until its gate is opened."""

    def queries(self, attacker: Attacker, count: int) -> Tensor:
        """See Standard."""
        chosen = super().queries(attacker, count)
        gate = Path(os.environ["TOLLGATE_TEST_GATES"]) / type(self).__name__
        if attacker.round == 2:
            gate.with_suffix(".reached").touch()
            while not gate.exists():
                time.sleep(0.05)
        return chosen


class Cancelled(Gated):
    """Its job is cancelled."""


class Requeued(Gated):
    """Its job is requeued."""


class Late(Gated):
    """Its job reaches its time limit."""


class Plain(Standard):
    """Nothing happens to it."""
