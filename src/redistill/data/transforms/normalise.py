"""Bring an image's channels to mean 0 and deviation 1, as far as those of its data set are known."""

import torch
from torchvision.transforms import v2


def normalise(*, mean: list[float], std: list[float]) -> v2.Transform:
    """(x - `mean`) / `std` by channel, of pixels in [0, 1]."""
    return v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])
