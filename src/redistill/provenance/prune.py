"""Garbage: finished and unfinished things that nothing reaches. What is being made, and what it needs, is not garbage.

Records and notes of failed attempts stay, and DVC's cache and remote are left alone.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from redistill.errors import writing
from redistill.provenance import lease, shared, store
from redistill.provenance.keys import KEY

DAY = 86400.0


@dataclass(frozen=True)
class Garbage:
    """A folder of the store that nothing reaches. `title` is what its record calls it."""

    key: str
    folder: Path
    kind: str
    title: str
    size: int
    days: float


def garbage(root: Path, reached: Iterable[str], keep_days: float = 0) -> list[Garbage]:
    """What in the store is neither reached, nor being made, nor younger than some days, nor needed by any of these;
    first what nothing else of it is made of, so that it can be removed in this order.
    """
    places = _places(root)
    kept = set(reached) | in_progress(root)
    kept |= {key for key, folder in places.items() if _days(folder) < keep_days}
    waiting = list(kept)
    while waiting:
        key = waiting.pop()
        needed = _inputs(root, key, places.get(key)) - kept
        kept |= needed
        waiting.extend(needed)
    left = {key: _inputs(root, key, places[key]) for key in sorted(places.keys() - kept)}
    return [_garbage(root, key, places[key]) for key in _users_first(left)]


def in_progress(root: Path) -> set[str]:
    """Keys that a job is making now, or has begun to make: it may go on from where it was."""
    work = root / "store" / "work"
    begun = {folder.name for folder in work.glob("*") if folder.is_dir() and KEY.fullmatch(folder.name)}
    leased = {file.stem for file in work.glob("*.lease") if KEY.fullmatch(file.stem) and lease.is_elsewhere(file)}
    return begun | leased | {lock.stem for lock in work.glob("*.lock") if KEY.fullmatch(lock.stem) and is_held(lock)}


def remove(root: Path, unreached: Iterable[Garbage]) -> list[Garbage]:
    """Remove these, each at once or not at all; returns those that were removed. What a job has locked is left."""
    removed, away = [], root / "store" / "work" / "pruned"
    for found in unreached:
        with writing(found.folder), shared.lock_if_free(root / "store", found.key) as free:
            if not free or not found.folder.is_dir():
                continue
            away.mkdir(parents=True, exist_ok=True)
            found.folder.rename(away / f"{found.key}.{os.getpid()}")  # never half a thing
            (root / "store" / "work" / "verified" / found.key).unlink(missing_ok=True)
            shutil.rmtree(root / "store" / "pictures" / found.key, ignore_errors=True)
            (root / "store" / "latency" / f"{found.key}.json").unlink(missing_ok=True)
            removed.append(found)
    shutil.rmtree(away, ignore_errors=True)  # with what a command that was killed has left
    return removed


def _places(root: Path) -> dict[str, Path]:
    folders = [folder for area in store.AREAS for folder in (root / "store" / area).glob("*")]
    return {folder.name: folder for folder in folders if folder.is_dir() and KEY.fullmatch(folder.name)}


def is_held(lock: Path) -> bool:
    """Whether somebody holds it; one that may not be written is asked too."""
    with lock.open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _days(folder: Path) -> float:
    return (time.time() - folder.stat().st_mtime) / DAY


def _inputs(root: Path, key: str, folder: Path | None) -> set[str]:
    """Keys of what a thing is made of: from its manifest, its record, or what its job was told."""
    files = {
        root / "store" / "work" / "plans" / f"{key}.json": "parts",
        root / "store" / "records" / f"{key}.json": "key_parts",
    }
    if folder is not None:
        files[folder / "manifest.json"] = "key_parts"
    found = set[str]()
    for file, name in files.items():
        with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
            found |= set(json.loads(file.read_text(encoding="utf-8"))[name]["inputs"].values())
    return found


def _users_first(inputs: dict[str, set[str]]) -> list[str]:
    graph = {key: of & inputs.keys() for key, of in inputs.items()}
    try:
        return list(TopologicalSorter(graph).static_order())[::-1]
    except CycleError:  # nothing can be made of itself: somebody has edited manifests
        return list(inputs)


def _garbage(root: Path, key: str, folder: Path) -> Garbage:
    kind, title = "unfinished", "?"
    with suppress(OSError, ValueError, LookupError, TypeError):
        kind = str(store.read_manifest(folder)["key_parts"]["kind"])
        record = json.loads((root / "store" / "records" / f"{key}.json").read_text(encoding="utf-8"))
        title = str(record["what"])
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Garbage(key, folder, kind, title, size, _days(folder))
