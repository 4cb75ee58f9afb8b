"""Networks for victims, teachers and substitutes; each factory takes `image_shape` and `num_classes`."""

from victims.architectures.build import Architecture, build_network

__all__ = ["Architecture", "build_network"]
