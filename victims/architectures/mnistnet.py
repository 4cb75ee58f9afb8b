"""MnistNetPate, the small convolutional network of the paper's MNIST victim and of its PATE teachers."""

from __future__ import annotations

from torch import nn

from storage.identity import stable_id


@stable_id("network/mnistnet")
def mnistnet(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Build two 5x5 convolutions (20, 50 channels) with 2x2 max pooling, then 500 hidden units.

    Raises ValueError for images below 16x16, which are too small for the second convolution and pooling.
    """
    channels, height, width = image_shape
    left_height, left_width = (((side - 4) // 2 - 4) // 2 for side in (height, width))
    if left_height < 1 or left_width < 1:
        raise ValueError(f"mnistnet takes images of 16x16 pixels or more, not {height}x{width}")
    # Pooling first gives the same result as ReLU first, and leaves ReLU a quarter of the work.
    return nn.Sequential(
        nn.Conv2d(channels, 20, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(20, 50, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(50 * left_height * left_width, 500),
        nn.ReLU(),
        nn.Linear(500, num_classes),
    )
