"""A plain convolutional network for small images."""

from torch import nn


def cnn(num_outputs: int, *, channels: list[int], hidden: int = 64, dropout: float = 0.0) -> nn.Module:
    """Convolutions of 3 x 3 with ReLU, the second of each pair followed by pooling; then two linear layers.

    Takes (B, 1, 8, 8), gives (B, num_outputs). `channels` are the convolutions' outputs, at most four.
    """
    layers: list[nn.Module] = []
    side, previous = 8, 1
    for index, width in enumerate(channels):
        layers += [nn.Conv2d(previous, width, 3, padding=1), nn.ReLU()]
        if index % 2 == 1:
            layers.append(nn.MaxPool2d(2))
            side //= 2
        previous = width
    layers += [nn.Flatten(), nn.Linear(previous * side * side, hidden), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(hidden, num_outputs))
