"""Trace: every link of the chain is there, from the cells to the sources, with licences and records."""

from collections.abc import Iterator
from contextlib import suppress

from redistill.audit import results
from redistill.audit.asked import Scope
from redistill.audit.report import Report
from redistill.config import compose, schema
from redistill.config.parse import load
from redistill.errors import ConfigError
from redistill.provenance import record, store
from redistill.provenance.published import Thing

LEVEL = "trace"
SOURCES = ("data", "model")


def trace(scope: Scope, report: Report) -> None:
    """Note what of the chain is missing, or does not hold together."""
    for key, user in scope.lost.items():
        where = f"results/{scope.study}/manifests.json" if scope.study else f"store/*/{key}"
        said = f"has nothing of {key}, which {user} ({user.key}) is made of"
        report.say_wrong(LEVEL, where, said, user.key)
    if scope.study:
        _results(scope, report)
    else:
        report.say_unchecked(LEVEL, "", "no results name it, so nothing but the store says what it should be")
    known = _sources(scope, report)
    for thing in scope.things:
        _present(scope, thing, report)
        if thing.kind in SOURCES and thing.key not in report.broken:
            _source(scope, thing, known, report)
    _records(scope, report)


def _results(scope: Scope, report: Report) -> None:
    files = report.count(LEVEL, "files of results/")
    files.of += len(results.files_of(scope.published))
    wrong = list(results.disagreements(scope.published))
    files.checked += files.of
    for file, message, key in wrong:
        of_entry = bool(key) and file.endswith(("/manifests.json", "/parts.json"))
        report.say_wrong(LEVEL, file, message, key, breaks=of_entry)
    for file in results.others(scope.published):
        report.say_wrong(LEVEL, f"results/{scope.study}/{file}", "no job has written it")


def _present(scope: Scope, thing: Thing, report: Report) -> None:
    there = store.is_done(thing.folder(scope.root))
    report.count(LEVEL, "things in the store").add(there)
    if not there and thing.folder(scope.root).is_dir():
        said = f"is not there, so {thing} is not finished"
        report.say_wrong(LEVEL, f"{thing.place}/done.json", said, thing.key, breaks=True)
    elif not there:
        said = f"{thing} is not in the store: `redistill pull {thing.key}` brings it"
        report.say_unchecked(LEVEL, thing.place, said, thing.key)


# --- sources ---------------------------------------------------------------------------------------------------------


def _sources(scope: Scope, report: Report) -> dict[str, schema.Source] | None:
    """What configs/sources.yaml says; None if it cannot be read."""
    try:
        read = load(scope.root / "configs" / "sources.yaml", "configs/sources.yaml")
        return {name: compose.validate(schema.Source, read.sub(name), name) for name in read.data}
    except ConfigError as error:
        problem = error.problems[0]
        said = f"licences cannot be looked up: {problem.key} {problem.message}".replace("  ", " ")
        report.say_wrong(LEVEL, f"{problem.file}:{problem.line}", said)
        return None


def _source(scope: Scope, thing: Thing, known: dict[str, schema.Source] | None, report: Report) -> None:
    """A source has a licence, and the files whose digests are in its key."""
    config = thing.parts["config"]
    for name, digest in config.get("files", {}).items():
        if name in thing.files and thing.files[name]["sha256"] != digest:
            where = f"results/{scope.study}/manifests.json" if scope.study else thing.place
            said = f"{name} of {thing} has another SHA-256 than its key is made of"
            report.say_wrong(LEVEL, where, said, thing.key)
    if known is None:
        return
    found = [source for source in known.values() if source.is_fetched_by(config)]
    report.count(LEVEL, "sources with a licence").add(bool(found))
    if not found:
        said = f"no source is {thing} ({thing.key}) any more, so its licence is not known"
        report.say_unchecked(LEVEL, "configs/sources.yaml", said, thing.key)
    elif not found[0].licence.strip():
        report.say_wrong(LEVEL, "configs/sources.yaml", f"{thing.title} has no licence")


def chain(scope: Scope) -> Iterator[str]:
    """The way from the top to the sources, as a tree; what was shown before is named only."""
    known = _sources(scope, Report("", LEVEL)) or {}
    shown = set[str]()
    waiting = [(key, 0) for key in reversed(scope.top)]
    while waiting:
        key, depth = waiting.pop()
        thing = scope.published.things.get(key)
        if thing is None:
            yield f"{'  ' * depth}{key}  (nothing is known of it)"
            continue
        above = "  (above)" if key in shown else ""
        yield f"{'  ' * depth}{thing}  {key}{_licence(thing, known)}{above}"
        if key not in shown:
            shown.add(key)
            waiting.extend((other, depth + 1) for other in reversed(list(thing.inputs.values())))


def _licence(thing: Thing, known: dict[str, schema.Source]) -> str:
    if thing.kind not in SOURCES:
        return ""
    found = []
    with suppress(LookupError, TypeError):  # its parts are not what they were
        found = [source for source in known.values() if source.is_fetched_by(thing.parts["config"])]
    return f", {found[0].licence}: {found[0].citation}" if found else ", of a licence that is not known"


# --- records ---------------------------------------------------------------------------------------------------------


def _records(scope: Scope, report: Report) -> None:
    """Each thing that is there has a record, which agrees with its key and with the manifests."""
    digests = {key: thing.digest for key, thing in scope.published.things.items()}
    counted = report.count(LEVEL, "records")
    for thing in scope.things:
        file = record.place(scope.root, thing.key)
        where = file.relative_to(scope.root).as_posix()
        counted.add(file.exists())
        if file.exists():
            for said in record.disagreements(scope.root, thing.key, digests):
                report.say_wrong(LEVEL, where, said)
        elif store.is_done(thing.folder(scope.root)):
            report.say_unchecked(LEVEL, where, f"{thing} has no record", thing.key)
