"""What an audit has found, for people, for programs, and as an exit status."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from redistill.exits import Exit

SCHEMA = 1
LEVELS = ("trace", "integrity", "recompute", "replay", "rerun")


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, stale, or could not be checked: at which level, in which file, of which thing."""

    level: str
    file: str
    message: str
    thing: str = ""

    def __str__(self) -> str:
        return f"{self.file}: {self.message}" if self.file else self.message


@dataclass
class Counted:
    """How many of something were checked, of how many."""

    checked: int = 0
    of: int = 0

    def add(self, checked: bool) -> None:
        self.checked, self.of = self.checked + checked, self.of + 1

    def __str__(self) -> str:
        return f"{self.checked:,} of {self.of:,}"


@dataclass
class Report:
    """What an audit has found.

    `wrong` is what is not as it was published; `stale`, where today's configs or code ask for something else;
    `unchecked`, what could not be looked at, and why. `counts` are by level and by what was counted. `notes` say which
    rules were applied. `chain` is the way from the top to the sources, a line each.
    """

    what: str
    level: str
    study: str = ""
    root: str = ""
    wrong: list[Finding] = field(default_factory=list)
    stale: list[Finding] = field(default_factory=list)
    unchecked: list[Finding] = field(default_factory=list)
    counts: dict[str, dict[str, Counted]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    chain: list[str] = field(default_factory=list)
    sample: dict[str, Any] | None = None
    broken: set[str] = field(default_factory=set)  # keys of things that are not what they were: nothing rests on them

    @property
    def status(self) -> int:
        """The exit status of `redistill audit`."""
        if self.wrong or self.stale:
            return Exit.WRONG
        return Exit.NOT_CHECKED if self.unchecked else Exit.RIGHT

    @property
    def outcome(self) -> str:
        """The same in words."""
        if self.wrong:
            return "wrong"
        return "stale" if self.stale else "not all could be checked" if self.unchecked else "right"

    def count(self, level: str, what: str) -> Counted:
        return self.counts.setdefault(level, {}).setdefault(what, Counted())

    def say_wrong(self, level: str, file: str, message: str, thing: str = "", breaks: bool = False) -> None:
        """Note what is wrong; if it `breaks` the thing, nothing that is made of it is compared any more."""
        self.wrong.append(Finding(level, file, message, thing))
        if breaks:
            self.broken.add(thing)

    def say_unchecked(self, level: str, file: str, message: str, thing: str = "") -> None:
        self.unchecked.append(Finding(level, file, message, thing))

    def content(self) -> dict[str, Any]:
        """The report for programs; docs/audit.md says what is in it."""
        held = {name: value for name, value in asdict(self).items() if name not in ("broken", "chain")}
        held |= {name: held[name] or None for name in ("study", "root")}
        return {"schema": SCHEMA, "outcome": self.outcome, **held}

    def summary(self) -> Iterator[str]:
        """A line a level, the notes, and the outcome."""
        if self.root:
            yield f"Merkle root of {self.study}: {self.root}"
        for level, counts in self.counts.items():
            yield f"{level:<9} {', '.join(f'{n} {what}' for what, n in counts.items())}"
        yield from self.notes
        found = [f"{len(self.wrong)} wrong", f"{len(self.stale)} stale", f"{len(self.unchecked)} not checked"]
        yield f"{self.what} to {self.level}: {self.outcome} ({', '.join(found)})"
