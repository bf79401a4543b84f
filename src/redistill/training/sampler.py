"""The order of the examples: endless batches, whose position can be written down and taken up again."""

from typing import Any

import numpy as np

POOL = 32  # batches that are sorted by length together; on MRPC, a fortieth of the tokens is then padding


class Batches:
    """Batches of indices, epoch after epoch, each example once an epoch; examples of like length come together."""

    def __init__(self, lengths: np.ndarray, size: int, seed: int):
        self.lengths, self.size = lengths, size
        self.generator = np.random.Generator(np.random.PCG64(seed))
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.drawn_from = self.generator.bit_generator.state
        self.epoch = epoch_batches(self.lengths, self.size, self.generator)
        self.taken = 0

    def __next__(self) -> np.ndarray:
        if self.taken == len(self.epoch):
            self._begin_epoch()
        self.taken += 1
        return self.epoch[self.taken - 1]

    def state(self) -> dict[str, Any]:
        """The generator as it was before this epoch was drawn, and how many of its batches were taken."""
        return {"generator": self.drawn_from, "taken": self.taken}

    def restore(self, state: dict[str, Any]) -> None:
        self.generator.bit_generator.state = state["generator"]
        self._begin_epoch()
        self.taken = state["taken"]


def epoch_batches(lengths: np.ndarray, size: int, generator: np.random.Generator) -> list[np.ndarray]:
    """One epoch: a permutation, cut into stretches of 32 batches; each stretch is sorted by length and cut into
    batches, and the batches are shuffled. One batch may be smaller.
    """
    order = generator.permutation(len(lengths))
    batches = []
    for begin in range(0, len(order), size * POOL):
        stretch = order[begin : begin + size * POOL]
        stretch = stretch[np.argsort(lengths[stretch], kind="stable")]
        batches += [stretch[i : i + size] for i in range(0, len(stretch), size)]
    return [batches[i] for i in generator.permutation(len(batches))]
