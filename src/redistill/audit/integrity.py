"""Integrity: every file in the store and in results/ has its digest, and what was sealed is as it was sealed."""

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from redistill.audit.asked import Scope
from redistill.audit.report import Report
from redistill.provenance import published, seal, store, verify
from redistill.provenance.keys import canonical
from redistill.provenance.published import Thing

LEVEL = "integrity"
THREADS = 4  # hashing leaves the interpreter alone


def integrity(scope: Scope, report: Report, planned: str | None, trusted: str | None) -> None:
    """Note every file that is not what was published.

    Args:
        planned: the key that the study has by today's configs, where its results are looked for first.
        trusted: the public key that alone is believed to have sealed it.
    """
    there = [thing for thing in scope.things if store.is_done(thing.folder(scope.root))]
    counted = report.count(LEVEL, "files in the store")
    counted.of += sum(len(thing.files) for thing in scope.things)
    believed = [thing for thing in there if thing.key not in report.broken]
    crate = verify.listed(scope.root)
    with ThreadPoolExecutor(THREADS) as pool:
        for thing, found in zip(believed, pool.map(lambda t: list(_problems(scope.root, t)), believed), strict=True):
            counted.checked += len(thing.files)
            for file, message in found:
                if crate and file not in crate and not (scope.root / file).exists():
                    counted.checked -= 1
                    report.say_unchecked(LEVEL, file, "was left out of this crate", thing.key)
                else:
                    report.say_wrong(LEVEL, file, message, thing.key, breaks=True)
    if scope.study:
        _gathered(scope, report, planned)
        _sealed(scope, report, trusted)
        _committed(scope, report)


def _problems(root: Path, thing: Thing) -> Iterator[tuple[str, str]]:
    """What of a thing's folder is not as its published entry says: manifest, seal of the manifest, files."""
    folder = thing.folder(root)
    done = canonical({"manifest": thing.digest}) + "\n"
    for name, right in (("manifest.json", store.pretty(thing.manifest)), ("done.json", done)):
        try:
            if (folder / name).read_text(encoding="utf-8") != right:
                yield f"{thing.place}/{name}", f"is not the one that goes with {thing}"
        except (OSError, UnicodeDecodeError) as error:
            yield f"{thing.place}/{name}", f"cannot be read ({error.__class__.__name__})"
    try:
        for problem in store.problems(folder, thing.manifest):
            name = Path(problem.file).relative_to(folder).as_posix()
            yield f"{thing.place}/{name}", f"SHA-256 is {problem.found}, and was {problem.expected}"
    except OSError as error:
        yield thing.place, f"cannot be read ({error.__class__.__name__})"


# --- results/ --------------------------------------------------------------------------------------------------------


def _gathered(scope: Scope, report: Report, planned: str | None) -> None:
    """results/<study>/ is what the study's last job gathered, to the byte."""
    counted = report.count(LEVEL, "files of results/")
    there = {file.name: store.sha256_file(file) for file in published.files(scope.root, scope.study)}
    counted.of += len(there)
    best: tuple[Thing, list[str]] | None = None
    for folder in _jobs(scope, planned, report):
        try:
            manifest = store.read_manifest(folder)
            made = {name: entry["sha256"] for name, entry in manifest["files"].items() if name != "counts.json"}
        except (OSError, ValueError, LookupError, TypeError) as error:
            where = (folder / "manifest.json").relative_to(scope.root).as_posix()
            report.say_wrong(LEVEL, where, f"cannot be read ({type(error).__name__})")
            continue
        differ = sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))
        if best is None or len(differ) < len(best[1]):
            digest, parts = store.digest_of(manifest), manifest.get("key_parts", {})
            best = Thing(folder.name, "study", scope.study, "results", digest, {}, manifest["files"], parts), differ
    if best is None:
        said = "the study's last job is not in the store, so nothing says what it gathered"
        report.say_unchecked(LEVEL, f"results/{scope.study}", said)
        return
    counted.checked += len(there)
    job, differ = best
    for name in differ:
        said = f"is not what the study's last job gathered ({job.place})"
        report.say_wrong(LEVEL, f"results/{scope.study}/{name}", said)
    for file, message in _problems(scope.root, job):
        report.say_wrong(LEVEL, file, message)


def _jobs(scope: Scope, planned: str | None, report: Report) -> Iterator[Path]:
    """Folders in which a job has gathered this study's tables: that of today's plan first."""
    tables = sorted(thing.key for thing in scope.published.tables.values())
    area = scope.root / "store" / "results"
    folders = (f for f in area.glob("*") if f.is_dir() and f.name not in scope.published.things)
    for folder in sorted(folders, key=lambda f: f.name != planned):
        try:
            if folder.name == planned or _tables_in(folder / "manifest.json") == tables:
                yield folder
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            where = (folder / "manifest.json").relative_to(scope.root).as_posix()
            said = f"cannot be read ({type(error).__name__}), so nobody knows whether this study was gathered there"
            report.say_unchecked(LEVEL, where, said)


def _tables_in(file: Path) -> list[str] | None:
    """The keys of the tables that a study's last job has gathered; None if it is another thing, as most are."""
    text = file.read_text(encoding="utf-8")
    if not text.endswith("}\n"):
        raise ValueError("it is cut off")
    return sorted(json.loads(text)["key_parts"]["inputs"].values()) if '"kind": "study"' in text else None


def _sealed(scope: Scope, report: Report, trusted: str | None) -> None:
    """What was sealed is as it was; without a seal, nothing vouches for records."""
    file = seal.place(scope.root, scope.study)
    where = file.relative_to(scope.root).as_posix()
    if not file.exists():
        if trusted is not None:
            report.say_wrong(LEVEL, where, f"there is no seal, and {trusted} was to have made one")
        report.notes.append("no seal: nothing but git says that records and manifests are those that were made")
        return
    found = seal.check(scope.root, scope.study, trusted)
    for problem in found.problems:
        name, _, said = problem.partition(": ")
        report.say_wrong(LEVEL, *((name, said) if said else (where, problem)))
    if found.signer is not None:
        counted = report.count(LEVEL, "sealed records")
        counted.checked, counted.of = found.records, found.records + len(found.missing)
        believed = "the key that was named" if trusted is not None else "a key that nobody has named as trusted (--key)"
        report.notes.append(f"sealed by {found.signer}, {believed}")


def _committed(scope: Scope, report: Report) -> None:
    """Say whether git has the results as they are: whoever changes them and commits leaves a trace there."""
    command = ["git", "-C", str(scope.root), "status", "--porcelain", "--", f"results/{scope.study}"]
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if done.returncode == 0:
            changed = len(done.stdout.splitlines())
            said = f"differs from the last commit in {changed} files" if changed else "is as the last commit has it"
            report.notes.append(f"git: results/{scope.study} {said}")
