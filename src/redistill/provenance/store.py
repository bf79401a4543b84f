"""The store: a folder for each key, written beside, renamed into place, and finished by `done.json`.

store/<area>/<key>/            the thing, with manifest.json
store/<area>/<key>/done.json   the manifest's digest; written last, so a thing is there or it is not
store/records/<key>.json       how it came out: times, machine, environment; written before it is put in its place
store/attempts/<key>.json      what failed or was killed before it was made
store/pictures/<key>/          what a run says of some images, drawn for people; no thing, and made anew at any time
store/latency/<key>.json       how fast a run answers on this machine; made anew at any time
store/work/<key>/              scratch of the job that is making it; store/work/<key>.lock is held meanwhile, and
                               store/work/<key>.lease between machines
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

from redistill.errors import IntegrityError, RedistillError
from redistill.provenance import lease
from redistill.provenance.keys import canonical, sha256_text

AREAS = ("data", "models", "outputs", "runs", "results")
BROKEN = "Remove that folder and it will be made again, or pull it again."
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
Manifest = dict[str, Any]


def find(store: Path, key: str) -> Path:
    """The folder of a thing that is in the store."""
    return next(store / area / key for area in AREAS if (store / area / key).is_dir())


def digest_once(root: Path, file: Path) -> str:
    """SHA-256 of a file outside the store, from a note while its size and time are what they were."""
    seen = file.stat()
    place = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:16]
    note = root / "store" / "work" / "digests" / place
    same = f"{seen.st_size} {seen.st_mtime_ns}"
    if note.is_file():
        noted, _, digest = note.read_text(encoding="utf-8").strip().rpartition(" ")
        if noted == same:
            return digest
    digest = sha256_file(file)
    write_atomically(note, f"{same} {digest}\n", sync=False)
    return digest


def sha256_file(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomically(file: Path, text: str, sync: bool = True) -> None:
    """Write beside, sync, rename: a reader sees the old text or the new one, never half.

    Without `sync`, that holds until the power fails.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.{os.getpid()}-{lease.machine()}")
    with beside.open("w", encoding="utf-8") as stream:
        stream.write(text)
        if sync:
            stream.flush()
            os.fsync(stream.fileno())
    beside.replace(file)


def pretty(value: Any) -> str:
    """JSON for files that people read in git: sorted, indented, one final newline."""
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def manifest_of(folder: Path, parts: dict[str, Any]) -> Manifest:
    """Each file's digest and size, and the parts of the key. Holds no time and no machine."""
    files = {}
    for file in sorted(f for f in folder.rglob("*") if f.is_file()):
        name = file.relative_to(folder).as_posix()
        if name not in ("manifest.json", "done.json"):
            files[name] = {"sha256": sha256_file(file), "size": file.stat().st_size}
    return {"files": files, "key_parts": parts}


def digest_of(manifest: Manifest) -> str:
    return sha256_text(canonical(manifest))


def read_manifest(folder: Path) -> Manifest:
    manifest: Manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise ValueError(f"{folder / 'manifest.json'} is no manifest")
    return manifest


def problems(folder: Path, manifest: Manifest) -> list[IntegrityError]:
    """What in a folder is not as its manifest says: changed, missing and unknown files."""
    found = []
    for name, entry in manifest["files"].items():
        file = folder / name
        actual = sha256_file(file) if file.is_file() else "missing"
        if actual != entry["sha256"]:
            found.append(IntegrityError(file, entry["sha256"], actual))
    for file in sorted(f for f in folder.rglob("*") if f.is_file()):
        name = file.relative_to(folder).as_posix()
        if name not in manifest["files"] and name not in ("manifest.json", "done.json"):
            found.append(IntegrityError(file, "no such file", sha256_file(file)))
    return found


def is_done(folder: Path) -> bool:
    return (folder / "done.json").is_file()


@contextmanager
def locked(store: Path, key: str) -> Iterator[Path]:
    """Hold the key's lock and its lease; whoever comes second waits. Yields the scratch folder of the holder.

    On one machine the kernel frees the lock when its holder dies; between machines the lease says who is alive.
    """
    lock = store / "work" / f"{key}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as stream, lease.held(store, key, alone=_flocked(stream)) as mine:
        yield lease.scratch(store, key, mine)


