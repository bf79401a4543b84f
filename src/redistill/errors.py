"""Mistakes that a user can mend: each says what is wrong, where, and what to do."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class RedistillError(Exception):
    """Base of every error that the command line prints as a sentence, without a traceback."""


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake in a configuration file. Lines and columns start at 1."""

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        key = f" {_one_line(self.key, 200)}:" if self.key else ""
        return f"{_one_line(self.file, 500)}:{self.line}:{self.column}:{key} {_one_line(self.message, 800)}"


def _one_line(text: str, most: int) -> str:
    """Text that fits a terminal whatever a file holds: nothing that moves the cursor, nothing endless."""
    shown = text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: 2 * most])
    return shown if len(shown) <= most else f"{shown[: most // 2]} ... {shown[-most // 3 :]}"


class ConfigError(RedistillError):
    """All the mistakes found in a study's configuration, in the order of the files."""

    def __init__(self, problems: list[Problem]):
        self.problems = sorted(set(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class IntegrityError(RedistillError):
    """A file that is not what its digest says."""

    def __init__(self, file: Path | str, expected: str, found: str, advice: str = ""):
        self.file, self.expected, self.found = file, expected, found
        super().__init__(f"{file}: SHA-256 is {found}, expected {expected}. {advice}".rstrip())


@contextmanager
def writing(to: Path) -> Iterator[None]:
    """Let what cannot be written be a sentence."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise RedistillError(f"{to}: cannot be written: {error.strerror or error}{where}") from None


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the closest known one, or all of them when few."""
    from difflib import get_close_matches  # not at import: every job starts with this module

    names = sorted(map(str, known))
    close = get_close_matches(str(name), names, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    if not names:
        return "there are none"
    shown = ", ".join(f"`{n}`" for n in names[:12])
    return f"known: {shown}{' ...' if len(names) > 12 else ''}"
