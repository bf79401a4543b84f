"""Publish a study: what is stable and small, from the store to results/<study>/, which is in git."""

import json
import shutil
from pathlib import Path
from typing import Any

from redistill.provenance import store
from redistill.provenance.store import pretty

COLUMNS = ("table", "experiment", "task", "seed", "key")


def gather(config: dict[str, Any], inputs: dict[str, Path], work: Path) -> dict[str, Any]:
    """Put everything that git is to hold into `work`: the tables, metrics.json, runs.tsv and manifests.json."""
    for folder in inputs.values():
        for file in sorted(folder.iterdir()):
            if file.name not in ("manifest.json", "done.json", "counts.json"):
                shutil.copyfile(file, work / file.name)
    lines = ["\t".join(COLUMNS), *("\t".join(map(str, run)) for run in config["runs"])]
    (work / "runs.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    area = next(iter(inputs.values())).parents[1]
    manifests = _manifests(area, [folder.name for folder in inputs.values()])
    (work / "manifests.json").write_text(pretty(manifests), encoding="utf-8")
    (work / "metrics.json").write_text(pretty(_metrics(area, manifests)), encoding="utf-8")
    return {"tables": len(inputs), "things": len(manifests)}


def _find(area: Path, key: str) -> Path:
    return next(area / name / key for name in store.AREAS if (area / name / key).is_dir())


def _manifests(area: Path, keys: list[str]) -> dict[str, Any]:
    """Digest, inputs and files of everything upstream of the tables, by key."""
    found: dict[str, Any] = {}
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key in found:
            continue
        folder = _find(area, key)
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
            table = store.read_manifest(_find(area, key))["key_parts"]["config"]["name"]
            for cell, cell_key in entry["inputs"].items():
                experiment, task = cell.split(":")
                scores = json.loads((area / "results" / cell_key / "metrics.json").read_text(encoding="utf-8"))["dev"]
                values = {seed: round(score["value"], 6) for seed, score in scores.items()}
                metrics.setdefault(table, {}).setdefault(experiment, {})[task] = values
    return metrics


def publish(root: Path, study: str, folder: Path) -> list[Path]:
    """Copy what was gathered in `folder` to results/<study>/, where it differs; remove what is no longer made.

    Returns:
        The files of results/ that were written or removed.
    """
    target = root / "results" / study
    target.mkdir(parents=True, exist_ok=True)
    gathered = {f.name: f for f in folder.iterdir() if f.name not in ("manifest.json", "done.json", "counts.json")}
    changed = []
    for name, file in sorted(gathered.items()):
        if not (target / name).is_file() or (target / name).read_bytes() != file.read_bytes():
            store.write_atomically(target / name, file.read_text(encoding="utf-8"))
            changed.append(target / name)
    for file in sorted(target.iterdir()):
        if file.is_file() and file.name not in gathered and file.suffix != ".html":
            file.unlink()
            changed.append(file)
    return changed
