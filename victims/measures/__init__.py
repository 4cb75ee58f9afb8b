"""Privacy measures of a served victim: one file each, mounted under `privacy.measures` in the config."""

from victims.measures.base import Measure, MeasuredVictim

__all__ = ["Measure", "MeasuredVictim"]
