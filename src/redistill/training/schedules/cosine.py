"""Half a cosine from the peak rate down (Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts)."""

import math
from typing import Annotated

from annotated_types import Ge, Le


def cosine(
    step: int, steps: int, *, warmup: Annotated[float, Ge(0), Le(1)] = 0.0, floor: Annotated[float, Ge(0), Le(1)] = 0.0
) -> float:
    """The factor at a step, counted from 0. `floor` is the share of the peak rate that is left at the end."""
    warm = round(steps * warmup)
    if step < warm:
        return (step + 1) / warm
    share = (step - warm) / max(steps - warm, 1)
    return floor + (1 - floor) * (1 + math.cos(math.pi * share)) / 2
