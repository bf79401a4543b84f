"""Dropout with masks from a stream of its own, which is begun anew at every step.

torch draws a number for each element from a generator that has to be saved and restored. Here 16 random bits decide an
element, from a small fast generator (SFC64) that is seeded by the run's seed and the step: an eighth of the time on a
CPU, and a step's masks are the same wherever a run was taken up again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_generator = np.random.Generator(np.random.SFC64(0))


def begin(*counter: int) -> None:
    """Draw from here on what belongs to this counter: a seed, and the step and pass that are to come."""
    global _generator
    _generator = np.random.Generator(np.random.SFC64(counter))


def position() -> dict[str, Any]:
    """Where the stream stands."""
    return dict(_generator.bit_generator.state)


@contextmanager
def gone_back_to(earlier: dict[str, Any]) -> Iterator[None]:
    """Within, draw once more what was drawn from an earlier position on; afterwards the stream is where it was."""
    now = position()
    _generator.bit_generator.state = earlier
    try:
        yield
    finally:
        _generator.bit_generator.state = now


def share_dropped(p: float) -> float:
    """The probability that 16 bits can give that is nearest to `p`."""
    return round(p * 65536) / 65536


def scale(p: float) -> float:
    """What is kept is multiplied by it, so that the mean stays."""
    dropped = share_dropped(p)
    return 1 / (1 - dropped) if dropped < 1 else 0.0


def kept(like: Tensor, p: float) -> Tensor:
    """1 where an element is kept and 0 where it is dropped, in the shape, type and place of `like`."""
    if like.device.type != "cpu":
        return torch.empty_like(like, memory_format=torch.contiguous_format).bernoulli_(1 - share_dropped(p))
    words = _generator.integers(0, 2**64, -(-like.numel() // 4), dtype=np.uint64)
    bits = torch.from_numpy(words.view(np.int16)[: like.numel()])
    mask = torch.empty(like.shape, dtype=like.dtype)
    torch.gt(bits.view(like.shape), round(p * 65536) - 32769, out=mask)  # of -32768 .. 32767
    return mask


class Dropout(nn.Dropout):
    """`nn.Dropout` with masks from the stream above."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not self.p:
            return input
        return input * kept(input, self.p).mul_(scale(self.p))


def use_own_dropout(model: nn.Module) -> None:
    """Put a `Dropout` of the same probability in the place of each of torch's."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p))
