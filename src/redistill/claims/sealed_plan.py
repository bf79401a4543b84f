"""A study's plan under a signature, before its first run: what was decided when nobody knew a result.

results/<study>/signed/plan.json is the newest seal. Each seal names the digest of the one before, which is kept in
signed/plans/, so that none can be replaced without a trace.
"""

import itertools
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redistill.claims import declared, envelopes
from redistill.claims.declared import Declared
from redistill.errors import RedistillError
from redistill.plan import Plan
from redistill.provenance import published, store
from redistill.provenance.attempts import iso
from redistill.provenance.checkout import code
from redistill.provenance.keys import canonical, sha256_text

PAYLOAD_TYPE = "application/vnd.redistill.plan+json"
SCHEMA = 1
LOOKED_AT = 200  # versions of the seal in git


@dataclass(frozen=True)
class Seal:
    """A sealed plan whose signature is right, and the public key that made it."""

    value: dict[str, Any]
    key: str

    @property
    def digest(self) -> str:
        return sha256_text(canonical(self.value))

    @property
    def declared(self) -> Declared:
        said: Declared = self.value["declared"]
        return said

    @property
    def made_before(self) -> dict[str, str]:
        """Titles of runs of this plan, and of those sealed before it, that were made when it was sealed; by key."""
        made: dict[str, str] = self.value["made_before"]
        return made

    @property
    def date(self) -> str:
        return str(self.value["date"])


def place(root: Path, study: str) -> Path:
    return envelopes.folder(root, study) / "plan.json"


def _kept(root: Path, study: str, digest: str) -> Path:
    return envelopes.folder(root, study) / "plans" / f"{digest}.json"


def seal_plan(plan: Plan, key_file: Path) -> tuple[Seal, bool]:
    """Seal a plan as it is now; the seal before is kept. Returns the seal, and whether it is new.

    Raises:
        SignatureError: the file of the key is no private key.
        RedistillError: the seals that there are do not hold together, so that none can be added.
    """
    root, study = plan.root, plan.checked.name
    before, said = chain(root, study), declared.declared(plan)
    if before and before[0].declared == said:
        return before[0], False
    runs = declared.runs_of(said)
    for earlier in before:
        runs |= declared.runs_of(earlier.declared)
    value = {
        "schema": SCHEMA,
        "study": study,
        "date": iso(time.time()),
        "code": code(root),
        "previous": before[0].digest if before else None,
        "made_before": made(root, study, runs),
        "declared": said,
    }
    envelopes.signed(value, PAYLOAD_TYPE, key_file)  # a key that cannot sign is refused before anything is moved
    if before:
        text = place(root, study).read_text(encoding="utf-8")
        store.write_atomically(_kept(root, study, before[0].digest), text)
    key = envelopes.write(place(root, study), value, PAYLOAD_TYPE, key_file)
    return Seal(value, key), True


def made(root: Path, study: str, runs: dict[str, str]) -> dict[str, str]:
    """Those of some runs that were made, by whomever: they are in the store, have a record, or are published."""
    known = set[str]()
    with suppress(RedistillError):
        known = set(published.read(root, study).things)
    there = (root / "store" / "runs", root / "store" / "records")
    return {
        key: title
        for key, title in runs.items()
        if key in known or store.is_done(there[0] / key) or (there[1] / f"{key}.json").is_file()
    }


def chain(root: Path, study: str) -> list[Seal]:
    """All seals of a study's plan, the newest first; none if it was never sealed.

    Raises:
        RedistillError: a seal cannot be read, its signature is wrong, or it is not the one that is named.
    """
    found: list[Seal] = []
    file, expected = place(root, study), None
    kept = envelopes.folder(root, study) / "plans"
    if not file.is_file():
        if kept.is_dir() and any(kept.glob("*.json")):
            raise RedistillError(f"{file.relative_to(root)} is missing, and seals before it are there: git has it")
        return []
    while True:
        try:
            value, key = envelopes.read(file, PAYLOAD_TYPE)
        except RedistillError as error:
            raise type(error)(str(error).replace(f"{root}/", "")) from None
        found.append(_seal(root, study, file, value, key, expected))
        expected = found[-1].value["previous"]
        if expected is None:
            return found
        file = _kept(root, study, expected)


def _seal(root: Path, study: str, file: Path, value: dict[str, Any], key: str, expected: str | None) -> Seal:
    where, seal = file.relative_to(root), Seal(value, key)
    if value.get("schema") != SCHEMA or value.get("study") != study:
        raise RedistillError(f"{where}: is a plan of {value.get('study')}, schema {value.get('schema')}")
    if not {"date", "previous", "made_before", "declared"} <= value.keys():
        raise RedistillError(f"{where}: holds no sealed plan that can be read")
    if expected is not None and seal.digest != expected:
        raise RedistillError(f"{where}: is not the seal that the next one names ({expected[:16]})")
    return seal


def reference(seals: list[Seal]) -> Seal:
    """The plan that counts: the first under which a run was made. What was sealed anew before that was a draft."""
    oldest_first = seals[::-1]
    for one, following in itertools.pairwise(oldest_first):
        if following.made_before:
            return one
    return oldest_first[-1]


def unnamed(root: Path, study: str, seals: list[Seal]) -> Iterator[tuple[str, Seal]]:
    """Seals that git has had in this place and that the chain does not name, with their commits."""
    name = place(root, study).relative_to(root).as_posix()
    known = {seal.digest for seal in seals}
    for commit in _commits(root, name):
        with suppress(RedistillError, LookupError):
            text = published.shown(root, commit, name)
            seal = Seal(*envelopes.parsed(text, name, PAYLOAD_TYPE))
            if seal.digest not in known:
                known.add(seal.digest)
                yield commit, seal


def _commits(root: Path, name: str) -> list[str]:
    """Commits, of any branch, in which a file was changed."""
    command = ["git", "-C", str(root), "log", "--all", f"--max-count={LOOKED_AT}", "--format=%H", "--", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.split() if done.returncode == 0 else []
