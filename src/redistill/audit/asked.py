"""What is to be audited: a study, a part of it, the thing with a key, or what a file belongs to."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redistill.audit.again import folder_of
from redistill.config import compose
from redistill.errors import RedistillError
from redistill.provenance import published, record, store
from redistill.provenance.parts import SHARED as PIECES
from redistill.provenance.published import Published, Thing

KEY = re.compile(r"[0-9a-f]{16}")
DIGEST = re.compile(r"[0-9a-f]{64}")
Problems = list[tuple[str, str]]  # files, and what is wrong with them


@dataclass(frozen=True)
class Scope:
    """What is looked at: `things`, inputs first, up to those with the keys in `top`.

    `study` is "" where no results know it. `unreadable` says why a study's results are not there to be looked at.
    `lost` are inputs that are named and of which nothing is known, by key, and who names them.
    """

    root: Path
    what: str
    study: str
    published: Published
    top: tuple[str, ...]
    whole: bool
    unreadable: Problems
    things: tuple[Thing, ...]
    lost: dict[str, Thing]


def asked(root: Path, what: str, table: str | None, row: str | None, column: str | None) -> Scope:
    """Find what is to be audited.

    Raises:
        RedistillError: there is no such thing, or no such cell.
    """
    if any(part is not None for part in (table, row, column)):
        return _part(root, compose.name_of("studies", what), table, row, column)
    if KEY.fullmatch(what):
        return _thing(root, what)
    name = compose.name_of("studies", what)
    inside = _inside(root, what) if name not in {*published.studies(root), *compose.known(root, "studies")} else None
    if inside is None or len(inside) < 2:
        return _study(root, name)
    if inside[0] == "results":
        return _result(root, inside[1], "/".join(inside[2:]))
    key = Path(inside[2]).stem if len(inside) > 2 else ""
    if inside[0] == "store" and KEY.fullmatch(key):
        return _thing(root, key)
    raise RedistillError(
        f"{what}: nothing here is audited as that; give a study, a key, or a file below results/ or store/"
    )


def _inside(root: Path, what: str) -> list[str] | None:
    """The steps of a path from the project's folder."""
    for base in (Path.cwd(), root):
        found = compose.below(root.resolve(), base / what)
        if found is not None and (found.exists() or "/" in what):
            return list(found.relative_to(root.resolve()).parts)
    return None


def _study(root: Path, study: str) -> Scope:
    read, unreadable = _read(root, study)
    tables = [thing.key for thing in read.things.values() if thing.kind in ("table", "scores")]
    return _scope(root, study, study, read, tables, True, unreadable)


def _part(root: Path, study: str, table: str | None, row: str | None, column: str | None) -> Scope:
    read, unreadable = _read(root, study)
    what = " / ".join([study, *(f"{part or '*'}" for part in (table, row, column))])
    if unreadable:
        return _scope(root, what, study, read, [], False, unreadable)
    if row is None and column is None and table in read.tables:
        return _scope(root, what, study, read, [read.tables[table].key], False, [])
    cells = read.find_cells(table, row, column)
    return _scope(root, what, study, read, [thing.key for thing in cells.values()], False, [])


def _result(root: Path, study: str, file: str) -> Scope:
    """A file of results/: a table's stands for the table, any other for the study."""
    whole = _study(root, study)
    name = Path(file).name.split(".")[0]
    if whole.unreadable or name not in whole.published.tables:
        return whole
    key = whole.published.tables[name].key
    return _scope(root, f"results/{study}/{file}", study, whole.published, [key], False, [])


def _thing(root: Path, key: str) -> Scope:
    for study in published.studies(root):
        read, unreadable = _read(root, study)
        if key in read.things or (unreadable and _names(root, study, key)):
            top = [key] if key in read.things else []
            return _scope(root, key, study, read, top, False, unreadable)
    things = dict(_from_store(root, key))
    read = Published(root, "", None, {}, things, ())
    return _scope(root, key, "", read, [key], False, [])


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


