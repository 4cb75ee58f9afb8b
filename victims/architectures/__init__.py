"""Networks of victims, teachers and substitutes; a factory takes `image_shape` and `num_classes`."""

from victims.architectures.build import Architecture, build_network

__all__ = ["Architecture", "build_network"]
