"""Densely connected networks for small images: Huang et al. 2017, arXiv:1608.06993."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redistill.errors import RedistillError
from redistill.models.initialise import he_normal


def densenet_bc(
    num_outputs: int,
    image_shape: tuple[int, int, int],
    *,
    depth: int = 100,
    growth: int = 12,
    compression: float = 0.5,
    dropout: float = 0.0,
) -> nn.Module:
    """DenseNet-BC of three dense blocks for small images, Huang et al. 2017, arXiv:1608.06993.

    Takes (B, C, H, W), gives (B, num_outputs). `depth` is 6n + 4 (100, 190, 250), `growth` the channels that a layer
    adds, `compression` the part of the channels that a transition keeps. `dropout` follows each convolution but the
    first.

    Raises:
        RedistillError: a setting is out of its range, or the image has a side below 4 pixels.
    """
    inputs, height, width = image_shape
    if depth < 10 or depth % 6 != 4:
        raise RedistillError(f"densenet_bc: depth must be 6n + 4, such as 100, 190 or 250; it is {depth}")
    if growth < 1:
        raise RedistillError(f"densenet_bc: growth must be at least 1; it is {growth}")
    if not 0 < compression <= 1:
        raise RedistillError(f"densenet_bc: compression must be above 0 and at most 1; it is {compression}")
    if min(height, width) < 4:
        raise RedistillError(f"densenet_bc: images need sides of at least 4 pixels; these are {height} x {width}")
    return DenseNetBC(num_outputs, inputs, (depth - 4) // 6, growth, compression, dropout)


class DenseNetBC(nn.Module):
    """Dense blocks with transitions between them. Taps, for 3 x 32 x 32, depth 100, growth 12 and compression 0.5:

    `conv1` (B, 24, 32, 32); `layer1` (B, 216, 32, 32); `transition1` (B, 108, 16, 16); `layer2` (B, 300, 16, 16);
    `transition2` (B, 150, 8, 8); `layer3` (B, 342, 8, 8); `bn` the same; `pool` (B, 342, 1, 1); `fc`.
    """

    def __init__(self, num_outputs: int, inputs: int, layers: int, growth: int, compression: float, dropout: float):
        super().__init__()
        added = layers * growth
        channels = 2 * growth
        self.conv1 = nn.Conv2d(inputs, channels, 3, padding=1, bias=False)
        self.layer1 = _block(channels, layers, growth, dropout)
        channels, wide = _kept(channels + added, compression), channels + added
        self.transition1 = Transition(wide, channels, dropout)
        self.layer2 = _block(channels, layers, growth, dropout)
        channels, wide = _kept(channels + added, compression), channels + added
        self.transition2 = Transition(wide, channels, dropout)
        self.layer3 = _block(channels, layers, growth, dropout)
        self.bn = nn.BatchNorm2d(channels + added)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels + added, num_outputs)
        he_normal(self, self.fc)

    def forward(self, x: Tensor) -> Tensor:
        x = self.transition1(self.layer1(self.conv1(x)))
        x = self.layer3(self.transition2(self.layer2(x)))
        logits: Tensor = self.fc(self.pool(F.relu(self.bn(x))).flatten(1))
        return logits


class DenseLayer(nn.Module):
    """Adds `growth` channels to its input, computed through a bottleneck of four times as many."""

    def __init__(self, inputs: int, growth: int, dropout: float):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        new = self.dropout(self.conv1(F.relu(self.bn1(x))))
        new = self.dropout(self.conv2(F.relu(self.bn2(new))))
        return torch.cat([x, new], dim=1)


class Transition(nn.Module):
    """Fewer channels by a 1 x 1 convolution, then half the sides by averaging."""

    def __init__(self, inputs: int, outputs: int, dropout: float):
        super().__init__()
        self.bn = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.dropout(self.conv(F.relu(self.bn(x)))), 2)


def _block(inputs: int, layers: int, growth: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(*(DenseLayer(inputs + index * growth, growth, dropout) for index in range(layers)))


def _kept(channels: int, compression: float) -> int:
    return max(1, int(channels * compression))
