"""MAZE (Kariyappa et al. 2021): data-free extraction with more directions, and answers that are replayed."""

from __future__ import annotations

from extraction.attacks.dfme import Dfme
from storage.identity import stable_id


@stable_id("attack/maze")
class Maze(Dfme):
    """As Dfme, with the Kullback-Leibler divergence, and steps on earlier answers, which cost no query."""
