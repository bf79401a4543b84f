"""Mistakes that a user can mend: each says what is wrong, where, and what to do."""

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
        key = f" {self.key}:" if self.key else ""
        return f"{self.file}:{self.line}:{self.column}:{key} {self.message}"


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
