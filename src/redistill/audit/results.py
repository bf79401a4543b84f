"""Whether the files of results/<study>/ agree with one another: each follows from manifests.json, parts.json, runs.tsv
and the metrics in the proofs, down to the byte. Needs no store.
"""

import hashlib
import json
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redistill.provenance import dvcfile, parts, published, verify
from redistill.provenance.published import Published, Thing
from redistill.provenance.store import pretty

COLUMNS = ("table", "experiment", "task", "seed", "key")
SIXTH = 1.01e-6  # numbers in a table's JSON have six decimals
_SAID = "Merkle root of the manifests behind the tables"
_PRINTED = {
    "md": re.compile(rf"\n\*{_SAID}: `([0-9a-f]*)`\*\n\Z"),
    "tex": re.compile(rf"\\par{{\\footnotesize {_SAID}: \\texttt{{([0-9a-f]*)}}\\par}}\n(?=\\end{{table}})"),
}
Problem = tuple[str, str, str]  # file, what is wrong, and the key of the thing that it is about, or ""


def disagreements(read: Published) -> Iterator[Problem]:
    """Everything in which the files of a study's results do not agree."""
    yield from _entries(read)
    yield from _order(read)
    texts = dict[str, str]()
    yield from _printed(read)
    for name in sorted(read.tables):
        yield from _table(read, name)
    for name in sorted({table for table, _, _ in read.cells}):
        yield from _proof(read, name, texts)
    for place, cell in sorted(read.cells.items()):
        if cell.key in texts:
            yield from _number(read, place, json.loads(texts[cell.key]))
    yield from _metrics(read, texts)
    yield from _data(read)
    yield from _runs(read)
    yield from _names(read)


def _where(read: Published, file: str) -> str:
    return f"results/{read.study}/{file}"


