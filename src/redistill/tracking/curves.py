"""A run's log as points of curves. Imports the standard library alone."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PLAIN = ("stage", "step")


@dataclass(frozen=True)
class Point:
    """A value of a curve; steps are counted over all stages."""

    name: str
    step: int
    value: float


class Curves:
    """Reads a log as it grows: what is whole of it, from where it was read last."""

    def __init__(self) -> None:
        self.read, self.stage, self.before, self.last = 0, 0, 0, -1

    def new(self, log: Path) -> Iterator[Point]:
        """The points of lines that were added. A run that goes on writes the same lines again."""
        try:
            with log.open("rb") as stream:
                stream.seek(self.read)
                whole, end, _ = stream.read().rpartition(b"\n")
        except OSError:
            return
        self.read += len(whole) + len(end)
        for line in whole.splitlines():
            yield from self._points(line)

    def _points(self, line: bytes) -> Iterator[Point]:
        try:
            said = json.loads(line)
            stage, step = int(said["stage"]), int(said["step"])
        except (ValueError, LookupError, TypeError):
            return
        if stage != self.stage:
            self.stage, self.before = stage, self.before + self.last + 1
        self.last = step
        for name, value in said.items():
            if name not in PLAIN and isinstance(value, int | float):
                group = "select" if name == "select" else "dev" if name == "dev" else "train"
                called = "score" if group != "train" else name.replace(" ", "/")
                yield Point(f"{group}/{called}", self.before + step, float(value))
