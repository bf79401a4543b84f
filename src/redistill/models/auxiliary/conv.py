"""A convolutional regressor between feature maps (Romero et al. 2015, arXiv:1412.6550)."""

from typing import Annotated

from annotated_types import Gt
from torch import nn

from redistill.errors import RedistillError


def conv(
    input_shape: tuple[int, ...], like_shape: tuple[int, ...] | None, *, channels: int | None = None,
    kernel: Annotated[int, Gt(0)] = 1, norm: bool = False, relu: bool = False,
) -> nn.Module:  # fmt: skip
    """Takes (B, C, H, W), gives (B, channels, H', W'); the stride is chosen to meet a smaller map that it is `like`.

    Raises:
        RedistillError: the tensors are no feature maps, or the sizes are no multiples.
    """
    target = like_shape or input_shape
    if len(input_shape) != 3 or len(target) != 3:
        raise RedistillError(f"`conv` maps (C, H, W) to (C, H, W), not {input_shape} to {target}")
    stride, rest = divmod(input_shape[1], target[1])
    if rest or stride < 1:
        raise RedistillError(f"`conv` cannot bring {input_shape} to the size of {target}: {input_shape[1]} rows are no "
                             f"multiple of {target[1]}")  # fmt: skip
    width = channels if channels is not None else target[0]
    layers: list[nn.Module] = [nn.Conv2d(input_shape[0], width, kernel, stride, padding=kernel // 2, bias=not norm)]
    layers += [nn.BatchNorm2d(width)] if norm else []
    layers += [nn.ReLU()] if relu else []
    return nn.Sequential(*layers)
