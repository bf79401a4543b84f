"""Curriculum temperature, CTKD (Li, Li, Yang, Zhao, Song, Luo, Li and Yang 2023, arXiv:2211.16231).

Here is the global temperature, one number for all examples. The paper's other form, a temperature for each example
from a small network that reads both models' logits, is not here.

The authors let the reversal grow over the first 10 of 240 epochs, a share of 0.0417.

Usage::

    hard: {method: hard, weight: 0.1}
    curriculum: {method: ctkd, weight: 0.9, curriculum: 0.0417}
"""

import math
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from redistill.distill.distributions import kl, log_probabilities, need_classes
from redistill.distill.inputs import Shape

OVER = "examples"


class Temperature(nn.Module):
    """One number, which a sigmoid brings into a range of temperatures; it begins at 1, as in the authors' code."""

    def __init__(self) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.ones(()))

    def forward(self, lowest: float, span: float) -> Tensor:
        return lowest + span * self.raw.sigmoid()


def ctkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    own: nn.Module,
    share: float,
    *,
    lowest: Annotated[float, Gt(0)] = 1.0,
    span: Annotated[float, Gt(0)] = 20.0,
    strength: Annotated[float, Ge(0)] = 1.0,
    curriculum: Annotated[float, Gt(0), Le(1)] = 0.0417,
) -> Tensor:
    """T^2 x KL(teacher, student) at a temperature T that is learned, to make the loss larger.

    T = lowest + span sigmoid(r), with the parameter r of `own`. The gradient that reaches T, through the divergence and
    the factor T^2, is multiplied by -lambda: the student goes down the loss, the temperature up.

    lambda = strength (1 - cos(pi min(share / curriculum, 1))) / 2

    grows from 0, so that the task becomes harder. The paper gives it the weight that KD has. The parameter r is trained
    by the optimiser of the stage, and decays with its weights, as in the authors' code.

    Deviation: lambda grows with every step; in the authors' code it is constant within an epoch, and has grown by one
    step already in the first.

    Args:
        student_logits: (B, C), C at least 2.
        teacher_logits: (B, C).
        own: of `build_own`: the temperature.
        share: share of the stage's steps that are done, in [0, 1].
        lowest: the paper's tau_init, below which T cannot fall.
        span: the paper's tau_range; T is below lowest + span.
        strength: lambda in the end.
        curriculum: share of the steps over which lambda grows; above 0, at most 1.

    Raises:
        ValueError: there is one output.
    """
    need_classes(student_logits, "ctkd")
    reversal = strength * (1 - math.cos(math.pi * min(share / curriculum, 1))) / 2
    learned = own(lowest, span)
    held = learned.detach()
    temperature = held - reversal * (learned - held)  # the same number, with the gradient turned
    p, q = (log_probabilities(logits, temperature) for logits in (teacher_logits, student_logits))
    return kl(p, q).mean() * temperature**2


def build_own(student_shapes: list[Shape], teacher_shapes: list[Shape], examples: int) -> nn.Module:
    """The temperature that is learned."""
    return Temperature()
