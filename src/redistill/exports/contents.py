"""Which files a crate has, laid out as in the project: so what reads a project reads a crate."""

from collections.abc import Iterator
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
    for thing in study.things:
        for name in (*SEALS, *sorted(_of(study, thing, runs))):
            file = thing.folder(root) / name
            if not file.is_file():
                raise RedistillError(f"{file} is missing: `redistill pull` brings it; or ask for less with --runs none")
            found[file.relative_to(root).as_posix()] = file
        record = study.record(thing.key)
        if record.is_file():
            found[record.relative_to(root).as_posix()] = record
    return found


def _of(study: Study, thing: Thing, runs: str) -> Iterator[str]:
    """The names of a thing's files that a crate has."""
    read = {"none": set[str](), "predictions": _read_by_cells(study)}.get(runs)
    for name in thing.files:
        small = thing.area == "results" or name == "counts.json"
        said = thing.area == "runs" and name in OF_RUNS and runs == "predictions"
        if read is None or small or said or (thing.key in read and name in ("dev.parquet", "logits.npy")):
            yield name


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
