"""MAZE (Kariyappa et al. 2021): data-free extraction with more directions, and a replay of answers."""

from __future__ import annotations

from extraction.attacks.dfme import Dfme
from storage.identity import stable_id


@stable_id("attack/maze")
class Maze(Dfme):
    """Runs DFME's loop with MAZE's recipe: KL divergence, and student steps on earlier answers for free."""
