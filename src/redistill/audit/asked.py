"""What is to be audited: a study, a part of it, the thing with a key, or what a file belongs to."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints, TypeAdapter, ValidationError

from redistill.audit.again import folder_of
from redistill.audit.listed import COLUMNS
from redistill.config import compose
from redistill.errors import RedistillError
from redistill.provenance import published, record, store
from redistill.provenance.keys import KEY
from redistill.provenance.published import Published, Thing
from redistill.provenance.record_schema import Digest, Key, Section, first_of

Problems = tuple[tuple[str, str], ...]  # files, and what is wrong with them


@dataclass(frozen=True)
class Scope:
    """What is looked at: the things with the keys in `top`, and all that they are made of.

    `published` has the study "" where no results know them. `whole` is a study, and no part of one. `unreadable` says
    why a study's results are not there to be looked at.
    """

    what: str
    published: Published
    top: tuple[str, ...] = ()
    whole: bool = False
    unreadable: Problems = ()

    @property
    def root(self) -> Path:
        return self.published.root

    @property
    def study(self) -> str:
        return self.published.study

    @cached_property
    def things(self) -> list[Thing]:
        """What is looked at, inputs first."""
        return self.published.upstream(self.top)

    @cached_property
    def lost(self) -> dict[str, Thing]:
        """Inputs of which nothing is known, by key, and a thing that is made of each."""
        known = self.published.things
        return {key: thing for thing in self.things for key in thing.inputs.values() if key not in known}


def asked(root: Path, what: str, table: str | None, row: str | None, column: str | None) -> Scope:
    """Find what is to be audited.

    Raises:
        RedistillError: there is no such thing, or no such cell.
    """
    name = compose.name_of("studies", what)
    if any(part is not None for part in (table, row, column)):
        return _part(root, name, table, row, column)
    if KEY.fullmatch(what):
        return _thing(root, what)
    inside = None if name in {*published.studies(root), *compose.known(root, "studies")} else _inside(root, what)
    if inside is None:
        return _study(root, name)
    area, *steps = inside or [""]
    if area == "results" and steps:
        return _result(root, steps[0], "/".join(steps[1:]))
    if area == "store" and len(steps) > 1 and KEY.fullmatch(Path(steps[1]).stem):
        return _thing(root, Path(steps[1]).stem)
    raise RedistillError(
        f"`{what}`: nothing here is audited as that; give a study, a key, or a file below results/ or store/"
    )


def _inside(root: Path, what: str) -> list[str] | None:
    """The steps of a path from the project's folder; None if it is none, but a name."""
    for base in (Path.cwd(), root):
        found = compose.below(root.resolve(), base / what)
        if found is not None and (found.exists() or "/" in what):
            return list(found.relative_to(root.resolve()).parts)
    return None


def _study(root: Path, study: str) -> Scope:
    read, unreadable = _read(root, study)
    tables = tuple(thing.key for thing in read.things.values() if thing.kind in ("table", "scores"))
    return Scope(study, read, tables, whole=True, unreadable=unreadable)


def _part(root: Path, study: str, table: str | None, row: str | None, column: str | None) -> Scope:
    read, unreadable = _read(root, study)
    what = " / ".join([study, *(part or "*" for part in (table, row, column))])
    return Scope(what, read, () if unreadable else read.part(table, row, column), unreadable=unreadable)


def _result(root: Path, study: str, file: str) -> Scope:
    """A file of results/: a table's stands for the table, any other for the study."""
    whole = _study(root, study)
    table = whole.published.tables.get(Path(file).name.split(".")[0])
    if whole.unreadable or table is None:
        return whole
    return Scope(f"results/{study}/{file}", whole.published, (table.key,))


def _thing(root: Path, key: str) -> Scope:
    for study in published.studies(root):
        read, unreadable = _read(root, study)
        if key in read.things or (unreadable and _names(root, study, key)):
            return Scope(key, read, (key,), unreadable=unreadable)
    return Scope(key, Published(root, "", None, {}, dict(_from_store(root, key)), ()), (key,))


def _names(root: Path, study: str, key: str) -> bool:
    file = root / "results" / study / "manifests.json"
    return file.is_file() and key.encode() in file.read_bytes()


