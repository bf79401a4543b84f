"""What an import did: the files it wrote, and everything that it did not carry over."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class LeftOut:
    """A value of the source that the experiment does not have: its key, its line from 1, and why."""

    key: str
    line: int
    value: str
    reason: str


@dataclass
class Report:
    """One source file's outcome.

    `to_do` is what the experiment still needs: sources, tasks, components. `warnings` say where the original does not
    do what it seems to. `without_influence` names the keys that change no number.
    """

    source: Path
    task: str
    written: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    to_do: list[str] = field(default_factory=list)
    without_influence: list[str] = field(default_factory=list)
