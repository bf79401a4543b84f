"""How convolutional networks that are trained from nothing draw their first weights."""

from torch import nn


def he_normal(model: nn.Module, head: nn.Linear) -> None:
    """Convolutions from a normal distribution by their outputs (He et al. 2015, arXiv:1502.01852), a head without bias.

    Everything else stays as torch draws it.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(head.bias)
