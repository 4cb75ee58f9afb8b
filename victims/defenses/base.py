"""What every defence is."""

from __future__ import annotations

from typing import Protocol

from victims.types import Oracle


class Defense(Protocol):
    """A wrapper of the victim's oracle that keeps the oracle's interface."""

    changes_answers: bool
    """Whether an attack can see this defence in its answers; if not, it shares extractions with `none`."""

    def wrap(self, oracle: Oracle) -> Oracle:
        """The defended oracle."""
        ...
