"""LeNet-5 with ReLUs (LeCun et al. 1998), the MNIST victim of the data-free attack."""

from __future__ import annotations

from torch import nn

from storage.identity import stable_id


@stable_id("network/lenet5")
def lenet5(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Build 5x5 convolutions of 6, 16 and 120 channels (the first padded by two), then 84 hidden units.

    Raises ValueError for images below 28x28, which are too small for the third convolution.
    """
    channels, height, width = image_shape
    left_height, left_width = ((side // 2 - 4) // 2 - 4 for side in (height, width))
    if left_height < 1 or left_width < 1:
        raise ValueError(f"lenet5 takes images of 28x28 pixels or more, not {height}x{width}")
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 120, 5),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(120 * left_height * left_width, 84),
        nn.ReLU(),
        nn.Linear(84, num_classes),
    )
