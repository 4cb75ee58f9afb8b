"""Images: where they come from, how they are cut into splits; one file each kind of source."""

from victims.datasets.images import ImageSet
from victims.datasets.splits import Splits

__all__ = ["ImageSet", "Splits"]
