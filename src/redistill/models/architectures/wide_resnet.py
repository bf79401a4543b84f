"""Wide residual networks for small images: Zagoruyko and Komodakis 2016, arXiv:1605.07146."""

import torch.nn.functional as F
from torch import Tensor, nn

from redistill.errors import RedistillError
from redistill.models.initialise import he_normal


def wide_resnet(
    num_outputs: int, image_shape: tuple[int, int, int], *, depth: int, width: int, dropout: float = 0.0
) -> nn.Module:
    """WRN-depth-width for small images, Zagoruyko and Komodakis 2016, arXiv:1605.07146.

    Takes (B, C, H, W), gives (B, num_outputs). `depth` is 6n + 4 (16, 22, 28, 40), `width` multiplies the channels of a
    ResNet (16, 32, 64), and `dropout` is between the two convolutions of a block.

    Raises:
        RedistillError: `depth` is not 6n + 4, `width` is below 1, or the image has a side below 4 pixels.
    """
    inputs, rows, columns = image_shape
    if depth < 10 or depth % 6 != 4:
        raise RedistillError(f"wide_resnet: depth must be 6n + 4, such as 16, 22, 28 or 40; it is {depth}")
    if width < 1:
        raise RedistillError(f"wide_resnet: width must be at least 1; it is {width}")
    if min(rows, columns) < 4:
        raise RedistillError(f"wide_resnet: images need sides of at least 4 pixels; these are {rows} x {columns}")
    return WideResNet(num_outputs, inputs, (depth - 4) // 6, width, dropout)


class WideResNet(nn.Module):
    """Three layers of blocks that normalise first. Taps, for 3 x 32 x 32 and width k:

    `conv1` (B, 16, 32, 32); `layer1` (B, 16k, 32, 32); `layer2` (B, 32k, 16, 16); `layer3` (B, 64k, 8, 8); `pool`
    (B, 64k, 1, 1); `fc`. The outputs of the layers are not normalised yet; that of `bn` is.
    """

    def __init__(self, num_outputs: int, inputs: int, blocks: int, width: int, dropout: float):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, 16, 3, padding=1, bias=False)
        self.layer1 = _layer(16, 16 * width, blocks, 1, dropout)
        self.layer2 = _layer(16 * width, 32 * width, blocks, 2, dropout)
        self.layer3 = _layer(32 * width, 64 * width, blocks, 2, dropout)
        self.bn = nn.BatchNorm2d(64 * width)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64 * width, num_outputs)
        he_normal(self, self.fc)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        logits: Tensor = self.fc(self.pool(F.relu(self.bn(x))).flatten(1))
        return logits


class Block(nn.Module):
    """Normalise, ReLU, convolve, twice; the shortcut is a 1 x 1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = None
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        if self.shortcut is not None:
            x = self.shortcut(active)
        residual = self.conv2(self.dropout(F.relu(self.bn2(self.conv1(active)))))
        return x + residual


def _layer(inputs: int, outputs: int, blocks: int, stride: int, dropout: float) -> nn.Sequential:
    first = Block(inputs, outputs, stride, dropout)
    return nn.Sequential(first, *(Block(outputs, outputs, 1, dropout) for _ in range(blocks - 1)))
