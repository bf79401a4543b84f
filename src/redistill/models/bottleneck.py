"""Encoders and decoders with few channels between them, for models that are cut in two."""

from collections.abc import Sequence

from torch import Tensor, nn


class Bottleneck(nn.Module):
    """What is sent, `encoder`, and what makes of it what the rest of a model takes, `decoder`; both can be tapped."""

    def __init__(self, encoder: list[nn.Module], decoder: list[nn.Module]):
        super().__init__()
        self.encoder = nn.Sequential(*encoder)
        self.decoder = nn.Sequential(*decoder)

    def forward(self, x: Tensor) -> Tensor:
        decoded: Tensor = self.decoder(self.encoder(x))
        return decoded


def for_layer1(channels: int, outputs: int) -> Bottleneck:
    """In the place of a ResNet's `layer1`: takes (B, 64, H, W), gives (B, outputs, H, W), with `channels` between.

    Convolutions of 2 x 2, of which each of the encoder's adds a row and a column, and each of the decoder's takes one
    off (Matsubara and Levorato 2021, ICPR 2020, arXiv:2007.15818). Norms follow all but the encoder's last, and a ReLU
    every second of them.
    """
    return Bottleneck(
        [*_pair(64, 64, 256, 1), nn.ReLU(), *_pair(256, 64, channels, 1)[:-1]],
        [nn.BatchNorm2d(channels), nn.ReLU(), *_pair(channels, 64, 128, 0), nn.ReLU(),
         *_pair(128, outputs, outputs, 0), nn.ReLU()],
    )  # fmt: skip


def _pair(inputs: int, middle: int, outputs: int, padding: int) -> list[nn.Module]:
    """Two convolutions with their norms and nothing between them."""
    return [
        nn.Conv2d(inputs, middle, 2, padding=padding, bias=False),
        nn.BatchNorm2d(middle),
        nn.Conv2d(middle, outputs, 2, padding=padding, bias=False),
        nn.BatchNorm2d(outputs),
    ]


def for_head(channels: int, decoded: Sequence[tuple[int, int]], padded: bool, pooled: int) -> Bottleneck:
    """In the place of a classifier's first layers: takes images (B, 3, H, W), with `channels` between, at an eighth of
    the sides (Matsubara et al. 2020, Head network distillation, IEEE Access 8, doi:10.1109/ACCESS.2020.3039714).

    Args:
        decoded: outputs and padding of the decoder's convolutions of 2 x 2.
        padded: whether the first convolution and the first pooling are padded, as in ResNets and DenseNets.
        pooled: stride of the last pooling.
    """
    encoder = [
        nn.Conv2d(3, 64, 7, 2, padding=3 if padded else 0, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.MaxPool2d(3, 2, padding=1 if padded else 0), nn.BatchNorm2d(64), nn.ReLU(),
        nn.Conv2d(64, channels, 2, 2, padding=1, bias=False),
    ]  # fmt: skip
    decoder, inputs = list[nn.Module](), channels
    for outputs, padding in decoded:
        decoder += [nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, outputs, 2, padding=padding, bias=False)]
        inputs = outputs
    return Bottleneck(encoder, [*decoder, nn.AvgPool2d(2, pooled)])
