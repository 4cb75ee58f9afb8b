"""Extraction attacks; each has a file of its own."""

from extraction.attacks.base import Attack, Attacker, QueryAttack

__all__ = ["Attack", "Attacker", "QueryAttack"]