def _scope(
    root: Path, what: str, study: str, read: Published, top: Iterable[str], whole: bool, unreadable: Problems
) -> Scope:
    """Everything that the top is made of; an input of which nothing is known is no reason to stop."""
    order, lost, state = list[Thing](), dict[str, Thing](), set[str]()
    waiting = [(key, False) for key in top]
    while waiting:
        key, left = waiting.pop()
        if left:
            order.append(read.things[key])
        elif key not in state:
            state.add(key)
            waiting.append((key, True))
            for other in read.things[key].inputs.values():
                if other in read.things:
                    waiting.append((other, False))
                else:
                    lost[other] = read.things[key]
    return Scope(root, what, study, read, tuple(top), whole, unreadable, tuple(order), lost)


# --- results that can be read ----------------------------------------------------------------------------------------


def _read(root: Path, study: str) -> tuple[Published, Problems]:
    """A study's results, or nothing and why.

    Raises:
        RedistillError: there are none at all.
    """
    nothing = Published(root, study, None, {}, {}, ())
    folder = root / "results" / study
    if not folder.is_dir():
        published.read(root, study)  # says what to do
    problems = list(_unreadable(folder, f"results/{study}"))
    if problems:
        return nothing, problems
    try:
        read = published.read(root, study)
        _ = read.cells, read.tables  # what they are made of has the form that it should have
        return read, []
    except (RedistillError, LookupError, TypeError, AttributeError) as error:
        return nothing, [(f"results/{study}/parts.json", f"does not go with manifests.json ({error})")]


def _unreadable(folder: Path, shown: str) -> Iterator[tuple[str, str]]:
    """Files that cannot be read, and what in them has not the form that it should have."""
    for name in published.FILES:
        try:
            text = (folder / name).read_text(encoding="utf-8")
            if name == "runs.tsv":
                wrong = _lines(text)
            else:
                wrong = _entries(json.loads(text)) if name == "manifests.json" else _parts(json.loads(text))
        except FileNotFoundError:
            wrong = "is not there"
        except (OSError, ValueError, RecursionError) as error:
            wrong = f"cannot be read ({error.__class__.__name__})"
        if wrong:
            yield f"{shown}/{name}", wrong


def _lines(text: str) -> str:
    """What is wrong with runs.tsv."""
    first, *lines = text.split("\n")
    if first.split("\t") != ["table", "experiment", "task", "seed", "key"]:
        return "its columns are not table, experiment, task, seed and key"
    for number, line in enumerate(lines[:-1], 2):
        fields = line.split("\t")
        if len(fields) != 5 or not re.fullmatch("[0-9]{1,18}", fields[3]) or not KEY.fullmatch(fields[4]):
            return f"line {number} is not a table, an experiment, a task, a seed and a key"
    return "" if lines and lines[-1] == "" else "its last line is cut off"


def _entries(entries: Any) -> str:
    """What is wrong with the form of manifests.json."""
    if not isinstance(entries, dict):
        return "is no mapping of keys to entries"
    for key, entry in entries.items():
        if not (KEY.fullmatch(key) and isinstance(entry, dict) and _is_entry(entry)):
            return f"the entry of {key} has not the form of one"
    return ""


def _is_entry(entry: dict[str, Any]) -> bool:
    files, inputs, cells = entry.get("files"), entry.get("inputs"), entry.get("cells", [])
    return (
        all(isinstance(entry.get(name), str) for name in ("kind", "title"))
        and entry.get("area") in store.AREAS
        and DIGEST.fullmatch(str(entry.get("digest"))) is not None
        and isinstance(inputs, dict)
        and all(isinstance(key, str) and KEY.fullmatch(key) for key in inputs.values())
        and isinstance(files, dict)
        and all(isinstance(said, dict) and _is_file(name, said) for name, said in files.items())
        and isinstance(cells, list)
        and all(isinstance(cell, str) and cell.count(" / ") == 2 for cell in cells)
    )


def _is_file(name: str, said: dict[str, Any]) -> bool:
    """A file's entry; a name must not lead out of its folder."""
    inside = not name.startswith("/") and ".." not in name.split("/")
    return inside and DIGEST.fullmatch(str(said.get("sha256"))) is not None and type(said.get("size")) is int


def _parts(parts: Any) -> str:
    """What is wrong with the form of parts.json."""
    if isinstance(parts, dict) and parts.keys() >= {*PIECES, "keys"}:
        sections = [section for section in parts.values() if isinstance(section, dict)]
        if len(sections) == len(parts) and all(isinstance(v, dict) for section in sections for v in section.values()):
            return ""
    return f"has not its parts {', '.join(PIECES)} and keys"
