"""Versions of the store: its things to and from DVC's remote, all or some; only what is missing moves.

Git holds store.dvc, which names a list of what was pushed; the remote holds the files. They go straight from the store
to the remote and back: DVC's cache in the clone gets the lists alone, so nothing lies on a disk twice.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from redistill.errors import IntegrityError, RedistillError, writing
from redistill.provenance import listing as lists
from redistill.provenance import published, seal, store
from redistill.provenance.bringing import REFUSED, brought, files_of
from redistill.provenance.keys import KEY
from redistill.provenance.listing import RECORDS, DiffersError, Listing, md5_of
from redistill.provenance.remote import (
    Moved,
    Remote,
    at_once,
    lacking,
    opened,
    pushed_keys,
    said_of,
    say_of,
    upload,
)

# --- push ------------------------------------------------------------------------------------------------------------


def push(
    root: Path,
    keys: Iterable[str] | None = None,
    remote: str | None = None,
    *,
    also: Iterable[str] = (),
    replace: bool = False,
    forget: bool = False,
) -> Moved:
    """Copy finished things, all or those with these keys, and their records to the remote, and add them to what
    store.dvc names. What others have pushed stays named, whether it is here or not.

    Args:
        also: keys of things that may be missing.
        replace: what is here under these keys takes the place of what others have pushed and store.dvc names.
        forget: let store.dvc name what this store has and nothing more, as after `redistill prune`; records stay named.

    Raises:
        DiffersError: somebody has pushed the same key with other files; nothing was pushed.
        IntegrityError: a thing here is not what its manifest says; nothing was pushed.
        RedistillError: there is nothing to push, a key is not in the store, the remote failed, or store.dvc would
            forget what results/ name.
    """
    wanted = None if keys is None else set(keys)
    here, ours = _here(root, wanted, set(also)), wanted or set() if replace else set()
    with writing(root / "store"), store.locked(root / "store", "push"), opened(root, remote) as there:
        listed = lists.read(root, there, without=ours)
        mine = _mine(root, here, listed)
        if forget:
            listed = _still_named(root, listed, mine)
        known = pushed_keys(there) - ours
        _refuse_others(there, {name: files for name, files in mine.items() if lists.key_of(name) in known})
        moved = _upload(root, there, mine)
        _say(root, there, {name: files for name, files in mine.items() if lists.key_of(name) not in known})
        moved.changed = lists.write(root, there, lists.united([mine, listed]))
    new = mine.keys() - listed.keys()
    moved.things = len(_things(new))
    moved.records = len(new) - moved.things
    return moved


def _here(root: Path, wanted: set[str] | None, also: set[str]) -> dict[str, Path]:
    """Finished things and records in the store by their names, those of these keys or all.

    Raises:
        RedistillError: there are none, or some of these keys have none.
    """
    things = [f for area in store.AREAS for f in (root / "store" / area).glob("*") if store.is_done(f)]
    found = {}
    for path in sorted([*things, *(root / "store" / RECORDS).glob("*.json")]):
        if KEY.fullmatch(path.stem) and (wanted is None or path.stem in wanted | also):
            found[path.relative_to(root / "store").as_posix()] = path
    absent = sorted((wanted or set()) - {lists.key_of(name) for name in _things(found)})
    if absent:
        raise RedistillError(f"not in the store, so nothing was pushed: {_some(absent)}")
    if not found:
        raise RedistillError("the store is empty: there is nothing to push; `snakemake --cores all` makes a study")
    return found


def _things(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith(RECORDS)]


def _mine(root: Path, here: dict[str, Path], listed: Listing) -> Listing:
    """The files of what is here. A thing that is listed has the same ones: its done.json seals them.

    A record that others have pushed stays theirs, as it tells of another making of the same thing; but one that a seal
    in results/ names is ours.
    """
    mine, sealed = Listing(), _sealed_records(root)
    for name, path in here.items():
        if path.is_file():
            ours = name not in listed or (path.stem in sealed and sealed[path.stem] == store.sha256_file(path))
            mine[name] = {"": md5_of(path)} if ours else listed[name]
        elif name in listed and listed[name].get("done.json") == md5_of(path / "done.json"):
            mine[name] = listed[name]
        else:
            store.trust(root, path)
            mine[name] = files_of(path)
            lists.refuse_other(name, mine[name], listed.get(name, mine[name]))
    return mine


def _still_named(root: Path, listed: Listing, mine: Listing) -> Listing:
    """What is here, and all records.

    Raises:
        RedistillError: results/ name more.
    """
    gone = {lists.key_of(name) for name in _things(listed) if name not in mine}
    needed = sorted(gone & store.published(root).keys())
    if needed:
        raise RedistillError(
            f"store.dvc would forget {len(needed)} things that results/ name and that are not here ({_some(needed)}): "
            "`redistill pull --study STUDY` brings them"
        )
    return {name: files for name, files in listed.items() if lists.key_of(name) not in gone or name.startswith(RECORDS)}


def _sealed_records(root: Path) -> dict[str, str]:
    """SHA-256 of the records that the seals in results/ name, by key. A seal that cannot be read names none."""
    found: dict[str, str] = {}
    for study in published.studies(root):
        with suppress(RedistillError, LookupError, TypeError):
            found |= seal.read(root, study)[0]["records"]["sha256"]
    return found


def _refuse_others(there: Remote, mine: Listing) -> None:
    """Stop where somebody has pushed one of these with other files, on whatever branch of git."""

    def compare(name: str) -> None:
        lists.refuse_other(name, mine[name], said_of(there, lists.key_of(name))["files"])

    at_once(compare, _things(mine))


def _say(root: Path, there: Remote, mine: Listing) -> None:
    """Write down what is pushed under each key."""
    scratch = root / "store" / "work" / "push"

    def say(name: str) -> None:
        area, key = name.split("/")
        record = mine.get(f"{RECORDS}/{key}.json", {}).get("")
        say_of(there, key, {"area": area, "files": mine[name], "record": record}, scratch)

    at_once(say, _things(mine))
    _refuse_others(there, mine)  # somebody may have pushed the same at this moment


def _upload(root: Path, there: Remote, mine: Listing) -> Moved:
    """Copy the objects that the remote lacks."""
    files = {md5: root / "store" / name / file for name, of in mine.items() for file, md5 in of.items()}
    missing = sorted(lacking(there, files))

    def up(md5: str) -> int:
        found = md5_of(files[md5])
        if found == md5:
            upload(there, files[md5], md5)
            return files[md5].stat().st_size
        if files[md5].parent.name == RECORDS:  # another's record, which the remote has lost
            return -1
        raise IntegrityError(files[md5], f"that of the file with MD5 {md5}", store.sha256_file(files[md5]))

    sizes = [size for size in at_once(up, missing, "push") if size >= 0]
    return Moved(objects=len(sizes), size=sum(sizes))


# --- pull ------------------------------------------------------------------------------------------------------------


def pull(
    root: Path, keys: Iterable[str] | None = None, remote: str | None = None, *, also: Iterable[str] = ()
) -> Moved:
    """Bring what store.dvc names and the store lacks, all or the things with these keys with their records; of these,
    also what others have pushed and this clone's store.dvc does not name. What is there is neither removed nor
    overwritten.

    Args:
        also: keys of things that are brought too, where somebody has pushed them.

    Raises:
        IntegrityError: names the first file that is not as published; its thing is not in the store, whole ones are.
        DiffersError: a thing in the store has other files than the one that was pushed.
        RedistillError: nothing was pushed yet, nobody has pushed a key, the remote failed, or the store is not to be
            written.
    """
    wanted = None if keys is None else set(keys)
    if wanted is None and not lists.names(root):
        raise RedistillError(f"there is no {lists.POINTER}: nothing was pushed yet; `redistill push` does that")
    with writing(root / "store"), opened(root, remote) as there:
        named = _named(root, there, wanted, set(also))
        # Records first: what is in the store has one.
        ordered = sorted(named.items(), key=lambda item: not item[0].startswith(RECORDS))
        outcomes = at_once(lambda item: brought(root, there, *item), ordered, "pull")
    moved = sum((outcome for outcome in outcomes if isinstance(outcome, Moved)), Moved())
    refused = [outcome for outcome in outcomes if not isinstance(outcome, Moved)]
    if refused:
        raise _all_said(refused, moved)
    return moved


def _named(root: Path, there: Remote, wanted: set[str] | None, also: set[str]) -> Listing:
    """What is to be in the store: what the list has of it, and what was pushed under other keys."""
    listed = lists.read(root, there)
    if wanted is None:
        return listed
    named = {name: files for name, files in listed.items() if lists.key_of(name) in wanted | also}
    more = (wanted | also) - {lists.key_of(name) for name in _things(named)}
    more = {key for key in more if not any(store.is_done(root / "store" / area / key) for area in store.AREAS)}
    named |= _unlisted(there, more)
    absent = sorted((more & wanted) - {lists.key_of(name) for name in _things(named)})
    if absent:
        raise RedistillError(f"nobody has pushed this to the remote `{there.name}`: {_some(absent)}")
    return named


def _unlisted(there: Remote, keys: set[str]) -> Listing:
    """What was pushed under these keys, as far as its objects are still there: `dvc gc` keeps what git names."""
    found: Listing = {}
    asked = sorted(keys & pushed_keys(there)) if keys else []
    for key, said in zip(asked, at_once(lambda key: said_of(there, key), asked), strict=True):
        found[f"{said['area']}/{key}"] = said["files"]
        if said["record"]:
            found[f"{RECORDS}/{key}.json"] = {"": said["record"]}
    lost = lacking(there, {md5 for files in found.values() for md5 in files.values()})
    return {name: files for name, files in found.items() if lost.isdisjoint(files.values())}


def _all_said(refused: list[IntegrityError | DiffersError], moved: Moved) -> RedistillError:
    """The first of what was refused, and how many others."""
    first, others = refused[0], len(refused) - 1
    more = (f"{others} other things were refused too. " if others else "") + f"{moved.things} whole ones were brought."
    if isinstance(first, IntegrityError):
        return IntegrityError(first.file, first.expected, first.found, f"{REFUSED} {more}")
    return RedistillError(f"{first} {more}")


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
