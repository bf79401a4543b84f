"""What a word can mean to a study: which of its things it names."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from redistill.config import compose
from redistill.errors import ConfigError
from redistill.provenance import store
from redistill.provenance.published import Published, Thing
from redistill.questions.sides import commit_named
from redistill.questions.state import thing_with
from redistill.questions.why import record_of

_COMMIT = re.compile(r"[0-9a-f]{4,40}")
_NO_KEY = "no key counts it, so no number depends on it"
RUNS = ("run", "baseline", "outputs")


@dataclass(frozen=True)
class Meaning:
    """What a word was understood as, and which things of a study are or use it. `hint` says why there may be none."""

    said: str
    fits: Callable[[Published, Thing], bool]
    hint: str = ""

    def keys(self, read: Published) -> Iterator[str]:
        yield from (key for key, thing in read.things.items() if self.fits(read, thing))


def of(root: Path, what: str, reads: list[Published]) -> list[Meaning]:
    """Everything that a word means to one of the studies; [] if to none."""
    if named := thing_with({key: thing for read in reads for key, thing in read.things.items()}, what):
        return [_thing(named)]
    found = [meaning for meaning in (*_names(what), _package(what)) if any(any(meaning.keys(r)) for r in reads)]
    if not found:
        found = [*_file(root, what, reads), *_commit(root, what, reads), *_other_package(what, reads)][:1]
    return found


def names(read: Published) -> set[str]:
    """The words that mean something to a study, for a hint."""
    found = set[str]()
    for thing in read.things.values():
        found |= {_first(thing), *thing.parts["packages"], *thing.parts["code"], *_methods(thing.parts["config"])}
    return found


# --- names -----------------------------------------------------------------------------------------------------------


def _thing(named: Thing) -> Meaning:
    return Meaning(f"the {named.kind} {named.title} ({named.key})", lambda _, thing: thing.key == named.key)


def _names(what: str) -> Iterator[Meaning]:
    """A source, a task, an experiment, a method, a module."""
    name = what
    for folder in ("tasks", "experiments"):
        name = compose.name_of(folder, name)
    if name != what:  # a file: see there
        return
    yield Meaning(f"the source {what}", lambda _, t: t.kind in ("data", "model") and t.title == what)
    yield Meaning(f"the task {what}", lambda _, t: t.kind == "dataset" and _first(t) == what)
    yield Meaning(f"the experiment {what}", lambda _, t: t.kind in RUNS and _named(t) == what)
    yield Meaning(f"the method {what}", lambda _, t: what in _methods(t.parts["config"]))
    yield Meaning(f"the module {what}", lambda _, t: what in t.parts["code"])


def _package(what: str) -> Meaning:
    name, _, version = (part.strip() for part in what.partition("=="))

    def fits(_: Published, thing: Thing) -> bool:
        return any(_plain(package) == _plain(name) and version in ("", theirs)
                   for package, theirs in thing.parts["packages"].items())  # fmt: skip

    return Meaning(f"the package {name}{f' in version {version}' if version else ''}", fits)


def _other_package(what: str, reads: list[Published]) -> Iterator[Meaning]:
    """A package that numbers use in another version, or that is installed and not in any key."""
    name = what.partition("==")[0].strip()
    versions = {version for read in reads for thing in read.things.values()
                for package, version in thing.parts["packages"].items() if _plain(package) == _plain(name)}  # fmt: skip
    if versions:
        yield Meaning(f"the package {what}", _nothing, f"they use {name} {' and '.join(sorted(versions))}")
        return
    with suppress(metadata.PackageNotFoundError, ValueError):
        yield Meaning(f"the package {name}, of which {metadata.version(name)} is installed here", _nothing, _NO_KEY)


def _nothing(_: Published, __: Thing) -> bool:
    return False


def _plain(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def _first(thing: Thing) -> str:
    return thing.title.split(" · ")[0]


def _named(thing: Thing) -> str:
    """The experiment of a run, whatever its row sets; the task of a data set."""
    return _first(thing).partition("@")[0]


def _methods(config: Any) -> set[str]:
    """The components that a config names."""
    found = [value.get("method") for value in _within(config) if isinstance(value, dict)]
    return {method for method in found if isinstance(method, str)}


def _within(value: Any) -> Iterator[Any]:
    """A value of a config and all that is in it, at any depth."""
    yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _within(inner)


# --- files -----------------------------------------------------------------------------------------------------------


def _file(root: Path, what: str, reads: list[Published]) -> Iterator[Meaning]:
    """A file of the project, whether it is still there or not; one from elsewhere is known by its content."""
    path = _inside(root, what)
    parts = path.parts if path is not None else ()
    if path is not None and parts[:2] == ("src", "redistill") and path.suffix == ".py":
        yield _module(".".join(parts[1:])[: -len(".py")].removesuffix(".__init__"), path)
    elif parts[:1] == ("configs",) and path is not None and path.suffix == ".yaml":
        yield from _config(root, path, reads)
    elif parts[:1] == ("store",) and len(parts) > 2:
        yield from _stored(parts, reads)
    elif parts[:1] == ("results",) and len(parts) > 1 and path is not None:
        yield from _published(path, reads)
    file = root / path if path is not None else Path(what)
    with suppress(OSError, ValueError):
        if file.is_file():
            yield _by_content(what, file, path)


def _inside(root: Path, what: str) -> Path | None:
    """A path from the project's folder, by where one stands or by the project; None if it leads out of it."""
    top = root.resolve()
    with suppress(OSError, ValueError, RuntimeError):
        tried = [(folder / what).resolve() for folder in (Path.cwd(), top)]
        inside = [path for path in tried if path.is_relative_to(top)]
        there = [path for path in inside if path.exists()] or inside[-1:]
        if there:
            return there[0].relative_to(top)
    return None


