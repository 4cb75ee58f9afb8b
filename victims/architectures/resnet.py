"""Residual networks (He et al. 2016) for small images.

`resnet10`, `resnet18` and `resnet34` have the form for 32x32 images that the data-free extraction papers
call "8x": a 3x3 stem without pooling and four stages, so that 32 pixels become 4 (eight times fewer).
`resnet8` has three stages of one block, for training on CPUs.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from storage.identity import stable_id
from storage.typed import Count


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is projected if the shape changes.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        stride: Stride of the first convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output after its ReLU."""
        return nn.functional.relu(self.residual(x) + self.shortcut(x))


def _resnet(
    image_shape: tuple[int, int, int], num_classes: int, blocks: Sequence[int], width: int
) -> nn.Module:
    """Build a stem, stages of so many `blocks` (`width` channels, doubled in each stage), and a head."""
    stem = [nn.Conv2d(image_shape[0], width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    layers: list[nn.Module] = []
    inputs = width
    for stage, count in enumerate(blocks):
        outputs = width * 2**stage
        for block in range(count):
            layers.append(BasicBlock(inputs, outputs, stride=2 if stage and block == 0 else 1))
            inputs = outputs
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, num_classes)]
    return nn.Sequential(*stem, *layers, *head)


@stable_id("network/resnet8")
def resnet8(image_shape: tuple[int, int, int], num_classes: int, width: Count = 32) -> nn.Module:
    """Build three stages of one block; the first has `width` channels."""
    return _resnet(image_shape, num_classes, (1, 1, 1), width)


@stable_id("network/resnet10")
def resnet10(image_shape: tuple[int, int, int], num_classes: int, width: Count = 64) -> nn.Module:
    """Build four stages of one block; the first has `width` channels."""
    return _resnet(image_shape, num_classes, (1, 1, 1, 1), width)


@stable_id("network/resnet18")
def resnet18(image_shape: tuple[int, int, int], num_classes: int, width: Count = 64) -> nn.Module:
    """Build four stages of two blocks; the first has `width` channels."""
    return _resnet(image_shape, num_classes, (2, 2, 2, 2), width)


@stable_id("network/resnet34")
def resnet34(image_shape: tuple[int, int, int], num_classes: int, width: Count = 64) -> nn.Module:
    """Build four stages of 3, 4, 6 and 3 blocks; the first has `width` channels."""
    return _resnet(image_shape, num_classes, (3, 4, 6, 3), width)
