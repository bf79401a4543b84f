"""The order of the examples: endless batches, whose position can be written down and taken up again."""

from typing import Any

import numpy as np

POOL = 32  # batches that are sorted by length together; on MRPC, a fortieth of the tokens is then padding


class Batches:
    """Batches of indices, epoch after epoch, each example once an epoch; examples of like length come together.

    With `at_most`, so many examples and no others, the same for every seed.
    """

    def __init__(self, lengths: np.ndarray, size: int, seed: int, at_most: int | None = None):
        self.lengths, self.size = lengths, size
        self.examples = chosen(len(lengths), at_most)
        self.generator = np.random.Generator(np.random.PCG64(seed))
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.drawn_from = self.generator.bit_generator.state
        self.epoch = epoch_batches(self.lengths, self.size, self.generator, self.examples)
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


def chosen(examples: int, at_most: int | None) -> np.ndarray:
    """Indices (n,) of the examples that are trained on, in order: all, or `at_most` of them by one fixed draw."""
    if at_most is None or at_most >= examples:
        return np.arange(examples)
    return np.sort(np.random.Generator(np.random.PCG64(0)).permutation(examples)[:at_most])


def epoch_batches(
    lengths: np.ndarray, size: int, generator: np.random.Generator, examples: np.ndarray
) -> list[np.ndarray]:
    """One epoch of these examples: a permutation, cut into stretches of 32 batches; each stretch is sorted
    by length and cut into batches, and the batches are shuffled. One batch may be smaller.
    """
    order = generator.permutation(examples)
    batches = []
    for begin in range(0, len(order), size * POOL):
        stretch = order[begin : begin + size * POOL]
        stretch = stretch[np.argsort(lengths[stretch], kind="stable")]
        batches += [stretch[i : i + size] for i in range(0, len(stretch), size)]
    return [batches[i] for i in generator.permutation(len(batches))]