def _from_store(root: Path, key: str) -> Iterator[tuple[str, Thing]]:
    """A thing that no results know, and all that it is made of, as the store has them.

    Raises:
        RedistillError: it is not in the store, or its manifest cannot be read.
    """
    waiting, seen = [key], set[str]()
    while waiting:
        one = waiting.pop()
        folder = folder_of(root, one)
        if one in seen or (folder is None and one != key):
            continue
        if folder is None:
            raise RedistillError(f"no results and nothing in the store have the key {key}; `redistill plan` lists keys")
        seen.add(one)
        try:
            manifest = store.read_manifest(folder)
            parts = manifest["key_parts"]
            inputs: dict[str, str] = dict(parts["inputs"])
            thing = Thing(
                one, parts["kind"], _title(root, one), folder.parent.name, store.digest_of(manifest), inputs,
                manifest["files"], parts,
            )  # fmt: skip
        except (OSError, ValueError, LookupError, TypeError) as error:
            where = (folder / "manifest.json").relative_to(root)
            raise RedistillError(f"{where}: cannot be read ({error.__class__.__name__})") from None
        yield one, thing
        waiting.extend(inputs.values())


def _title(root: Path, key: str) -> str:
    try:
        return str(record.read(record.place(root, key))["what"])
    except (OSError, RedistillError, LookupError):
        return key


# --- results that can be read ----------------------------------------------------------------------------------------


def _read(root: Path, study: str) -> tuple[Published, Problems]:
    """A study's results, or nothing and why.

    Raises:
        RedistillError: there are none at all.
    """
    nothing = Published(root, study, None, {}, {}, ())
    if not (root / "results" / study).is_dir():
        published.read(root, study)  # says what to do
    problems = tuple(_unreadable(root, study))
    if problems:
        return nothing, problems
    try:
        read = published.read(root, study)
        _ = read.cells, read.tables  # what they are made of has the form that it should have
        return read, ()
    except (RedistillError, LookupError, TypeError, AttributeError) as error:
        return nothing, ((f"results/{study}/parts.json", f"does not go with manifests.json ({error})"),)


def _unreadable(root: Path, study: str) -> Iterator[tuple[str, str]]:
    """Files that cannot be read, and what in them has not the form that it should have."""
    for name in published.FILES:
        where = f"results/{study}/{name}"
        try:
            text = (root / where).read_text(encoding="utf-8")
            if name in _FORMS:
                _FORMS[name].validate_json(text)
            elif wrong := _lines(text):
                yield where, wrong
        except FileNotFoundError:
            yield where, "is not there"
        except ValidationError as error:
            yield where, f"cannot be read: {first_of(error)}"
        except (OSError, ValueError) as error:
            yield where, f"cannot be read ({error.__class__.__name__})"


def _inner(name: str) -> str:
    """A file's name, which must not lead out of its folder."""
    if name.startswith("/") or ".." in name.split("/"):
        raise ValueError("leads out of its folder")
    return name


def _place(cell: str) -> str:
    if cell.count(" / ") != 2:
        raise ValueError("is no table, row and column")
    return cell


class _File(Section):
    sha256: Digest
    size: int


class _Entry(Section):
    kind: str
    title: str
    area: Annotated[str, StringConstraints(pattern=f"^({'|'.join(store.AREAS)})$")]
    digest: Digest
    inputs: dict[str, Key]
    files: dict[Annotated[str, AfterValidator(_inner)], _File]
    cells: list[Annotated[str, AfterValidator(_place)]] = Field([])


class _Parts(Section):
    config: dict[str, dict[str, Any]]
    code: dict[str, dict[str, Any]]
    packages: dict[str, dict[str, Any]]
    keys: dict[str, dict[str, Any]]


_FORMS = {"manifests.json": TypeAdapter[Any](dict[Key, _Entry]), "parts.json": TypeAdapter[Any](_Parts)}


def _lines(text: str) -> str:
    """What is wrong with runs.tsv."""
    first, *lines = text.split("\n")
    if first.split("\t") != [*COLUMNS]:
        return f"its columns are not {', '.join(COLUMNS)}"
    for number, line in enumerate(lines[:-1], 2):
        fields = line.split("\t")
        if len(fields) != 5 or not re.fullmatch("[0-9]{1,18}", fields[3]) or not KEY.fullmatch(fields[4]):
            return f"line {number} is not a table, an experiment, a task, a seed and a key"
    return "" if lines and lines[-1] == "" else "its last line is cut off"
