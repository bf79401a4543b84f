"""Publish a study: what is stable and small, from the store to results/<study>/, which is in git."""

import json
import shutil
from pathlib import Path
from typing import Any

from redistill.provenance import store
from redistill.provenance.store import pretty

KEPT_BACK = ("manifest.json", "done.json", "counts.json")  # what a thing in the store says of itself
COLUMNS = ("table", "experiment", "task", "seed", "key")


def gather(config: dict[str, Any], inputs: dict[str, Path], work: Path) -> dict[str, Any]:
    """Put everything that git is to hold into `work`: the tables, metrics.json, runs.tsv and manifests.json."""
    for folder in inputs.values():
        for file in sorted(folder.iterdir()):
            if file.name not in KEPT_BACK:
                shutil.copyfile(file, work / file.name)
    lines = ["\t".join(COLUMNS), *("\t".join(map(str, run)) for run in config["runs"])]
    (work / "runs.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    area = next(iter(inputs.values())).parents[1]
    manifests = _manifests(area, [folder.name for folder in inputs.values()])
    (work / "manifests.json").write_text(pretty(manifests), encoding="utf-8")
    (work / "data.json").write_text(pretty(_data(area, manifests)), encoding="utf-8")
    (work / "metrics.json").write_text(pretty(_metrics(area, manifests)), encoding="utf-8")
    return {"tables": len(inputs), "things": len(manifests)}


def _manifests(area: Path, keys: list[str]) -> dict[str, Any]:
    """Digest, inputs and files of everything upstream of the tables, by key."""
    found: dict[str, Any] = {}
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key in found:
            continue
        folder = store.find(area, key)
        manifest = store.read_manifest(folder)
        parts = manifest["key_parts"]
        found[key] = {
            "kind": parts["kind"],
            "area": folder.parent.name,
            "digest": store.digest_of(manifest),
            "inputs": parts["inputs"],
            "files": {name: entry["sha256"] for name, entry in manifest["files"].items()},
        }
        waiting.extend(parts["inputs"].values())
    return found


def _metrics(area: Path, manifests: dict[str, Any]) -> dict[str, Any]:
    """Every cell's metrics, by table, row and column, for people and for `dvc metrics`."""
    metrics: dict[str, Any] = {}
    for key, entry in manifests.items():
        if entry["kind"] == "table":
            table = store.read_manifest(store.find(area, key))["key_parts"]["config"]["name"]
            for cell, cell_key in entry["inputs"].items():
                if cell.startswith("tokens "):
                    continue
                experiment, _, task = cell.rpartition(":")
                scores = json.loads((area / "results" / cell_key / "metrics.json").read_text(encoding="utf-8"))["dev"]
                values = {seed: round(score["value"], 6) for seed, score in scores.items()}
                metrics.setdefault(table, {}).setdefault(experiment, {})[task] = values
    return metrics


def _data(area: Path, manifests: dict[str, Any]) -> dict[str, Any]:
    """What was counted when each data set was made: rows, what was left out and why, sizes of splits, cut texts."""
    found = {}
    for key, entry in manifests.items():
        if entry["kind"] in ("dataset", "tokens"):
            folder = store.find(area, key)
            counts = json.loads((folder / "counts.json").read_text(encoding="utf-8"))
            found[key] = {"config": store.read_manifest(folder)["key_parts"]["config"], **counts}
    return found


def differences(root: Path, study: str, folder: Path) -> dict[Path, bytes | None]:
    """Files of results/<study>/ that are not as in `folder`: what each should hold, None if it should go."""
    target = root / "results" / study
    gathered = {target / f.name: f.read_bytes() for f in folder.iterdir() if f.name not in KEPT_BACK}
    present = {f: f.read_bytes() for f in target.iterdir() if f.suffix != ".html"} if target.is_dir() else {}
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
