"""Extraction attacks: one file each."""

from extraction.attacks.base import Attack, Attacker, QueryAttack

__all__ = ["Attack", "Attacker", "QueryAttack"]
