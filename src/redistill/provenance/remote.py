"""DVC's remote: a place for objects, each under its MD5, and for what was pushed under a key.

Where it is, and who may go there, is DVC's configuration; its file systems know folders, S3, SSH and others, and write
an object beside and rename it, or to a place that knows whole objects only: what is there is whole.

files/md5/<two digits>/<the others>    objects, as DVC has them; `.dir` behind a name: a list of files
redistill/<key>.json                   what was pushed under a key: its area, and each file's MD5
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from operator import add
from pathlib import Path
from typing import Any, TypeVar

from redistill.errors import RedistillError
from redistill.progress import track
from redistill.provenance import shared
from redistill.provenance.keys import canonical

JOBS = 8
Said = dict[str, Any]  # {"area": "runs", "files": {name: MD5}, "record": MD5 or None}
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class Moved:
    """What went over: things and records that were new there, and objects that the remote gave or got, and their size.

    `changed` says whether store.dvc names another list than before; `busy` are things that somebody here is making.
    """

    things: int = 0
    records: int = 0
    objects: int = 0
    size: int = 0
    busy: int = 0
    changed: bool = False

    def __add__(self, other: "Moved") -> "Moved":
        return Moved(*map(add, astuple(self), astuple(other)))


class LostError(RedistillError):
    """An object that the remote does not have."""


@dataclass(frozen=True)
class Remote:
    """A remote that was opened. `fs` and `objects` are DVC's; `cache` is where this clone's DVC has its own objects."""

    name: str
    path: str
    fs: Any
    objects: Any
    cache: Path

    @property
    def is_folder(self) -> bool:
        return bool(self.fs.protocol == "local")


@contextmanager
def opened(root: Path, name: str | None = None) -> Iterator[Remote]:
    """The remote of this name, or DVC's default.

    Raises:
        RedistillError: there is none, or it is of a kind that is not installed.
    """
    with _in_words("DVC's remote cannot be opened"):
        from dvc.repo import Repo

        repo = Repo(str(root))
    try:
        with _in_words(f"the remote `{name}` cannot be opened" if name else "DVC's default remote cannot be opened"):
            there = repo.cloud.get_remote(name)
            there.fs.fs.invalidate_cache()  # others write there too
            found = Remote(there.name, there.path, there.fs, there.odb, Path(repo.cache.local.path))
        if found.is_folder:
            shared.take_modes(Path(found.path))
        yield found
    finally:
        repo.close()


@contextmanager
def _in_words(what: str) -> Iterator[None]:
    """What DVC, its file systems and their libraries raise has nothing in common; here it becomes a sentence."""
    try:
        yield
    except RedistillError:
        raise
    except Exception as error:
        said = " ".join(str(error).split()) or error.__class__.__name__
        hint = "; for S3 and SSH, `pip install 'redistill[s3,ssh]'` does that" if "to be installed" in said else ""
        raise RedistillError(f"{what}: {said[:500]}{hint}. `dvc remote list` shows where it leads") from None


def lacking(remote: Remote, names: Iterable[str]) -> set[str]:
    """Which of these objects the remote does not have."""
    asked = set(names)
    with _in_words(f"the remote `{remote.name}` cannot be read"):
        return asked - set(remote.objects.oids_exist(asked)) if asked else set()


def upload(remote: Remote, file: Path, name: str) -> None:
    """Put a file there as an object."""
    _put(remote, file, remote.objects.oid_to_path(name))


def download(remote: Remote, name: str, file: Path) -> None:
    """Write an object to a file: beside it, then renamed.

    Raises:
        LostError: the remote does not have it.
    """
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    with _in_words(f"the remote `{remote.name}` does not give {name}, which is to be {file.name}"):
        try:
            remote.fs.get_file(remote.objects.oid_to_path(name), str(beside))
        except FileNotFoundError:
            raise LostError(f"the remote `{remote.name}` does not have {name}, which is to be {file.name}") from None
    beside.replace(file)


def pushed_keys(remote: Remote) -> set[str]:
    """The keys under which something was pushed, by whomever and on whatever branch."""
    with _in_words(f"the remote `{remote.name}` cannot be read"):
        try:
            return {remote.fs.name(path).removesuffix(".json") for path in remote.fs.find(_folder(remote))}
        except FileNotFoundError:
            return set()


def _folder(remote: Remote) -> str:
    return str(remote.fs.join(remote.path, "redistill"))


def said_of(remote: Remote, key: str) -> Said:
    """What was pushed under a key that is among `pushed_keys`.

    Raises:
        RedistillError: it is not what `redistill push` writes.
    """
    with _in_words(f"the remote `{remote.name}` cannot be read"):
        text = remote.fs.cat_file(remote.fs.join(_folder(remote), f"{key}.json"))
    with suppress(ValueError, LookupError, TypeError, AttributeError):
        said: Said = json.loads(text)
        entries = [*said["files"].items(), *([("record", said["record"])] if said["record"] else [])]
        # Another has written it: nothing in it may lead out of the store.
        if re.fullmatch("[a-z]+", said["area"]) and all(is_plain(*entry) for entry in entries):
            return said
    raise RedistillError(f"the remote `{remote.name}`: redistill/{key}.json is not what `redistill push` writes")


def say_of(remote: Remote, key: str, said: Said, scratch: Path) -> None:
    """Write down what was pushed under a key."""
    file = scratch / f"{key}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(canonical(said) + "\n", encoding="utf-8")
    _put(remote, file, remote.fs.join(_folder(remote), file.name))
    file.unlink()


def is_plain(name: str, md5: str) -> bool:
    """Whether this can be a file's path within the store, and an object's name."""
    parts = name.split("/")
    return not {"", ".", ".."}.intersection(parts) and "\0" not in name and bool(re.fullmatch("[0-9a-f]{32}", md5))


def at_once(function: Callable[[Item], Result], items: Iterable[Item], what: str = "") -> list[Result]:
    """Do it for each item, some at a time, in their order; the first mistake ends it, with what has begun finished."""
    everything = list(items)
    with ThreadPoolExecutor(JOBS) as pool:
        results = pool.map(function, everything)
        try:
            return list(track(results, len(everything), what) if what else results)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _put(remote: Remote, file: Path, path: str) -> None:
    with _in_words(f"the remote `{remote.name}` does not take {file.name}"):
        remote.fs.put_file(str(file), path)
        if remote.is_folder:
            os.chmod(path, 0o444)  # as DVC does; one that can be written is one that it hashes again
