"""Which things are meant: a study, a table, a cell, or runs by key or by name."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from redistill.errors import ConfigError, RedistillError, nearest
from redistill.plan import make_plan
from redistill.provenance import published
from redistill.provenance.keys import KEY
from redistill.provenance.published import Published


@dataclass(frozen=True)
class Selected:
    """Keys; None for everything. `also` are those that today's configs ask for, which may not have been made."""

    keys: set[str] | None
    also: set[str] = field(default_factory=set)


def study(root: Path, name: str) -> Selected:
    """All that is behind the published tables, and all that today's plan of the study asks for.

    Raises:
        RedistillError: it has no results, and its configs have mistakes.
    """
    keys = set(published.read(root, name).things) if name in published.studies(root) else set[str]()
    try:
        return Selected(keys, set(make_plan(root, name).nodes) - keys)
    except ConfigError:
        if not keys:
            raise
        return Selected(keys)


def cells(root: Path, name: str, table: str | None, row: str | None, column: str | None) -> Selected:
    """A table or cells of a study, and all that is behind them.

    Raises:
        RedistillError: there are none; says what is near.
    """
    results = published.read(root, name)
    return Selected({thing.key for thing in results.upstream(results.part(table, row, column))})


def things(
    root: Path, name: str, what: Iterable[str], task: str | None = None, seed: int | None = None, upstream: bool = False
) -> Selected:
    """Things by their keys, and runs of a study by the name of their row or recipe; with `upstream`, also all that they
    are made of.

    Raises:
        RedistillError: no run has such a name, or nobody knows what a thing is made of.
    """
    keys = set[str]()
    for one in what:
        keys |= {one} if KEY.fullmatch(one) else _runs(published.read(root, name), one, task, seed)
    return Selected(_upstream(root, keys) if upstream else keys)


def _runs(results: Published, name: str, task: str | None, seed: int | None) -> set[str]:
    named = [run for run in results.runs if run.experiment == name]
    if not named:
        rows = {run.experiment for run in results.runs}
        hint = f"a study is --study {name}" if name in published.studies(results.root) else nearest(name, rows)
        raise RedistillError(f"`{name}` is neither a key nor a row of {results.study}; {hint}")
    found = {run.key for run in named if task in (None, run.task) and seed in (None, run.seed)}
    if not found:
        places = ", ".join(sorted({f"{run.task} seed {run.seed}" for run in named}))
        raise RedistillError(f"`{name}` has no run with this task and seed in {results.study}; there are {places}")
    return found


def _upstream(root: Path, keys: set[str]) -> set[str]:
    found = set[str]()
    for name in published.studies(root):
        results = published.read(root, name)
        found |= {thing.key for thing in results.upstream(keys & results.things.keys())}
    if keys - found:
        raise RedistillError(
            f"no results in git name {', '.join(sorted(keys - found))}, so what it is made of is unknown; "
            "without --upstream it comes alone"
        )
    return found
