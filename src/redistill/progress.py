"""Progress of long work: a bar on a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.progress import track as bar

Item = TypeVar("Item")
SECONDS = 10.0


def track(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Hand the items on and say how far they are."""
    if sys.stderr.isatty():
        yield from bar(items, description=what, total=total)
        return
    start = last = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS or count == total:
            rate = count / max(now - start, 1e-9)
            left = (total - count) / rate
            print(f"{what}: {count} of {total}, {rate:.1f}/s, {left:.0f} s left", file=sys.stderr, flush=True)
            last = now
