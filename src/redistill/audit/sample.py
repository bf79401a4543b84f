"""A sample of things, drawn by a seed and the Merkle root: whoever knows both draws the same ones."""

import hashlib
import math
from collections.abc import Sequence

from redistill.errors import RedistillError
from redistill.provenance.published import Thing


def drawn(things: Sequence[Thing], asked: str, seed: int, root: str, first: Sequence[str] = ()) -> list[Thing]:
    """So many of the things, or such a share of them, in the order in which they were drawn; one at least.

    A larger sample with the same seed has the smaller one in it. What was asked for by its key comes `first`.

    Raises:
        RedistillError: `asked` is no number and no share.
    """

    def place(thing: Thing) -> tuple[bool, str]:
        return thing.key not in first, hashlib.sha256(f"{root} {seed} {thing.key}".encode()).hexdigest()

    return sorted(things, key=place)[: count(asked, len(things))]


def count(asked: str, of: int) -> int:
    """How many of so many things a sample such as `5%` or `3` has."""
    number, is_share = asked.removesuffix("%").strip(), asked.endswith("%")
    try:
        wanted = math.ceil(of * float(number) / 100) if is_share else int(number)
        if (wanted < 1 and of) or (is_share and float(number) > 100):
            raise ValueError(asked)
    except (ValueError, OverflowError):
        raise RedistillError(f"`{asked}` is no sample: give a number of runs, or a share such as 5%") from None
    return min(wanted, of)
