"""results/<study>/dvc.yaml: what DVC shows and compares of a study, and names for its models and data sets.

`dvc metrics diff` and `dvc plots diff` find the metrics and the tables by it; `dvc get` and `dvc artifacts get` bring
an artifact, which is a folder of the store.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9/_-]+")
TYPES = {"data": "dataset", "dataset": "dataset", "model": "model"}
HEAD = (
    "# What DVC shows of this study, and names for its models and data sets (docs/versions.md). Made with the tables.\n"
)


def text(runs: list[list[Any]], entries: dict[str, dict[str, Any]], tables: list[str]) -> str:
    """The file, from lines of runs.tsv (table, row or trial, task, seed, key), what manifests.json says of each key,
    and the names of the tables that have a CSV.

    It is JSON within YAML, a line for each name.
    """
    lines = [HEAD + "metrics:\n  - metrics.json\n"]
    if tables:
        lines.append("plots: # one dot a cell, by column of the table; the template is .dvc/plots/cells.json\n")
    for name in tables:
        plot = {"title": name.capitalize(), "template": "cells", "x": "mean", "y": {f"{name}.csv": "label"}}
        lines.append(f"  - {_json({name: plot})}\n")
    artifacts = dict(_artifacts(runs, entries))
    if artifacts:
        lines.append("artifacts:\n")
    lines += [f"  {_json(name)}: {_json(said)}\n" for name, said in sorted(artifacts.items())]
    return "".join(lines)


def _artifacts(runs: list[list[Any]], entries: dict[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, str]]]:
    """Names and what is said of them: every run that has weights, every source, every data set that was split."""
    for table, experiment, task, seed, key in runs:
        if key in entries and "model.safetensors" in entries[key]["files"]:
            yield _name(f"{table}/{experiment}/{task}/seed-{seed}"), _artifact(key, entries[key], "model")
    for key, entry in entries.items():
        if entry["kind"] in TYPES:
            yield _name(f"{entry['kind']}/{entry['title']}"), _artifact(key, entry, TYPES[entry["kind"]])


def _name(written: str) -> str:
    """As DVC allows it: letters, digits, dashes, underscores and slashes."""
    return NOT_IN_NAMES.sub("-", written).strip("-/")


def _artifact(key: str, entry: dict[str, Any], kind: str) -> dict[str, str]:
    return {"path": f"../../store/{entry['area']}/{key}", "type": kind, "desc": entry["title"]}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
