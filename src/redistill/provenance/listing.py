"""What store.dvc names: a list of the store's files and their MD5, in DVC's format; lists of several clones, united.

`dvc add store` would write a list of what this clone has. This one only grows: a clone that has a part of the store
adds to what others have pushed.
"""

import hashlib
import json
import os
import re
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

from redistill.errors import IntegrityError, RedistillError
from redistill.provenance import store
from redistill.provenance.remote import Remote, download, is_plain, upload
from redistill.provenance.store import write_atomically

POINTER = "store.dvc"
RECORDS = "records"
Files = dict[str, str]  # path within a thing -> MD5; for a record, which is a single file, "" -> MD5
Listing = dict[str, Files]  # "runs/<key>" or "records/<key>.json" -> its files


class DiffersError(RedistillError):
    """The same key with other files: `file` is the first that differs."""

    def __init__(self, file: str, one: str, other: str):
        self.file = file
        super().__init__(
            f"store/{file}: was made twice and differs (MD5 {one} and {other}). A thing is a function of its key, so "
            "one of them is wrong, or made on another kind of processor (docs/versions.md says what to do)"
        )


def names(root: Path) -> list[str]:
    """The lists that store.dvc names: one, or those of both sides where git has left a conflict.

    Raises:
        RedistillError: it is not what `redistill push` writes.
    """
    file = root / POINTER
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    found = list(dict.fromkeys(re.findall(r"\bmd5: ([0-9a-f]{32}\.dir)\s*$", text, re.MULTILINE)))
    if text.strip() and not found:
        raise RedistillError(f"{POINTER} is not what `redistill push` writes; take it from git again")
    return found


def is_in_conflict(root: Path) -> bool:
    file = root / POINTER
    return file.is_file() and "<<<<<<<" in file.read_text(encoding="utf-8")


def read(root: Path, remote: Remote, without: Container[str] = ()) -> Listing:
    """What store.dvc names, from this clone's cache or the remote, but for these keys.

    Raises:
        IntegrityError: a list is not what its name says.
        DiffersError: the two sides of a conflict have the same key with other files.
    """
    everything = (_one(remote, name) for name in names(root))
    return united({name: of for name, of in one.items() if key_of(name) not in without} for one in everything)


def united(listings: Iterable[Listing]) -> Listing:
    """All that the lists name. Of a record, which may differ, the first is taken."""
    whole: Listing = {}
    for listing in listings:
        for name, files in listing.items():
            if not name.startswith(f"{RECORDS}/"):
                refuse_other(name, whole.get(name, files), files)
            whole.setdefault(name, files)
    return whole


def refuse_other(name: str, one: Mapping[str, str], other: Mapping[str, str]) -> None:
    """Raises:
    DiffersError: the same thing with other files."""
    for file in sorted(one.keys() | other.keys()):
        if one.get(file) != other.get(file):
            raise DiffersError(f"{name}/{file}", one.get(file, "none"), other.get(file, "none"))


def write(root: Path, remote: Remote, listing: Listing) -> bool:
    """Put the list there and let store.dvc name it; returns whether it named another before."""
    raw = _text(listing)
    name = f"{md5_of_bytes(raw)}.dir"
    _object(remote, name).parent.mkdir(parents=True, exist_ok=True)
    if not _object(remote, name).is_file():
        write_atomically(_object(remote, name), raw.decode("utf-8"), sync=False)
        _object(remote, name).chmod(0o444)
    upload(remote, _object(remote, name), name)
    if names(root) == [name] and not is_in_conflict(root):
        return False
    files = sum(map(len, listing.values()))
    write_atomically(root / POINTER, f"outs:\n- md5: {name}\n  nfiles: {files}\n  hash: md5\n  path: store\n")
    return True


def _text(listing: Listing) -> bytes:
    """The list as DVC itself would write it."""
    paths = {f"{name}/{file}" if file else name: md5 for name, files in listing.items() for file, md5 in files.items()}
    entries = [{"md5": md5, "relpath": path} for path, md5 in sorted(paths.items())]
    return json.dumps(entries, sort_keys=True).encode("utf-8")


def _one(remote: Remote, name: str) -> Listing:
    file = _object(remote, name)
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            download(remote, name, file)
        except RedistillError as error:
            raise RedistillError(
                f"{POINTER}: the remote `{remote.name}` does not give the list that it names. Was it pushed, and to "
                "this remote? `dvc remote list` shows where that is; --remote takes another, and `dvc remote modify "
                f"--local {remote.name} url PLACE` moves this one. {error}"
            ) from None
    raw = file.read_bytes()
    if f"{md5_of_bytes(raw)}.dir" != name:
        file.unlink()
        found = hashlib.sha256(raw).hexdigest()
        raise IntegrityError(file, f"that of the list with MD5 {name}", found, "It was removed from DVC's cache.")
    return _parsed(name, raw)


def _parsed(name: str, raw: bytes) -> Listing:
    try:
        entries = [(str(e["relpath"]), str(e["md5"])) for e in json.loads(raw)]
    except (ValueError, KeyError, TypeError):
        raise RedistillError(f"{POINTER}: the list {name} is none that `redistill push` or DVC writes") from None
    listing: Listing = {}
    for path, md5 in entries:
        area, _, rest = path.partition("/")
        key, _, file = rest.partition("/")
        if not is_plain(path, md5):  # it comes from others, and may not lead out of the store or of the cache
            raise RedistillError(f"{POINTER}: the list {name} names `{path}` ({md5}), which cannot be in the store")
        if area in store.AREAS if file else area == RECORDS:  # `dvc add` takes whatever lies there
            listing.setdefault(f"{area}/{key}", {})[file] = md5
    return listing


def _object(remote: Remote, name: str) -> Path:
    return remote.cache / name[:2] / name[2:]


def md5_of_bytes(raw: bytes) -> str:
    return hashlib.md5(raw, usedforsecurity=False).hexdigest()


def md5_of(file: Path) -> str:
    """The name that DVC gives a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def key_of(name: str) -> str:
    """The key in `runs/<key>` or `records/<key>.json`."""
    return os.path.basename(name).removesuffix(".json")
