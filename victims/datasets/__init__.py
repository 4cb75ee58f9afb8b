"""Data sets: sources of images (a file for each kind), and how images are cut into splits."""

from victims.datasets.images import ImageSet
from victims.datasets.splits import Splits

__all__ = ["ImageSet", "Splits"]
