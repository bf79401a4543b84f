"""The content of folders that are read where they lie: a listing of digests, from notes of what was read before.

A file is read once: its digest is noted with its size and modification time, and holds while these stay. The listing
is a function of the content alone, so a changed, an added and a removed file change it, and a copy elsewhere does not.
"""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from redistill.data.picture_files import files_below
from redistill.errors import RedistillError
from redistill.provenance.keys import sha256_text
from redistill.provenance.store import sha256_file, write_atomically

AT_ONCE = 4096  # files that wait to be read
MANY = 2000  # files that are said to be read
Notes = dict[str, tuple[int, int, str]]  # by path: size, time in nanoseconds, digest


def listing(root: Path, folder: Path, entries: list[str]) -> tuple[str, Path]:
    """The digest of a listing of files of a folder, and the file that holds it.

    Args:
        root: the project, whose store/work keeps the notes.
        entries: paths in the folder; those that end with `/` are folders, of which all files are taken.

    Raises:
        RedistillError: a file cannot be read, or has a name that no listing can hold.
    """
    found: dict[str, str] = {}
    for entry in entries:
        found |= _digests(root, folder, entry)
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(found.items()))
    digest = sha256_text(text)
    kept = _notes(root) / f"{digest}.sha256"
    if not kept.is_file():
        write_atomically(kept, text, sync=False)
    return digest, kept


def _notes(root: Path) -> Path:
    return root / "store" / "work" / "digests"


def _digests(root: Path, folder: Path, entry: str) -> dict[str, str]:
    """Digests of the files of one entry, by their path in the folder."""
    place = folder / entry
    note = _notes(root) / f"{sha256_text(str(place.resolve()))[:16]}.files"
    before, now = _read(note), dict[str, tuple[int, int]]()
    for file in files_below(place) if entry.endswith("/") else [place]:
        name = _name(file, folder)
        seen = _stat(file)
        now[name] = (seen.st_size, seen.st_mtime_ns)
    new = [name for name, seen in now.items() if before.get(name, (None, None, ""))[:2] != seen]
    after: Notes = {name: before[name] for name in now if name in before and before[name][:2] == now[name]}
    if len(new) >= MANY:
        print(f"reading {len(new)} files of {place} once, to know them again", file=sys.stderr, flush=True)
    try:
        for name, digest in _read_all(folder, new):
            after[name] = (*now[name], digest)
    finally:  # what was read is known, if the rest is read another time
        if new or len(before) != len(now):
            lines = (f"{size} {time} {digest}  {name}\n" for name, (size, time, digest) in sorted(after.items()))
            write_atomically(note, "".join(lines), sync=False)
    return {name: digest for name, (_, _, digest) in after.items()}


def _read(note: Path) -> Notes:
    if not note.is_file() or not note.stat().st_size:
        return {}
    notes: Notes = {}
    for line in note.read_text(encoding="utf-8").removesuffix("\n").split("\n"):
        said, _, name = line.partition("  ")
        size, time, digest = said.split(" ")
        notes[name] = (int(size), int(time), digest)
    return notes


def _read_all(folder: Path, names: list[str]) -> Iterator[tuple[str, str]]:
    with ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0)))) as pool:
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            yield from zip(some, pool.map(lambda name: _digest(folder / name), some), strict=True)


def _digest(file: Path) -> str:
    try:
        return sha256_file(file)
    except OSError as error:
        raise RedistillError(f"{file}: cannot be read ({error.strerror}): mend or remove it") from None


def _stat(file: Path) -> os.stat_result:
    try:
        return file.stat()
    except OSError as error:
        raise RedistillError(f"{file}: cannot be read ({error.strerror}): mend or remove it") from None


def _name(file: Path, folder: Path) -> str:
    name = file.relative_to(folder).as_posix()
    if {"\n", "\r"} & set(name) or any("\ud800" <= letter <= "\udfff" for letter in name):
        raise RedistillError(f"{folder}: the file {name!a} has a name that cannot be listed: give it another")
    return name
