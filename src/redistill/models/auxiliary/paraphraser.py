"""Factor transfer's paraphraser and translator (Kim et al. 2018, arXiv:1802.04977, section 3)."""

from typing import Annotated

from annotated_types import Gt
from torch import Tensor, nn


class Paraphraser(nn.Module):
    """An encoder to factors and, for the teacher's side, a decoder back; `encoder` gives the factors (B, F, H, W)."""

    def __init__(self, channels: int, factors: int, decode: bool, norm: bool):
        super().__init__()
        self.encoder = _blocks([(channels, channels), (channels, factors), (factors, factors)], norm)
        self.decoder: nn.Module = nn.Identity()
        if decode:
            self.decoder = _blocks([(factors, factors), (factors, channels), (channels, channels)], norm)

    def forward(self, features: Tensor) -> Tensor:
        decoded: Tensor = self.decoder(self.encoder(features))
        return decoded


def _blocks(sizes: list[tuple[int, int]], norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in sizes:
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.LeakyReLU(0.1)]
        layers += [nn.BatchNorm2d(outputs)] if norm else []
    return nn.Sequential(*layers)


def paraphraser(
    input_shape: tuple[int, ...], like_shape: tuple[int, ...] | None, *, rate: Annotated[float, Gt(0)] = 0.5,
    decode: bool = True, norm: bool = True,
) -> nn.Module:  # fmt: skip
    """Takes (B, C, H, W). With `decode` it gives the features back, and `modules.NAME.encoder` is tapped for factors.

    Without, it is a translator: it gives factors. Their number is `rate` times the channels of the tensor that it is
    `like` (the teacher's features), or of its own input.
    `norm` is whether there is a batch norm after each convolution; torchdistill has none on ImageNet.
    """
    return Paraphraser(input_shape[0], max(1, round(rate * (like_shape or input_shape)[0])), decode, norm)
