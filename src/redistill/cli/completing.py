"""What the shell completes: names of studies, experiments and tasks, and keys of runs. Read from file names alone."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from redistill.errors import RedistillError

MOST = 200  # keys that are offered


def studies(incomplete: str) -> list[str]:
    return _beginning(incomplete, _configs("studies"))


def experiments(incomplete: str) -> list[str]:
    return _beginning(incomplete, _configs("experiments"))


def tasks(incomplete: str) -> list[str]:
    return _beginning(incomplete, _configs("tasks"))


def study_or_experiment(incomplete: str) -> list[str]:
    return [*studies(incomplete), *experiments(incomplete)]


def run_or_experiment(incomplete: str) -> list[str]:
    """Experiments; and once something is typed that begins a key, the keys of runs in the store."""
    return [*experiments(incomplete), *_beginning(incomplete, _runs() if incomplete else iter(()))][:MOST]


def _beginning(incomplete: str, names: Iterator[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))


def _configs(kind: str) -> Iterator[str]:
    from redistill.config import compose

    with suppress(RedistillError, OSError):  # outside of a project nothing is completed
        yield from compose.known(compose.find_root(), kind)


def _runs() -> Iterator[str]:
    from redistill.config import compose

    with suppress(RedistillError, OSError):
        folder: Path = compose.find_root() / "store" / "runs"
        yield from (one.name for one in folder.iterdir() if one.is_dir())
