"""Whether the files of results/<study>/ agree with one another: each follows from manifests.json, parts.json, runs.tsv
and the metrics in the proofs, down to the byte. Needs no store.
"""

import hashlib
import json
import statistics
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from redistill.audit import listed
from redistill.provenance import dvcfile, parts, published, verify
from redistill.provenance.published import Published, Thing
from redistill.provenance.store import pretty

SIXTH = 1.01e-6  # numbers in a table's JSON have six decimals
Cells = dict[tuple[str, str], Thing]
Problem = tuple[str, str, str]  # file, what is wrong, and the key of the thing that it is about, or ""


def disagreements(read: Published) -> Iterator[Problem]:
    """Everything in which the files of a study's results do not agree."""
    yield from _entries(read)
    yield from _order(read)
    texts = dict[str, str]()
    yield from _printed(read)
    for _, table in sorted(read.tables.items()):
        yield from _table(read, table)
    tree = verify.levels(read.entries)
    for name, cells in sorted(_by_table(read).items()):
        yield from _proof(read, name, cells, tree, texts)
        yield from _numbers(read, name, cells, texts)
    yield from _metrics(read, texts)
    yield from _data(read)
    yield from listed.disagreements(read, _text(read, "runs.tsv"))
    yield from _names(read)


def _by_table(read: Published) -> dict[str, Cells]:
    """The cells of each table, by row and column."""
    found: dict[str, Cells] = {}
    for (table, row, column), cell in sorted(read.cells.items()):
        found.setdefault(table, {})[row, column] = cell
    return found


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
            said = f"the cells of {_called(thing)} are not those of the tables"
            yield _where(read, "manifests.json"), said, thing.key


def _order(read: Published) -> Iterator[Problem]:
    """The two files are written as `snakemake` writes them, with nothing beside."""
    shared = parts.shared({key: thing.parts for key, thing in read.things.items()})
    said = {"manifests.json": read.entries, "parts.json": shared}
    for file, content in said.items():
        if _text(read, file) != pretty(content):
            yield _where(read, file), "is not written as it was published", ""


# --- tables ----------------------------------------------------------------------------------------------------------


def _without_root(read: Published, file: str) -> tuple[str, str | None]:
    return verify.without_root(file.rpartition(".")[2], _text(read, file))


def _printed(read: Published) -> Iterator[Problem]:
    """Every table prints the root of manifests.json."""
    files = {file for table in read.tables.values() for file in table.files}
    roots = {f: _without_root(read, f)[1] for f in sorted(files) if not f.endswith(("counts.json", "csv"))}
    printed = set(roots.values()) - {None}
    if len(roots) > 1 and len(printed) == 1 and read.digest not in printed:
        said = f"its Merkle root is {read.digest}, and all tables print {printed.pop()}"
        yield _where(read, "manifests.json"), said, ""
        return
    for file, root in roots.items():
        if root != read.digest:
            yield _where(read, file), f"prints the Merkle root {root}, and that of manifests.json is {read.digest}", ""


def _table(read: Published, thing: Thing) -> Iterator[Problem]:
    """Each of a table's files is the one that its entry names, but for the root."""
    for file, entry in thing.files.items():
        if file != "counts.json":
            text, _ = _without_root(read, file)
            if hashlib.sha256(text.encode()).hexdigest() != entry["sha256"]:
                yield _where(read, file), f"is not the file that manifests.json has for {_called(thing)}", thing.key


def _numbers(read: Published, table: str, cells: Cells, texts: dict[str, str]) -> Iterator[Problem]:
    """The numbers in a table's JSON are what the cells' metrics give."""
    file = f"{table}.json"
    try:
        rows = {row["name"]: row["cells"] for row in _json(read, file)["rows"]}
    except (LookupError, TypeError):
        yield _where(read, file), "has no rows that can be read", ""
        return
    for (row, column), cell in cells.items():
        if cell.key in texts:
            wrong = _number(rows.get(row), column, cell, json.loads(texts[cell.key]))
            if wrong:
                yield _where(read, file), f"{row} / {column}: {wrong}", cell.key


