"""A study at one moment: as published, now or in a commit, or as today's configs plan it."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError
from redistill.plan import Node, Plan
from redistill.provenance import published
from redistill.provenance.published import Published, Thing

Place = tuple[str, str, str]  # table, row and column of a cell
_KEY = re.compile(r"[0-9a-f]{6,16}")


@dataclass(frozen=True)
class Number:
    """A cell's number, as its table's JSON has it, on the metric's own scale; `runs` are the keys behind it, `scores`
    what each of their seeds gave.
    """

    mean: float
    std: float | None
    n: int
    examples: int
    metric: str
    runs: tuple[str, ...]
    scores: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """As tables print it."""
        spread = "" if self.std is None else f" ± {points(self.std)}"
        return f"{points(self.mean)}{spread} ({self.n})"

    @property
    def error(self) -> float | None:
        """The standard error of the mean, from the spread of the seeds; None of a single run."""
        return None if self.std is None else self.std / math.sqrt(self.n)

    def content(self) -> dict[str, Any]:
        return {
            "shown": str(self), "mean": self.mean, "std": self.std, "n_seeds": self.n, "n_examples": self.examples,
            "metric": self.metric, "scores": dict(self.scores),
        }  # fmt: skip


def points(value: float, sign: str = "-") -> str:
    """A value times 100, as tables print it: no `-0.0`."""
    return format(round(100 * value, 1) + 0.0, f"{sign}.1f")


def by_row(cells: Iterable[Place]) -> list[str]:
    """Lines with the table and row of cells, and their columns."""
    columns: dict[str, list[str]] = {}
    for table, row, column in cells:
        columns.setdefault(f"{table} / {row}", []).append(column)
    width = max(map(len, columns), default=0)
    return [f"  {name:<{width}}  {', '.join(names)}" for name, names in columns.items()]


@dataclass(frozen=True)
class State:
    """What there is of a study: things by key, cells and tables by name, and the numbers of those that were made.

    `no_data` are columns that a folder of the user's has no data for, and why. `plan` is there if nothing was read
    from results/.
    """

    study: str
    said: str
    things: dict[str, Thing]
    cells: dict[Place, str]
    tables: dict[str, str]
    numbers: dict[Place, Number] = field(default_factory=dict)
    no_data: dict[str, str] = field(default_factory=dict)
    plan: Plan | None = None

    def behind(self, keys: Iterable[str]) -> set[str]:
        """The keys of these things and of all that they are made of."""
        return published.behind(self.things, keys)


def whole(root: Path, study: str, commit: str | None = None) -> Published:
    """A study's results, of which every input is there too.

    Raises:
        RedistillError: there are none, they cannot be read, or they name something that they do not have.
    """
    read = published.read(root, study, commit)
    for thing in read.things.values():
        for role, key in thing.inputs.items():
            if key not in read.things:
                raise RedistillError(
                    f"results/{study}/manifests.json: has nothing of {key}, the `{role}` of {thing.kind} "
                    f"{thing.title}; `redistill publish {study}` writes it again, and git has it as it was"
                )
    return read


def thing_with(things: Mapping[str, Thing], begun: str) -> Thing | None:
    """The thing whose key is this, or begins so with six digits at least; None if there is none.

    Raises:
        RedistillError: there are several.
    """
    found = [key for key in things if key.startswith(begun)] if _KEY.fullmatch(begun) else []
    if len(found) > 1:
        raise RedistillError(f"{len(found)} things have keys that begin with {begun}: write more of it")
    return things[found[0]] if found else None


def as_published(read: Published) -> State:
    """A study's results.

    Raises:
        RedistillError: its tables are not what was published.
    """
    tables = {name: thing.key for name, thing in read.tables.items()}
    said = f"results/{read.study}" + (f" at {read.commit}" if read.commit else "")
    cells = {place: thing.key for place, thing in read.cells.items()}
    return State(read.study, said, read.things, cells, tables, numbers(read))


def as_planned(plan: Plan) -> State:
    """A study as today's configs and code plan it."""
    things = {key: _thing(node) for key, node in plan.nodes.items() if node is not plan.target}
    tables = {("submissions" if t.kind == "scores" else t.parts["config"]["name"]): key
              for key, t in things.items() if t.kind in ("table", "scores")}  # fmt: skip
    cells: dict[Place, str] = {}
    for name, table in tables.items():
        for role, key in things[table].inputs.items():
            if things[key].kind == "cell":
                row, _, column = role.rpartition(":")
                cells[name, row, column] = key
    return State(plan.checked.name, "today's configs and code", things, cells, tables, {}, plan.checked.no_data, plan)


def _thing(node: Node) -> Thing:
    return Thing(node.key, node.parts["kind"], node.title, node.area, "", node.inputs, {}, node.parts)


def numbers(read: Published) -> dict[Place, Number]:
    """The number of each cell that the tables' JSON has.

    Raises:
        RedistillError: a file is not what was published.
    """
    found: dict[Place, Number] = {}
    scores = json_of(read, "metrics")
    for table in {table for table, _, _ in read.cells}:
        content = json_of(read, table)
        try:
            metrics = {column["key"]: column["metric"] for column in content["columns"]}
            for row in content["rows"]:
                for column, cell in row["cells"].items():
                    if cell is not None and (table, row["name"], column) in read.cells:
                        theirs = scores.get(table, {}).get(row["name"], {}).get(column, {})
                        found[table, row["name"], column] = _number(cell, metrics[column], theirs)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise RedistillError(
                f"results/{read.study}/{table}.json: is not what a study publishes ({error.__class__.__name__}: "
                f"{error}); `redistill publish {read.study}` writes it again, and git has it as it was"
            ) from None
    return found


def _number(cell: dict[str, Any], metric: str, scores: dict[str, float]) -> Number:
    std = None if cell["std"] is None else float(cell["std"])
    return Number(float(cell["mean"]), std, int(cell["n_seeds"]), int(cell["n_examples"]), metric,
                  tuple(cell["runs"]), {str(seed): float(value) for seed, value in scores.items()})  # fmt: skip


def json_of(read: Published, name: str) -> dict[str, Any]:
    """A JSON file of a study's results, from where the rest was read.

    Raises:
        RedistillError: it is not there, or no JSON.
    """
    where = f"results/{read.study}/{name}.json"
    try:
        text = (published.shown(read.root, read.commit, where) if read.commit is not None
                else (read.root / where).read_text(encoding="utf-8"))  # fmt: skip
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError(name)
    except (OSError, ValueError) as error:
        raise RedistillError(
            f"{where}: cannot be read ({error.__class__.__name__}); `redistill publish {read.study}` writes it again, "
            "and git has it as it was"
        ) from None
    return content