def _flocked(stream: IO[str]) -> bool:
    """Wait for this machine's lock; False on a file system that has none, where the lease alone counts."""
    try:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waits for {stream.name}: another process makes this", file=sys.stderr, flush=True)
            fcntl.flock(stream, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return False
    return True


def finish(folder: Path) -> None:
    """Write `done.json`: the digest of the manifest."""
    write_atomically(folder / "done.json", canonical({"manifest": digest_of(read_manifest(folder))}) + "\n")


def recovered(folder: Path) -> bool:
    """Whether a folder that lacks only its `done.json` is whole; a broken one is removed, as it was never finished."""
    if not folder.exists():
        return False
    with suppress(OSError, ValueError):  # a manifest that is not there, or not whole
        if not problems(folder, read_manifest(folder)):
            finish(folder)
            return True
    shutil.rmtree(folder)
    return False


def trust(root: Path, folder: Path) -> str:
    """Make sure that a finished thing is what its manifest says, and its manifest what git says, before it is used.

    Returns the digest of its manifest.

    A file is hashed once: what was made here, or found right, is noted in store/work with each file's size and
    modification time.

    Raises:
        IntegrityError: names the first file that is not as it was made.
    """
    try:
        manifest = read_manifest(folder)
    except (OSError, ValueError):
        raise IntegrityError(folder / "manifest.json", "a manifest", "no manifest that can be read", BROKEN) from None
    digest, note = digest_of(manifest), _noted(root, folder)
    if note.is_file() and note.read_text(encoding="utf-8") == _stamp(folder, manifest, digest):
        return digest
    done = json.loads((folder / "done.json").read_text(encoding="utf-8"))["manifest"]
    for expected in (done, published(root).get(folder.name, {"digest": done})["digest"]):
        if digest != expected:
            raise IntegrityError(folder / "manifest.json", expected, digest, BROKEN)
    for problem in problems(folder, manifest):
        raise IntegrityError(problem.file, problem.expected, problem.found, BROKEN)
    _note(root, folder, manifest)
    return digest


def _noted(root: Path, folder: Path) -> Path:
    return root / "store" / "work" / "verified" / folder.name


def _note(root: Path, folder: Path, manifest: Manifest) -> None:
    write_atomically(_noted(root, folder), _stamp(folder, manifest, digest_of(manifest)))


def _stamp(folder: Path, manifest: Manifest, digest: str) -> str:
    stats = {name: (folder / name).stat() for name in manifest["files"] if (folder / name).is_file()}
    return canonical([digest, {name: [s.st_size, s.st_mtime_ns] for name, s in stats.items()}])


@cache
def published(root: Path) -> dict[str, dict[str, Any]]:
    """What git holds of each manifest under results/, by key: its digest, and each file's digest and size."""
    entries: dict[str, dict[str, Any]] = {}
    for file in sorted((root / "results").glob("*/manifests.json")):
        try:
            entries |= json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            where = file.relative_to(root)
            raise RedistillError(f"{where} is not JSON: `git checkout {where}` brings it back") from None
    return entries


def put(
    root: Path, work: Path, folder: Path, parts: dict[str, Any], noting: Callable[[str], None] = lambda digest: None
) -> Manifest:
    """Turn a finished work folder into the thing itself.

    Args:
        noting: is told the manifest's digest just before, to write the thing's record: whatever is there has one.

    Raises:
        RedistillError: the thing exists and its bytes differ from what was made now.
    """
    manifest = manifest_of(work, parts)
    if is_done(folder):
        _same(folder, read_manifest(folder), manifest)
        shutil.rmtree(work)
        return manifest
    for name, entry in published(root).get(folder.name, {}).get("files", {}).items():
        if entry != manifest["files"].get(name):
            print(f"{folder / name}: other bytes than results/ says. Is this processor of another kind?", flush=True)
            break
    write_atomically(work / "manifest.json", pretty(manifest))
    for file in work.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
    noting(digest_of(manifest))
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        work.replace(folder)
    except OSError:
        if not is_done(folder):  # else one that was thought dead has made it meanwhile, on another machine
            raise
        _same(folder, read_manifest(folder), manifest)
        return manifest
    _note(root, folder, manifest)
    finish(folder)
    return manifest


def _same(folder: Path, old: Manifest, new: Manifest) -> None:
    for name in sorted(old["files"].keys() | new["files"].keys()):
        before, after = old["files"].get(name, {}).get("sha256"), new["files"].get(name, {}).get("sha256")
        if before != after:
            raise RedistillError(
                f"{folder / name}: made again, it differs (SHA-256 {after}, before {before}). Nothing was overwritten; "
                "if this machine's processor is of another kind, see runtime.portable"
            )
