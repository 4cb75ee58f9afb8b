"""Extraction attacks: one file each."""

from extraction.attacks.base import Attack, QueryAttack, Thief

__all__ = ["Attack", "QueryAttack", "Thief"]
