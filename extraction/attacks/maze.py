"""MAZE (Kariyappa et al. 2021): data-free extraction with more directions, and a replay of answers."""

from __future__ import annotations

from extraction.attacks.dfme import Dfme
from storage.identity import stable_id


@stable_id("attack/maze@2")
class Maze(Dfme):
    """Runs DFME's loop with MAZE's recipe: KL divergence, and student steps on earlier answers for free.

    All earlier answers are kept for these (Algorithm 1). Student and generator are trained by SGD, and their
    rates fall to 0 along a cosine, as in the authors' code, where the first student step learns from the
    images of the generator's, too.
    """
