"""Random selection from the pool: what active learning has to beat."""

from __future__ import annotations

from extraction.attacks.standard import Standard


class Random(Standard):
    """Asks about the pool in random order, no image twice; as `standard`, an honest user, does."""
