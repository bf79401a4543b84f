"""Factor transfer's paraphraser and translator (Kim et al. 2018, arXiv:1802.04977, section 3)."""

from typing import Annotated

from annotated_types import Gt
from torch import Tensor, nn


class Paraphraser(nn.Module):
    """An encoder to factors and, for the teacher's side, a decoder back; `encoder` gives the factors (B, F, H, W)."""

    def __init__(self, channels: int, factors: int, decode: bool):
        super().__init__()
        self.encoder = nn.Sequential(*_block(channels, channels), *_block(channels, factors), *_block(factors, factors))
        self.decoder: nn.Module = nn.Identity()
        if decode:
            self.decoder = nn.Sequential(
                *_block(factors, factors), *_block(factors, channels), *_block(channels, channels)
            )

    def forward(self, features: Tensor) -> Tensor:
        decoded: Tensor = self.decoder(self.encoder(features))
        return decoded


def _block(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    return nn.Conv2d(inputs, outputs, 3, padding=1), nn.LeakyReLU(0.1), nn.BatchNorm2d(outputs)


def paraphraser(
    input_shape: tuple[int, ...], like_shape: tuple[int, ...] | None, *, rate: Annotated[float, Gt(0)] = 0.5,
    decode: bool = True,
) -> nn.Module:  # fmt: skip
    """Takes (B, C, H, W). With `decode` it gives the features back, and `modules.NAME.encoder` is tapped for factors.

    Without, it is a translator: it gives factors. Their number is `rate` times the channels of the tensor that it is
    `like` (the teacher's features), or of its own input.
    """
    return Paraphraser(input_shape[0], max(1, round(rate * (like_shape or input_shape)[0])), decode)
