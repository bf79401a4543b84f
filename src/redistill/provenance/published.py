"""A study as git has it under results/: its tables and cells, and what is behind them, from files or from a commit."""

import csv
import io
import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from redistill.errors import RedistillError, nearest
from redistill.provenance import store, verify
from redistill.provenance.keys import key_of

FILES = ("manifests.json", "parts.json", "runs.tsv")


@dataclass(frozen=True)
class Thing:
    """Something that was made: what it is called, what its key is made of, and its files.

    `cells` are the places where a cell's number stands, each as `TABLE / ROW / COLUMN`.
    """

    key: str
    kind: str
    title: str
    area: str
    digest: str
    inputs: dict[str, str]
    files: dict[str, dict[str, Any]]
    parts: dict[str, Any]
    cells: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.title}"

    @property
    def place(self) -> str:
        """Its folder, from the project's."""
        return f"store/{self.area}/{self.key}"

    def folder(self, root: Path) -> Path:
        return root / self.place

    @property
    def manifest(self) -> store.Manifest:
        """What manifest.json of its folder holds."""
        return {"files": self.files, "key_parts": self.parts}


@dataclass(frozen=True)
class Run:
    """A line of runs.tsv, published or planned: the run behind a table's row, task and seed."""

    table: str
    experiment: str
    task: str
    seed: int
    key: str


@dataclass(frozen=True)
class Published:
    """A study's results. `commit` is None for the files as they are."""

    root: Path
    study: str
    commit: str | None
    entries: dict[str, dict[str, Any]]
    things: dict[str, Thing]
    runs: tuple[Run, ...]

    @cached_property
    def digest(self) -> str:
        """The Merkle root over everything but the tables."""
        return verify.root(self.entries)

    @property
    def tables(self) -> dict[str, Thing]:
        """The tables by name; `submissions` is the one of what the server said."""
        found = {t.parts["config"]["name"]: t for t in self.things.values() if t.kind == "table"}
        found.update(("submissions", t) for t in self.things.values() if t.kind == "scores")
        return found

    @cached_property
    def cells(self) -> dict[tuple[str, str, str], Thing]:
        """Cells by table, row and column."""
        found = {tuple(name.split(" / ")): t for t in self.things.values() for name in t.cells}
        return {(table, row, column): thing for (table, row, column), thing in found.items()}

    def upstream(self, keys: Iterable[str]) -> list[Thing]:
        """These and everything known that they are made of, inputs first."""
        return _reached(self.things, keys, {key: list(t.inputs.values()) for key, t in self.things.items()})[::-1]

    def downstream(self, keys: Iterable[str]) -> list[Thing]:
        """These and everything that is made of them, inputs first."""
        users: dict[str, list[str]] = {}
        for thing in self.things.values():
            for key in dict.fromkeys(thing.inputs.values()):
                users.setdefault(key, []).append(thing.key)
        return _reached(self.things, keys, users)

    def part(self, table: str | None, row: str | None, column: str | None) -> tuple[str, ...]:
        """The key of a table, or those of its cells in a row and a column.

        Raises:
            RedistillError: there are none; says what is near.
        """
        if row is None and column is None and table in self.tables:
            return (self.tables[table].key,)
        return tuple(thing.key for thing in self.find_cells(table, row, column).values())

    def find_cells(self, table: str | None, row: str | None, column: str | None) -> dict[tuple[str, str, str], Thing]:
        """The cells of a table, a row, a column, or what they have in common.

        Raises:
            RedistillError: there are none; says what is near.
        """
        wanted = (table, row, column)
        found = {
            place: thing
            for place, thing in self.cells.items()
            if all(asked in (None, has) for asked, has in zip(wanted, place, strict=True))
        }
        if found:
            return found
        for place, (what, asked) in enumerate(zip(("table", "row", "column"), wanted, strict=True)):
            has = {cell[place] for cell in self.cells}
            if asked is not None and asked not in has:
                raise RedistillError(f"{self.study} has no {what} `{asked}`; {nearest(asked, has)}")
        raise RedistillError(f"{self.study} has no cell in table {table}, row {row} and column {column}")


def _reached(things: dict[str, Thing], keys: Iterable[str], edges: dict[str, list[str]]) -> list[Thing]:
    """What is reached along the edges, in an order in which each comes before those that it leads to."""
    order, seen = list[Thing](), set[str]()
    waiting = [(key, False) for key in keys]
    while waiting:
        key, left = waiting.pop()
        if left:
            order.append(things[key])
        elif key not in seen and key in things:
            seen.add(key)
            waiting.append((key, True))
            waiting.extend((other, False) for other in edges.get(key, ()))
    return order[::-1]


