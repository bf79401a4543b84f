"""A store that several use: whose files are whose, and who is at work on a key."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redistill.errors import RedistillError
from redistill.provenance import lease
from redistill.provenance.store import NO_LOCKS


def take(root: Path) -> None:
    """Where the store is a link to a folder of several users, let this process' files be theirs as the folder's mode
    says.

    Raises:
        RedistillError: the folder is not there.
    """
    store = root / "store"
    if not store.is_symlink():
        return
    if not store.is_dir():
        raise RedistillError(
            f"store is a link to {os.readlink(store)}, and there is no such folder: make it, or mount it"
        )
    take_modes(store)


def take_modes(folder: Path) -> None:
    """Let what this process writes from now on be for whom a folder is: read, written and entered by its group, or by
    all, where it is.
    """
    if folder.is_dir():
        before = os.umask(0o077)
        os.umask(before & ~(folder.stat().st_mode & 0o077))


@contextmanager
def lock_if_free(store: Path, key: str) -> Iterator[bool]:
    """Hold a key's lock and lease, as `store.locked` does, unless somebody else does: then False."""
    lock = store / "work" / f"{key}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        with lease.held_if_free(store, key) as free:
            yield free
