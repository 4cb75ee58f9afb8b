"""Copycat CNN (Correia-Silva et al. 2018): foreign images, and the labels that the victim gives them."""

from __future__ import annotations

from extraction.attacks.knockoff import Knockoff
from storage.identity import stable_id


@stable_id("attack/copycat")
class Copycat(Knockoff):
    """Asks about an out-of-distribution pool in random order, as Knockoff, but learns from hard labels."""
