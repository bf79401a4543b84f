"""Bring one thing or record from DVC's remote into the store: copied beside, verified, renamed into place."""

import shutil
from pathlib import Path

from redistill.errors import IntegrityError
from redistill.provenance import listing as lists
from redistill.provenance import shared, store
from redistill.provenance.listing import RECORDS, DiffersError, Files, md5_of
from redistill.provenance.remote import LostError, Moved, Remote, download

REFUSED = "It was not put in the store: the remote does not hold what was published."


def brought(root: Path, there: Remote, name: str, files: Files) -> Moved | IntegrityError | DiffersError:
    """One thing or record, where it is missing."""
    target = root / "store" / name
    try:
        if name.startswith(RECORDS):
            return Moved() if target.is_file() else _bring(root, there, name, files, target)
        if _is_there(name, files, target) or "done.json" not in files:  # added by `dvc add` before it was finished
            return Moved()
        with shared.lock_if_free(root / "store", target.name) as free:
            return _bring(root, there, name, files, target) if free else Moved(busy=1)
    except (IntegrityError, DiffersError) as error:
        return error


def _is_there(name: str, files: Files, folder: Path) -> bool:
    """Whether a finished thing is in the store; then it has to be this one."""
    if not store.is_done(folder):
        return False
    if files.get("done.json") not in (None, md5_of(folder / "done.json")):
        lists.refuse_other(name, files, files_of(folder))
    return True


def _bring(root: Path, there: Remote, name: str, files: Files, target: Path) -> Moved:
    """Copied beside, verified, renamed into place. What an attempt before has brought is not brought again."""
    if not name.startswith(RECORDS) and (store.is_done(target) or store.recovered(target)):
        return Moved()
    beside = root / "store" / "work" / "pull" / Path(name).name
    moved = Moved()
    for file, md5 in files.items():
        copy = beside / file if file else beside
        if copy.is_file() and md5_of(copy) == md5:
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        _fetch(there, md5, copy, target / file if file else target)
        moved.objects += 1
        moved.size += copy.stat().st_size
    if beside.is_file():
        moved.records = 1
    else:
        for left in [f for f in beside.rglob("*") if f.is_file() and f.relative_to(beside).as_posix() not in files]:
            left.unlink()  # what an attempt that was killed was writing
        _verify(root, files, beside, target)
        moved.things = 1
    target.parent.mkdir(parents=True, exist_ok=True)
    beside.rename(target)
    return moved


def _fetch(there: Remote, md5: str, copy: Path, target: Path) -> None:
    """One file, as its object's name says."""
    try:
        download(there, md5, copy)
        found = md5_of(copy)
    except LostError:
        raise IntegrityError(target, f"that of the file with MD5 {md5}", "missing", REFUSED) from None
    if found != md5:
        digest = store.sha256_file(copy)
        copy.unlink()
        raise IntegrityError(target, f"that of the file with MD5 {md5}", digest, REFUSED)


def _verify(root: Path, files: Files, folder: Path, target: Path) -> None:
    """As `store.trust`, which will find what was noted here, told of the place where the thing would have been."""
    try:
        if "manifest.json" not in files:
            raise IntegrityError(folder / "manifest.json", "that of a manifest", "missing")
        store.trust(root, folder)
    except IntegrityError as error:
        shutil.rmtree(folder)
        where = target / Path(error.file).relative_to(folder)
        raise IntegrityError(where, error.expected, error.found, REFUSED) from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        digest = store.sha256_file(folder / "done.json")
        shutil.rmtree(folder)
        raise IntegrityError(target / "done.json", "that of a seal of its manifest", digest, REFUSED) from None


def files_of(folder: Path) -> Files:
    """The MD5 of each file of a thing."""
    return {f.relative_to(folder).as_posix(): md5_of(f) for f in sorted(folder.rglob("*")) if f.is_file()}