class Made(Protocol):
    """A thing of a plan or of results."""

    @property
    def inputs(self) -> dict[str, str]: ...


def behind(made: Mapping[str, Made], keys: Iterable[str]) -> set[str]:
    """The keys of these things and of all that they are made of; every input is known."""
    seen, waiting = set[str](), list(keys)
    while waiting:
        key = waiting.pop()
        if key not in seen:
            seen.add(key)
            waiting.extend(made[key].inputs.values())
    return seen


def studies(root: Path) -> list[str]:
    """The studies that have results."""
    return sorted(file.parent.name for file in (root / "results").glob("*/manifests.json"))


def files(root: Path, study: str) -> list[Path]:
    """The files of a study's results: folders beside them are other people's, and a report is drawn from the rest."""
    found = (root / "results" / study).iterdir()
    return sorted(file for file in found if file.is_file() and file.suffix != ".html")


def read(root: Path, study: str, commit: str | None = None) -> Published:
    """A study's results as the files have them, or as a commit has.

    Raises:
        RedistillError: there are none, the commit is unknown, or a file is not what `snakemake` made.
    """
    texts = {name: _text(root, f"results/{study}/{name}", commit) for name in FILES}
    try:
        entries: dict[str, dict[str, Any]] = json.loads(texts["manifests.json"])
        key_parts = json.loads(texts["parts.json"])
        things = {key: _thing(key, entry, key_parts) for key, entry in entries.items()}
        lines = csv.DictReader(io.StringIO(texts["runs.tsv"]), delimiter="\t", quoting=csv.QUOTE_NONE)
        runs = [Run(o["table"], o["experiment"], o["task"], int(o["seed"]), o["key"]) for o in lines]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        where = f"results/{study}/{{{','.join(FILES)}}}"
        raise RedistillError(
            f"{where}: cannot be read ({error.__class__.__name__}: {error}); "
            f"`redistill publish {study}` writes them again, and git has them as they were"
        ) from None
    return Published(root, study, commit, entries, things, tuple(runs))


def _thing(key: str, entry: dict[str, Any], key_parts: dict[str, Any]) -> Thing:
    inputs = entry["inputs"]
    return Thing(
        key, entry["kind"], entry["title"], entry["area"], entry["digest"], inputs, entry["files"],
        verify.parts_of(key_parts, key, entry["kind"], inputs), tuple(entry.get("cells", ())),
    )  # fmt: skip


def mistakes(thing: Thing) -> list[str]:
    """What in the two files does not agree: the parts with the key, or the manifest with its digest."""
    found = []
    if key_of(thing.parts) != thing.key:
        found.append(f"parts.json: what {thing.key} ({thing}) is said to be made of gives another key")
    if store.digest_of(thing.manifest) != thing.digest:
        found.append(f"manifests.json: the entry of {thing.key} ({thing}) is not what its digest says")
    return found


def _text(root: Path, name: str, commit: str | None) -> str:
    if commit is not None:
        return shown(root, commit, name)
    try:
        return (root / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        study = name.removeprefix("results/").rpartition("/")[0]
        made = studies(root)
        if study in made:
            why = f"{name}: cannot be read ({error.__class__.__name__}); `redistill publish {study}` writes it again"
        elif (root / "configs" / "studies" / f"{study}.yaml").is_file():
            why = f"{name} is not there; `snakemake --cores all --config study={study}` makes it"
        else:
            why = f"there is no study `{study}`"
        raise RedistillError(f"{why}. Studies with results: {', '.join(made) or 'none'}") from None


def shown(root: Path, commit: str, name: str) -> str:
    """A file of the project as a commit has it.

    Raises:
        RedistillError: git knows no such commit, or no such file in it.
    """
    command = ["git", "-C", str(root), "show", f"{commit}:./{name}"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RedistillError(f"git cannot be asked for {name} at {commit}: {error}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise RedistillError(
            f"{name} at {commit}: {said[-1] if said else 'git failed'}; it can be asked for from the first commit that "
            f"has it on, which `git log --diff-filter=A -- {name}` names"
        )
    return done.stdout.decode("utf-8", errors="replace")
