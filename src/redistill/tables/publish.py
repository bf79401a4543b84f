"""Publish a study: what is stable and small, from the store to results/<study>/, which is in git.

Beside the tables, runs.tsv, metrics.json and data.json, that is manifests.json, an entry for each manifest behind the
tables; parts.json, what each of their keys is made of; and for each table a proof that its numbers are what the Merkle
root over the manifests stands for. The root is printed in every table. dvc.yaml names all of it for DVC.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redistill.provenance import dvcfile, parts, store, verify
from redistill.provenance.store import pretty

KEPT_BACK = ("manifest.json", "done.json", "counts.json")  # what a thing in the store says of itself
COLUMNS = ("table", "experiment", "task", "seed", "key")
Entries = dict[str, dict[str, Any]]


def gather(config: dict[str, Any], inputs: dict[str, Path], work: Path) -> dict[str, Any]:
    """Put everything that git is to hold into `work`."""
    area = next(iter(inputs.values())).parents[1]
    found = _upstream(area, [folder.name for folder in inputs.values()])
    entries = _entries(found, config["titles"])
    root = verify.root(entries)
    for folder in inputs.values():
        for file in sorted(folder.iterdir()):
            if file.name not in KEPT_BACK:
                text = file.read_text(encoding="utf-8")
                (work / file.name).write_text(_with_root(file.suffix, text, root), encoding="utf-8")
    lines = ["\t".join(COLUMNS), *("\t".join(map(str, run)) for run in config["runs"])]
    (work / "runs.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    key_parts = {key: manifest["key_parts"] for key, (_, manifest) in found.items()}
    written = {
        "manifests": entries,
        "parts": parts.shared(key_parts),
        "data": _data(found),
        "metrics": _metrics(area, found),
        **{f"{name}.proof": proof for name, proof in _proofs(area, found, entries)},
    }
    for name, content in written.items():
        (work / f"{name}.json").write_text(pretty(content), encoding="utf-8")
    drawn = sorted(file.stem for file in work.glob("*.csv"))
    (work / "dvc.yaml").write_text(dvcfile.text(config["runs"], entries, drawn), encoding="utf-8")
    return {"tables": len(inputs), "things": len(entries), "root": root}


Found = dict[str, tuple[Path, store.Manifest]]  # folders and manifests by key


def _upstream(area: Path, keys: list[str]) -> Found:
    """The tables, and everything that they are made of."""
    found: Found = {}
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key not in found:
            folder = store.find(area, key)
            found[key] = folder, store.read_manifest(folder)
            waiting.extend(found[key][1]["key_parts"]["inputs"].values())
    return found


def _entries(found: Found, titles: dict[str, str]) -> Entries:
    """What git holds of each manifest, by key: with its key's parts, which are in parts.json, it is the manifest."""
    entries: Entries = {}
    for key, (folder, manifest) in found.items():
        entries[key] = {
            "kind": manifest["key_parts"]["kind"],
            "title": titles[key],
            "area": folder.parent.name,
            "digest": store.digest_of(manifest),
            "inputs": manifest["key_parts"]["inputs"],
            "files": manifest["files"],
        }
    for table, row, column, key in _cells(found):
        entries[key].setdefault("cells", []).append(f"{table} / {row} / {column}")
    return entries


def _cells(found: Found) -> Iterator[tuple[str, str, str, str]]:
    """Table, row, column and key of every cell."""
    for _, (_, manifest) in sorted(found.items()):
        if manifest["key_parts"]["kind"] == "table":
            for name, key in manifest["key_parts"]["inputs"].items():
                if not name.startswith("tokens "):
                    row, _, column = name.rpartition(":")
                    yield manifest["key_parts"]["config"]["name"], row, column, key


def _proofs(area: Path, found: Found, entries: Entries) -> Iterator[tuple[str, dict[str, Any]]]:
    """For each table, what it takes to check its numbers with nothing but the root (`redistill.provenance.verify`)."""
    tree = verify.levels(entries)
    leaves = [key for key in sorted(entries) if entries[key]["kind"] not in verify.APART]
    place = {key: i for i, key in enumerate(leaves)}
    proofs: dict[str, dict[str, Any]] = {}
    for table, row, column, key in _cells(found):
        proof = proofs.setdefault(table, {"table": table, "root": tree[-1][0], "cells": {}})
        text = (area / "results" / key / "metrics.json").read_text(encoding="utf-8")
        values = [score["value"] for score in json.loads(text)["dev"].values()]
        proof["cells"].setdefault(row, {})[column] = {
            "key": key,
            "mean": round(sum(values) / len(values), 6),
            "metrics.json": text,
            "entry": entries[key],
            "path": verify.path(tree, place[key]),
        }
    yield from proofs.items()


def _with_root(suffix: str, text: str, root: str) -> str:
    """A table with the root printed in it; CSV is numbers alone."""
    said = "Merkle root of the manifests behind the tables"
    if suffix == ".md":
        return f"{text}\n*{said}: `{root}`*\n"
    if suffix == ".tex":
        end = r"\end{table}"
        return text.replace(end, rf"\par{{\footnotesize {said}: \texttt{{{root}}}\par}}" + f"\n{end}")
    if suffix == ".json":
        return json.dumps(json.loads(text) | {"root": root}, indent=2, ensure_ascii=False) + "\n"
    return text


def _metrics(area: Path, found: Found) -> dict[str, Any]:
    """Every cell's metrics, by table, row and column, for people and for `dvc metrics`."""
    metrics: dict[str, Any] = {}
    for table, row, column, key in _cells(found):
        scores = json.loads((area / "results" / key / "metrics.json").read_text(encoding="utf-8"))["dev"]
        values = {seed: round(score["value"], 6) for seed, score in scores.items()}
        metrics.setdefault(table, {}).setdefault(row, {})[column] = values
    return metrics


def _data(found: Found) -> dict[str, Any]:
    """What was counted when each data set was made: rows, what was left out and why, sizes of splits, cut texts."""
    data = {}
    for key, (folder, manifest) in found.items():
        if manifest["key_parts"]["kind"] in ("dataset", "tokens"):
            counts = json.loads((folder / "counts.json").read_text(encoding="utf-8"))
            data[key] = {"config": manifest["key_parts"]["config"], **counts}
    return data


def differences(root: Path, study: str, folder: Path) -> dict[Path, bytes | None]:
    """Files of results/<study>/ that are not as in `folder`: what each should hold, None if it should go.

    Folders in it are not the study's: `signed` holds what people have put their names to.
    """
    target = root / "results" / study
    gathered = {target / f.name: f.read_bytes() for f in folder.iterdir() if f.name not in KEPT_BACK}
    there = [f for f in target.iterdir() if f.is_file() and f.suffix != ".html"] if target.is_dir() else []
    present = {f: f.read_bytes() for f in there}
    wrong = {f for f in gathered.keys() | present.keys() if gathered.get(f) != present.get(f)}
    return {file: gathered.get(file) for file in sorted(wrong)}


def publish(root: Path, study: str, folder: Path) -> list[Path]:
    """Make results/<study>/ what was gathered in `folder`; returns the files that were written or removed."""
    wrong = differences(root, study, folder)
    for file, content in wrong.items():
        if content is None:
            file.unlink()
        else:
            store.write_atomically(file, content.decode("utf-8"))
    return list(wrong)
