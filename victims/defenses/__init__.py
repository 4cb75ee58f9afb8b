"""Defences: one file each, mounted under `defense.<name>` in the config, stacked in the given order."""

from victims.defenses.base import Defense

__all__ = ["Defense"]
