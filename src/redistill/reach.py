"""What tables reach: the keys that today's plans ask for, and those that results name, here and in other clones.

A clone that shares the store with others cannot plan for them: their configs and their code give other keys. So whoever
begins a study notes its keys in the store, in store/work/reached/, where the others find them. The notes also stand for
a study of this clone whose data or plugins are not on this machine now.
"""

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from redistill.config.compose import known
from redistill.errors import ConfigError, RedistillError
from redistill.plan import Plan, make_plan
from redistill.provenance import published
from redistill.provenance.keys import canonical
from redistill.provenance.store import write_atomically

OF_THE_MACHINE = ("folders.", "plugins.")  # what a study's file says of things beside the project


def note(plan: Plan) -> None:
    """Let all who share the store know what a study of this clone asks for, and what its results name."""
    if plan.checked.study.title == plan.checked.name and [*plan.checked.study.tables] == ["run"]:
        return  # an experiment alone (`check_experiment`), which no table reaches
    keys = plan.nodes.keys() | _published(plan.root)
    file = _notes(plan.root) / f"{_clone(plan.root)}-{plan.checked.name.replace('/', '--')}.json"
    text = canonical({"clone": _clone(plan.root), "study": plan.checked.name, "keys": sorted(keys)}) + "\n"
    with suppress(OSError):  # whoever cannot write there makes nothing there
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            write_atomically(file, text)


def reached(root: Path, commits: Iterable[str] = ()) -> tuple[set[str], list[str]]:
    """The keys of everything that a table reaches: of today's plans of all studies, of results/ as it is and as these
    commits have it, and of what was noted by other clones.

    A study that cannot be planned on this machine reaches what was noted of it when it was begun last; with the keys
    come sentences that name such studies, and why.

    Raises:
        RedistillError: a study has a mistake, so what it reaches is not known.
    """
    complete, keys, elsewhere, refusals = set[str](), set[str](), list[str](), list[str]()
    for study in known(root, "studies"):
        try:
            plan = make_plan(root, study)
        except ConfigError as error:
            here = all(problem.key.startswith(OF_THE_MACHINE) for problem in error.problems)
            (elsewhere if here else refusals).append(f"{study}: {error.problems[0]}")
            continue
        keys |= plan.nodes.keys()
        if not plan.checked.no_data:  # with the data, it would ask for more
            complete.add(study)
    if refusals:
        raise RedistillError(
            "what tables reach is not known, so nothing is out of their reach. Mend these studies first:\n  "
            + "\n  ".join(refusals)
        )
    keys |= _published(root) | _noted(root, complete)
    for commit in commits:
        keys |= _published_at(root, commit)
    return keys, elsewhere


def commits_with_results(root: Path) -> list[str]:
    """Every commit of every branch in which results' manifests changed."""
    return _git(root, "log", "--all", "--format=%H", "--", "results/*/manifests.json").split()


def _notes(root: Path) -> Path:
    return root / "store" / "work" / "reached"


def _clone(root: Path) -> str:
    """A name for this clone on this machine that tells neither."""
    return hashlib.sha256(f"{platform.node()}:{root.resolve()}".encode()).hexdigest()[:12]


def _noted(root: Path, complete: set[str]) -> set[str]:
    """What was noted, but for studies of this clone that have just been planned.

    Raises:
        RedistillError: a note cannot be read.
    """
    keys = set[str]()
    for file in sorted(_notes(root).glob("*.json")):
        try:
            said = json.loads(file.read_text(encoding="utf-8"))
            if said["clone"] != _clone(root) or said["study"] not in complete:
                keys |= set(map(str, said["keys"]))
        except (OSError, ValueError, LookupError, TypeError):
            where = file.relative_to(root)
            raise RedistillError(f"{where}: cannot be read, so what tables of another clone reach is unknown") from None
    return keys


def _published(root: Path) -> set[str]:
    keys = set[str]()
    for file in (root / "results").glob("*/manifests.json"):
        keys |= _keys(file.read_text(encoding="utf-8"), str(file.relative_to(root)))
    return keys


def _published_at(root: Path, commit: str) -> set[str]:
    keys = set[str]()
    names = _git(root, "ls-tree", "-r", "--name-only", commit, "--", "results").splitlines()
    for name in [name for name in names if name.endswith("/manifests.json")]:
        keys |= _keys(published.shown(root, commit, name), f"{name} at {commit}")
    return keys


def _keys(manifests: str, where: str) -> set[str]:
    with suppress(ValueError, AttributeError):
        return set(json.loads(manifests).keys())
    raise RedistillError(f"{where} cannot be read, so what its tables reach is unknown; git has it as it was")


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RedistillError(f"git cannot be asked what other commits reach: {error}") from None
    if done.returncode:
        raise RedistillError(f"git cannot be asked what other commits reach: {done.stderr.strip()[:300]}")
    return done.stdout
