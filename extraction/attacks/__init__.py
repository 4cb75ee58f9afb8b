"""Extraction attacks: one file each."""

from extraction.attacks.base import Attack, Thief

__all__ = ["Attack", "Thief"]
