"""Progress of long work: a bar on a terminal, a line now and then in a log; how far, how fast, how long, how good."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
SECONDS = 10.0
QUIET = "REDISTILL_QUIET"  # set: nothing is said of how far anything is

_state: dict[str, Callable[[], str]] = {}


def beside(look: Callable[[], str] | None) -> None:
    """From now on `look` is asked what is to be said beside how far it is, such as a run's loss; None ends that."""
    _state.clear()
    if look is not None:
        _state["look"] = look


def wanted() -> bool:
    return not os.environ.get(QUIET)


def track(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Hand the items on and say how far they are."""
    if not wanted():
        yield from items
    elif sys.stderr.isatty():
        yield from _with_bar(items, total, what)
    else:
        yield from _with_lines(items, total, what)


def _with_bar(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Task as Bar
    from rich.text import Text

    class Rate(ProgressColumn):
        """Items a second, and what is said beside."""

        max_refresh = 0.5

        def render(self, task: Bar) -> Text:
            rate = f"{task.speed:.1f}/s" if task.speed else ""
            return Text("  ".join(part for part in (rate, _said()) if part))

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn(), Rate())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as shown:
        yield from shown.track(items, total=total, description=what)


def _with_lines(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    start = last = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS or count == total:
            rate = count / max(now - start, 1e-9)
            left, said = (total - count) / rate, _said()
            more = f", {said}" if said else ""
            print(f"{what}: {count} of {total}, {rate:.1f}/s, {left:.0f} s left{more}", file=sys.stderr, flush=True)
            last = now


def _said() -> str:
    return _state["look"]() if "look" in _state else ""