def _module(module: str, path: Path) -> Meaning:
    return Meaning(f"the module {module} ({path})", lambda _, t: module in t.parts["code"], _NO_KEY)


def _config(root: Path, path: Path, reads: list[Published]) -> Iterator[Meaning]:
    folder, name = path.parts[1] if len(path.parts) > 2 else "", "/".join(path.parts[2:])[: -len(".yaml")]
    if path.name == "sources.yaml":
        yield Meaning("the sources", lambda _, t: t.kind in ("data", "model"))
    elif folder == "studies":
        yield Meaning(f"the study {name}", lambda read, _: read.study == name, f"the study {name} has no results")
    elif folder in ("tasks", "experiments"):
        users, kinds = set(_users(root, folder, str(path))), ("dataset",) if folder == "tasks" else RUNS

        def fits(_: Published, thing: Thing) -> bool:
            if folder == "tasks" and thing.kind == "cell":  # its metric is from the task's file
                return thing.title.split(" · ")[-1] in users
            return thing.kind in kinds and _named(thing) in users

        used = sorted({_named(t) for read in reads for t in read.things.values() if t.kind in kinds} & users)
        names = ", ".join(used[:4]) + (f" and {len(used) - 4} more" if len(used) > 4 else "")
        hint = "no study with results has anything of it"
        yield Meaning(f"the file of {folder} {names or name}", fits, hint)


def _users(root: Path, folder: str, path: str) -> Iterator[str]:
    """The tasks or experiments that take values from a file: itself, and those that extend it."""
    for name in compose.known(root, folder):
        with suppress(ConfigError):
            document = compose.read(root, folder, name)
            if path == f"configs/{folder}/{name}.yaml" or any(p.file == path for p in document.places.values()):
                yield name


def _stored(parts: tuple[str, ...], reads: list[Published]) -> Iterator[Meaning]:
    area, key = parts[1], parts[2].removesuffix(".json")
    if any(key in read.things for read in reads):
        thing = next(read.things[key] for read in reads if key in read.things)
        if area == "records":
            yield Meaning(f"the record of {thing.kind} {thing.title}", _nothing,
                          "a record says how a thing came to be, and no number is made of it")  # fmt: skip
        else:
            yield _thing(thing)


def _published(path: Path, reads: list[Published]) -> Iterator[Meaning]:
    if any(path.parts[1] == read.study for read in reads):
        yield Meaning(
            f"what is published of {path.parts[1]}", _nothing,
            "results/ is copied from the store, and no number is made of it; `redistill why` says what a number is of",
        )  # fmt: skip


def _by_content(what: str, file: Path, path: Path | None) -> Meaning:
    """A file that is none of these: things that hold the same bytes, or a plugin of its name."""
    digest, stem = store.sha256_file(file), file.stem

    def fits(_: Published, thing: Thing) -> bool:
        held = [said.get("sha256") for said in thing.files.values()]
        plugin = path is not None and any(n.startswith("plugin:") and n.split(":")[-1] == stem and file.suffix == ".py"
                                          for n in thing.parts["code"])  # fmt: skip
        return digest in held or digest in _within(thing.parts["config"]) or plugin

    return Meaning(f"the file {what} (SHA-256 {digest[:12]}...)", fits, _NO_KEY)


# --- commits ---------------------------------------------------------------------------------------------------------


def _commit(root: Path, what: str, reads: list[Published]) -> Iterator[Meaning]:
    """A commit, by any name that git has for it: what was made when the code was at it, as records say."""
    named = commit_named(root, what)
    begins = named or (what if _COMMIT.fullmatch(what) else None)
    if begins is None:
        return
    made = {key: str((noted.get("code") or {}).get("commit") or "")
            for key in {key for read in reads for key in read.things} if (noted := record_of(root, key))}  # fmt: skip
    at = {key for key, commit in made.items() if commit.startswith(begins)}
    if at or named:
        hint = "no record is here to say what was made at it; `redistill pull` brings those of the remote"
        if made:
            hint = f"{len(made)} records are here, and none says that something was made at it"
        yield Meaning(f"the commit {begins}", lambda _, t: t.key in at, hint)
