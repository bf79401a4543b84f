"""Residual networks for small images: He et al. 2016, section 4.2, arXiv:1512.03385."""

import torch.nn.functional as F
from torch import Tensor, nn

from redistill.errors import RedistillError
from redistill.models.initialise import he_normal


def cifar_resnet(num_outputs: int, image_shape: tuple[int, int, int], *, depth: int) -> nn.Module:
    """ResNet of 6n + 2 layers (20, 32, 44, 56, 110) for small images, He et al. 2016, arXiv:1512.03385.

    Takes (B, C, H, W), gives (B, num_outputs). Shortcuts have no parameters (option A of the paper).

    Raises:
        RedistillError: `depth` is not 6n + 2, or the image has a side below 4 pixels.
    """
    inputs, height, width = image_shape
    if depth < 8 or depth % 6 != 2:
        raise RedistillError(f"cifar_resnet: depth must be 6n + 2, such as 20, 32, 44, 56 or 110; it is {depth}")
    if min(height, width) < 4:
        raise RedistillError(f"cifar_resnet: images need sides of at least 4 pixels; these are {height} x {width}")
    return CifarResNet(num_outputs, inputs, blocks=(depth - 2) // 6)


class CifarResNet(nn.Module):
    """Three layers of residual blocks. Taps, for 3 x 32 x 32:

    `conv1`, `layer1` (B, 16, 32, 32); `layer2` (B, 32, 16, 16); `layer3` (B, 64, 8, 8); `pool` (B, 64, 1, 1); `fc`.
    """

    def __init__(self, num_outputs: int, inputs: int, blocks: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _layer(16, 16, blocks, stride=1)
        self.layer2 = _layer(16, 32, blocks, stride=2)
        self.layer3 = _layer(32, 64, blocks, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, num_outputs)
        he_normal(self, self.fc)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(self.pool(x).flatten(1))
        return logits


class Block(nn.Module):
    """Two convolutions beside a shortcut: the input, thinned out by `stride`, with channels of zeros added."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.stride, self.added = stride, outputs - inputs
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.added:
            x = F.pad(x, (0, 0, 0, 0, 0, self.added))
        return F.relu(residual + x)


def _layer(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    first = Block(inputs, outputs, stride)
    return nn.Sequential(first, *(Block(outputs, outputs, 1) for _ in range(blocks - 1)))
