"""Copycat CNN (Correia-Silva et al. 2018): out-of-distribution images with the victim's labels."""

from __future__ import annotations

from extraction.attacks.knockoff import Knockoff
from storage.identity import stable_id


@stable_id("attack/copycat")
class Copycat(Knockoff):
    """Asks as Knockoff does; its configuration asks for labels instead of probabilities."""
