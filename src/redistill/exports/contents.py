"""Which files a crate has, laid out as in the project: so what reads a project reads a crate."""

from collections.abc import Set
from pathlib import Path

from redistill.errors import IntegrityError, RedistillError
from redistill.exports.facts import Study
from redistill.provenance import store, verify
from redistill.provenance.published import Thing

RUNS = ("none", "predictions", "all")
# Of the project: what made the study, and under which terms.
PROJECT = (
    "Snakefile", "workflow/**/*.smk", "configs/**/*.yaml", "envs/requirements.lock", "LICENSE", "CITATION.cff",
    "pyproject.toml",
)  # fmt: skip
# Of a run, what it takes to compute its metrics again, and to see how it was trained.
OF_RUNS = ("predictions.parquet", "log.jsonl", "resolved.json")
SEALS = ("manifest.json", "done.json")


def chosen(study: Study, runs: str) -> dict[str, Path]:
    """The files of a crate by their path in it.

    Args:
        runs: `none`: what was published, with records and what cells and tables are made of; `predictions`: and what
            runs said, so that every number can be computed again; `all`: and weights, data and teachers' outputs.

    Raises:
        RedistillError: a file that belongs into it is missing.
    """
    if runs not in RUNS:
        raise RedistillError(f"--runs takes {', '.join(RUNS)}, not `{runs}`")
    root, found = study.root, dict[str, Path]()
    if not (root / "Snakefile").is_file():
        raise RedistillError(f"{root / 'Snakefile'} is missing, and is the workflow that a crate describes")
    for pattern in PROJECT:
        found |= {file.relative_to(root).as_posix(): file for file in sorted(root.glob(pattern)) if file.is_file()}
    results = root / "results" / study.name
    for file in sorted(results.rglob("*")):
        if file.is_file() and file.suffix != ".html":
            found[file.relative_to(root).as_posix()] = file
    found["verify.py"] = Path(verify.__file__)
    read = _read_by_cells(study)
    for thing in study.things:
        for name in (*SEALS, *(name for name in sorted(thing.files) if _is_in(thing, name, runs, read))):
            file = thing.folder(root) / name
            if not file.is_file():
                raise RedistillError(f"{file} is missing: `redistill pull` brings it; or ask for less with --runs none")
            found[file.relative_to(root).as_posix()] = file
        record = study.record(thing.key)
        if record.is_file():
            found[record.relative_to(root).as_posix()] = record
    return found


def _is_in(thing: Thing, name: str, runs: str, read: Set[str]) -> bool:
    """Whether a crate has this file of a thing; `read` are keys of what cells read beside runs."""
    if runs == "all" or thing.area == "results" or name == "counts.json":
        return True
    said = name in OF_RUNS if thing.area == "runs" else thing.key in read and name in ("dev.parquet", "logits.npy")
    return runs == "predictions" and said


def _read_by_cells(study: Study) -> set[str]:
    """Keys of the data sets and outputs that a cell reads itself: where a run is scored on another task's data."""
    cells = [thing for thing in study.things if thing.kind == "cell" and "dataset" in thing.inputs]
    return {key for cell in cells for key in cell.inputs.values()}


def of_things(study: Study) -> dict[str, tuple[Thing, str]]:
    """All files that manifests name, present or not: thing and name by path."""
    return {
        f"store/{thing.area}/{thing.key}/{name}": (thing, name)
        for thing in study.things
        for name in sorted(thing.files)
    }


def digests(study: Study, files: dict[str, Path]) -> dict[str, str]:
    """SHA-256 of each file.

    Raises:
        IntegrityError: a file of a thing is not what results/ knows.
    """
    known, found = of_things(study), {}
    for path, file in files.items():
        found[path] = store.sha256_file(file)
        if path in known:
            thing, name = known[path]
            if found[path] != thing.files[name]["sha256"]:
                raise IntegrityError(file, thing.files[name]["sha256"], found[path], store.BROKEN)
    return found