def _number(row: Any, column: str, cell: Thing, metrics: dict[str, Any]) -> str:
    """What is wrong with a number, or nothing."""
    try:
        shown, scores = row[column], [metrics["dev"][role] for role in metrics["runs"]]
        values = [score["value"] for score in scores]
        spread = statistics.stdev(values) if len(values) > 1 else None
        said = [len(values), scores[0]["examples"], list(metrics["runs"].values()), cell.key]
        if [shown[name] for name in ("n_seeds", "n_examples", "runs", "key")] != said:
            return f"its seeds, examples, runs or key are not those of the cell {cell.key}"
        if not (_near(shown["mean"], statistics.fmean(values)) and _near(shown["std"], spread)):
            return f"it is {shown['mean']}, and the metrics give {statistics.fmean(values):.6f}"
    except (LookupError, TypeError, AttributeError, ValueError):
        return "it has no number there that can be read"
    return ""


def _near(shown: float | None, exact: float | None) -> bool:
    return shown is exact is None or (shown is not None and exact is not None and abs(shown - exact) <= SIXTH)


# --- what was gathered beside the tables -----------------------------------------------------------------------------


def _proof(
    read: Published, table: str, cells: Cells, tree: list[list[str]], texts: dict[str, str]
) -> Iterator[Problem]:
    """A table's proof leads from each cell's metrics to the root; `texts` gets the metrics by key."""
    file = f"{table}.proof.json"
    held = _json(read, file)
    if not isinstance(held, dict) or not isinstance(held.get("cells"), dict):
        yield _where(read, file), "is not there, or cannot be read", ""
        return
    right: dict[str, dict[str, Any]] = {}
    leaves = [key for key in sorted(read.entries) if read.entries[key]["kind"] not in verify.APART]
    place = {key: i for i, key in enumerate(leaves)}
    for (row, column), thing in cells.items():
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
    if right and _text(read, file) != pretty({"table": table, "root": read.digest, "cells": right}):
        yield _where(read, file), "is not what follows from manifests.json and its metrics", ""


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
    for table, row, column in sorted(read.cells, reverse=True):
        with suppress(LookupError, TypeError):
            if said[table][row][column] == held[table][row][column]:
                continue
        different = f": first in {table} / {row} / {column}"
    yield _where(read, "metrics.json"), f"does not have the cells' metrics{different}", ""


def _data(read: Published) -> Iterator[Problem]:
    """data.json has each data set's config, and what was counted when it was made."""
    held = _json(read, "data.json")
    sets = {key: thing for key, thing in read.things.items() if thing.kind in ("dataset", "tokens")}
    if not isinstance(held, dict) or held.keys() != sets.keys() or _text(read, "data.json") != pretty(held):
        yield _where(read, "data.json"), "does not have the data sets of manifests.json, and them alone", ""
        return
    for key, thing in sets.items():
        counts = {name: value for name, value in held[key].items() if name != "config"}
        digest = hashlib.sha256(pretty(counts).encode()).hexdigest()
        if held[key].get("config") != thing.parts["config"] or digest != thing.files["counts.json"]["sha256"]:
            yield _where(read, "data.json"), f"what it says of {_called(thing)} is not what was published", key


def _names(read: Published) -> Iterator[Problem]:
    """dvc.yaml names what manifests.json and runs.tsv have."""
    runs = [[run.table, run.experiment, run.task, run.seed, run.key] for run in read.runs]
    if _text(read, "dvc.yaml") != dvcfile.text(runs, read.entries, sorted(read.tables)):
        yield _where(read, "dvc.yaml"), "is not what follows from manifests.json and runs.tsv", ""


def _called(thing: Thing) -> str:
    return f"{thing.key} ({thing})"


def files_of(read: Published) -> set[str]:
    """The names of the files that a study's results have."""
    tables = {file for table in read.tables.values() for file in table.files if file != "counts.json"}
    proofs = {f"{table}.proof.json" for table, _, _ in read.cells}
    return {"manifests.json", "parts.json", "runs.tsv", "metrics.json", "data.json", "dvc.yaml", *tables, *proofs}


def others(read: Published) -> list[str]:
    """Files that no job has written."""
    return sorted({file.name for file in published.files(read.root, read.study)} - files_of(read))
