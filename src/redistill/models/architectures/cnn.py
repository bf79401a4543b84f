"""A plain convolutional network for small images."""

from torch import nn

from redistill.errors import RedistillError


def cnn(
    num_outputs: int,
    image_shape: tuple[int, int, int],
    *,
    channels: list[int],
    hidden: int = 64,
    dropout: float = 0.0,
) -> nn.Module:
    """Convolutions of 3 x 3 with ReLU, the second of each pair followed by pooling; then two linear layers.

    Takes (B, C, H, W), gives (B, num_outputs). `channels` are the convolutions' outputs; each pair of
    them halves H and W.

    Raises:
        RedistillError: the poolings leave nothing of the image.
    """
    previous, height, width = image_shape
    poolings = len(channels) // 2
    if min(height, width) >> poolings == 0:
        raise RedistillError(
            f"cnn: {len(channels)} channels make {poolings} poolings, and {height} x {width} pixels can be halved "
            f"{min(height, width).bit_length() - 1} times only; give fewer channels"
        )
    layers: list[nn.Module] = []
    for index, outputs in enumerate(channels):
        layers += [nn.Conv2d(previous, outputs, 3, padding=1), nn.ReLU()]
        if index % 2 == 1:
            layers.append(nn.MaxPool2d(2))
        previous = outputs
    pixels = (height >> poolings) * (width >> poolings)
    layers += [nn.Flatten(), nn.Linear(previous * pixels, hidden), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(hidden, num_outputs))