def _text(read: Published, file: str) -> str:
    """A file's text, "" if it cannot be read."""
    try:
        return (read.root / "results" / read.study / file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _json(read: Published, file: str) -> Any:
    """What a file holds; None if it holds nothing that can be read."""
    try:
        return json.loads(_text(read, file))
    except (ValueError, RecursionError):
        return None


def _entries(read: Published) -> Iterator[Problem]:
    """Keys follow from parts, digests from entries, and the cells' places from the tables."""
    places = dict[str, list[str]]()
    for _, table in sorted(read.things.items()):
        for role, key in table.inputs.items() if table.kind == "table" else ():
            row, _, column = role.rpartition(":")
            if not role.startswith("tokens "):
                places.setdefault(key, []).append(f"{table.parts['config']['name']} / {row} / {column}")
    for thing in read.things.values():
        try:
            for mistake in published.mistakes(thing):
                file, _, said = mistake.partition(": ")
                yield _where(read, file), said, thing.key
        except ValueError:
            yield _where(read, "parts.json"), f"holds a number that is none, for {_called(thing)}", thing.key
        if sorted(thing.cells) != sorted(places.get(thing.key, [])):
            yield (
                _where(read, "manifests.json"),
                f"the cells of {_called(thing)} are not those of the tables",
                thing.key,
            )


def _order(read: Published) -> Iterator[Problem]:
    """The two files are written as `snakemake` writes them, with nothing beside."""
    said = {"manifests.json": read.entries, "parts.json": _shared(read)}
    for file, content in said.items():
        if _text(read, file) != pretty(content):
            yield _where(read, file), "is not written as it was published", ""


def _shared(read: Published) -> Any:
    return parts.shared({key: thing.parts for key, thing in read.things.items()})


# --- tables ----------------------------------------------------------------------------------------------------------


def without_root(suffix: str, text: str) -> tuple[str, str | None]:
    """A table as it was made, before the root was printed in it, and that root; None if there is none."""
    if suffix == "json":
        try:
            held = json.loads(text)
            root = held.pop("root", None)
        except (ValueError, AttributeError, RecursionError):
            return text, None
        return _dumped(held) if _dumped(held | {"root": root}) == text else text, root
    found = _PRINTED[suffix].search(text) if suffix in _PRINTED else None
    return (text, None) if found is None else (text[: found.start()] + text[found.end() :], found[1])


def _dumped(held: Any) -> str:
    return json.dumps(held, indent=2, ensure_ascii=False) + "\n"


def _printed(read: Published) -> Iterator[Problem]:
    """Every table prints the root of manifests.json."""
    files = [
        file for table in read.tables.values() for file in table.files if not file.endswith(("counts.json", "csv"))
    ]
    roots = {file: without_root(file.rpartition(".")[2], _text(read, file))[1] for file in sorted(files)}
    printed = set(roots.values()) - {None}
    if len(files) > 1 and len(printed) == 1 and read.digest not in printed:
        said = f"its Merkle root is {read.digest}, and all tables print {printed.pop()}"
        yield _where(read, "manifests.json"), said, ""
        return
    for file, root in roots.items():
        if root != read.digest:
            yield _where(read, file), f"prints the Merkle root {root}, and that of manifests.json is {read.digest}", ""


def _table(read: Published, name: str) -> Iterator[Problem]:
    """Each of a table's files is the one that its entry names, but for the root."""
    thing = read.tables[name]
    for file, entry in thing.files.items():
        if file != "counts.json":
            text, _ = without_root(file.rpartition(".")[2], _text(read, file))
            if hashlib.sha256(text.encode()).hexdigest() != entry["sha256"]:
                yield _where(read, file), f"is not the file that manifests.json has for {_called(thing)}", thing.key


def _number(read: Published, place: tuple[str, str, str], metrics: dict[str, Any]) -> Iterator[Problem]:
    """A number in a table's JSON is what the cell's metrics give."""
    table, row, column = place
    cell, wrong = read.cells[place], ""
    try:
        shown = next(r for r in _json(read, f"{table}.json")["rows"] if r["name"] == row)["cells"][column]
        scores = [metrics["dev"][role] for role in metrics["runs"]]
        values = [score["value"] for score in scores]
        spread = statistics.stdev(values) if len(values) > 1 else None
        said = [len(values), scores[0]["examples"], list(metrics["runs"].values()), cell.key]
        if [shown[name] for name in ("n_seeds", "n_examples", "runs", "key")] != said:
            wrong = f"its seeds, examples, runs or key are not those of the cell {cell.key}"
        elif not (_near(shown["mean"], statistics.fmean(values)) and _near(shown["std"], spread)):
            wrong = f"it is {shown['mean']}, and the metrics give {statistics.fmean(values):.6f}"
    except (LookupError, TypeError, AttributeError, StopIteration, ValueError):
        wrong = "it has no number there that can be read"
    if wrong:
        yield _where(read, f"{table}.json"), f"{row} / {column}: {wrong}", cell.key


def _near(shown: float | None, exact: float | None) -> bool:
    return shown is exact is None or (shown is not None and exact is not None and abs(shown - exact) <= SIXTH)


# --- what was gathered beside the tables -----------------------------------------------------------------------------


def _proof(read: Published, table: str, texts: dict[str, str]) -> Iterator[Problem]:
    """A table's proof leads from each cell's metrics to the root; `texts` gets the metrics by key."""
    file = f"{table}.proof.json"
    held = _json(read, file)
    if not isinstance(held, dict) or not isinstance(held.get("cells"), dict):
        yield _where(read, file), "is not there, or cannot be read", ""
        return
    cells = {(r, c): thing for (t, r, c), thing in read.cells.items() if t == table}
    right: dict[str, dict[str, Any]] = {}
    tree, place = verify.levels(read.entries), _leaves(read.entries)
    for (row, column), thing in sorted(cells.items()):
        try:
            claim = held["cells"][row][column]
            text = claim["metrics.json"]
            verify.cell(held, row, column, read.digest)
            texts[thing.key] = text
            right.setdefault(row, {})[column] = {
                "key": thing.key, "mean": claim["mean"], "metrics.json": text, "entry": read.entries[thing.key],
                "path": verify.path(tree, place[thing.key]),
            }  # fmt: skip
            if right[row][column] != claim:
                yield _where(read, file), f"{row} / {column}: is not the proof of the cell {thing.key}", thing.key
        except verify.RefusedError as error:
            yield _where(read, file), f"{row} / {column}: {error}", thing.key
        except (LookupError, TypeError, AttributeError, ValueError):
            yield _where(read, file), f"{row} / {column}: has no proof that can be read", thing.key
    if len(right) and _text(read, file) != pretty({"table": table, "root": read.digest, "cells": right}):
        yield _where(read, file), "is not what follows from manifests.json and its metrics", ""


def _leaves(entries: dict[str, dict[str, Any]]) -> dict[str, int]:
    leaves = [key for key in sorted(entries) if entries[key]["kind"] not in verify.APART]
    return {key: i for i, key in enumerate(leaves)}


def _metrics(read: Published, texts: dict[str, str]) -> Iterator[Problem]:
    """metrics.json has what the cells' metrics are, rounded."""
    if any(cell.key not in texts for cell in read.cells.values()):
        return  # a proof is wrong, which was said
    held: dict[str, Any] = {}
    for (table, row, column), cell in read.cells.items():
        scores = json.loads(texts[cell.key])["dev"]
        values = {seed: round(score["value"], 6) for seed, score in scores.items()}
        held.setdefault(table, {}).setdefault(row, {})[column] = values
    if _text(read, "metrics.json") == pretty(held):
        return
    said, different = _json(read, "metrics.json"), ""
    for table, row, column in sorted(read.cells):
        try:
            same = said[table][row][column] == held[table][row][column]
        except (LookupError, TypeError):
            same = False
        if not same:
            different = f": first in {table} / {row} / {column}"
            break
    yield _where(read, "metrics.json"), f"does not have the cells' metrics{different}", ""


def _data(read: Published) -> Iterator[Problem]:
    """data.json has each data set's config, and what was counted when it was made."""
    held, wrong = _json(read, "data.json"), ""
    sets = {key: thing for key, thing in read.things.items() if thing.kind in ("dataset", "tokens")}
    if not isinstance(held, dict) or held.keys() != sets.keys() or _text(read, "data.json") != pretty(held):
        yield _where(read, "data.json"), "does not have the data sets of manifests.json, and them alone", ""
        return
    for key, thing in sets.items():
        counts = {name: value for name, value in held[key].items() if name != "config"}
        digest = hashlib.sha256(pretty(counts).encode()).hexdigest()
        if held[key].get("config") != thing.parts["config"] or digest != thing.files["counts.json"]["sha256"]:
            wrong = f"what it says of {_called(thing)} is not what was published"
            yield _where(read, "data.json"), wrong, key


def _runs(read: Published) -> Iterator[Problem]:
    """runs.tsv has the runs behind each cell, under the seeds that they have."""
    lines = ["\t".join(COLUMNS), *(f"{r.table}\t{r.experiment}\t{r.task}\t{r.seed}\t{r.key}" for r in read.runs)]
    where = _where(read, "runs.tsv")
    if _text(read, "runs.tsv") != "\n".join(lines) + "\n":
        yield where, "is not written as it was published", ""
    listed = {(run.table, run.seed, run.key) for run in read.runs}
    named = {(run.table, run.experiment, run.task, run.seed): run.key for run in read.runs}
    behind = set[tuple[str, int, str]]()
    for (table, row, column), cell in sorted(read.cells.items()):
        for seed, key in _seeds(read, cell):
            behind.add((table, seed, key))
            if (table, seed, key) not in listed:
                yield where, f"lacks the run {key} with seed {seed}, which is behind {table} / {row} / {column}", key
            if named.get((table, row, column, seed), key) != key:
                yield where, f"{table} / {row} / {column}: the run with seed {seed} is {key}", key
    for run in read.runs:
        known = read.things.get(run.key)
        seed = known.parts["config"].get("seed") if known is not None else run.seed
        rows = {row for table, row, _ in read.cells if table == run.table}
        beside = run.table in read.tables and run.experiment in rows and (run.table, run.seed, run.key) not in behind
        if seed != run.seed or beside:
            said = f"{run.table}, {run.experiment}, {run.task}: {run.key} is not its run with seed {run.seed}"
            yield where, said, run.key


def _names(read: Published) -> Iterator[Problem]:
    """dvc.yaml names what manifests.json and runs.tsv have."""
    runs = [[run.table, run.experiment, run.task, run.seed, run.key] for run in read.runs]
    if _text(read, "dvc.yaml") != dvcfile.text(runs, read.entries, sorted(read.tables)):
        yield _where(read, "dvc.yaml"), "is not what follows from manifests.json and runs.tsv", ""


def _seeds(read: Published, cell: Thing) -> Iterator[tuple[int, str]]:
    """Seeds and keys of the runs behind a cell, those that were chosen from among them."""
    for role, key in cell.inputs.items():
        thing = read.things.get(key)
        if thing is None:
            continue
        if role == "choice":
            yield from _seeds(read, thing)
        elif "seed " in role:
            yield int(role.rpartition(" ")[2]), _trained(read, thing)


def _trained(read: Published, thing: Thing) -> str:
    """The run that said what a cell reads, where that is what a run says of another task's data."""
    if thing.kind == "outputs":
        return thing.inputs.get("teacher", thing.key)
    if thing.kind == "baseline" and "dev" in thing.inputs:
        own = [other for other in read.things.values() if other.kind == "baseline" and _same_fit(other, thing)]
        return own[0].key if own else thing.key
    return thing.key


def _same_fit(own: Thing, other: Thing) -> bool:
    """Whether a baseline is the other one on its own task's data."""
    inputs = {role: key for role, key in other.inputs.items() if role != "dev"}
    return own.inputs == inputs and own.parts["config"] == other.parts["config"]


def _called(thing: Thing) -> str:
    return f"{thing.key} ({thing.kind} {thing.title})"


def files_of(read: Published) -> set[str]:
    """The names of the files that a study's results have."""
    tables = {file for table in read.tables.values() for file in table.files if file != "counts.json"}
    proofs = {f"{table}.proof.json" for table, _, _ in read.cells}
    return {"manifests.json", "parts.json", "runs.tsv", "metrics.json", "data.json", "dvc.yaml", *tables, *proofs}


def others(read: Published) -> list[str]:
    """Files that no job has written. Folders are other people's, and a report is drawn from the rest."""
    folder: Path = read.root / "results" / read.study
    there = {file.name for file in folder.iterdir() if file.is_file() and file.suffix != ".html"}
    return sorted(there - files_of(read))
