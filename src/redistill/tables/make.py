"""Make a table: aggregate its cells, test its declared differences, and write it in every format."""

import json
from functools import cache
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from redistill.errors import RedistillError
from redistill.tables.render import WRITERS, Cell, Comparison, Row, Table
from redistill.tables.sampled import draws_of, of_runs
from redistill.tables.statistics import Sampled, bootstrap, holm, summarise

MEAN, DAGGER = "mean of columns", " †"


def make_table(config: dict[str, Any], inputs: dict[str, Path], work: Path) -> dict[str, Any]:
    """Write `<name>.csv`, `.md`, `.tex` and `.json`.

    `inputs` are the folders of the cells, by `row:task`, and of the tokens that their runs read, by `tokens TASK
    LENGTH`, for what was cut. Runs are found beside them in the store, by the keys in a cell's metrics.json.
    """
    rows = [_row(spec, config, inputs) for spec in config["rows"]]
    if config["order"] == "best first":
        rows = _best_first(rows, config["columns"][0]["task"])
    columns = [(c["task"], c["title"] + DAGGER * bool(c["mark"]), c["metric"]) for c in config["columns"]]
    columns += [(name, mean["title"], MEAN) for name, mean in config["means"].items()]
    no_data = [column["task"] for column in config["columns"] if column["no_data"]]
    no_data += [name for name, mean in config["means"].items() if set(chain(*_groups(mean["tasks"]))) & set(no_data)]
    footer = [*_footer(config), *_cut(config["columns"], inputs)]
    table = Table(config["name"], config["title"], columns, rows, _comparisons(config, inputs), footer, no_data)
    for suffix, write in WRITERS.items():
        (work / f"{config['name']}.{suffix}").write_text(write(table), encoding="utf-8")
    cells = sum(not role.startswith("tokens ") for role in inputs)
    return {"rows": len(rows), "cells": cells, "comparisons": len(table.comparisons)}


def _best_first(rows: list[Row], task: str) -> list[Row]:
    """Rows by their means in a column; those without one come last."""
    means = {row.name: cell.mean for row in rows if (cell := row.cells[task]) is not None}
    return sorted(rows, key=lambda row: -means.get(row.name, -np.inf))


def _runs(cell: Path) -> dict[str, str]:
    runs: dict[str, str] = _metrics(cell)["runs"]
    return runs


def _metrics(cell: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((cell / "metrics.json").read_text(encoding="utf-8"))
    return metrics


def _row(spec: dict[str, Any], config: dict[str, Any], inputs: dict[str, Path]) -> Row:
    cells: dict[str, Cell | None] = {}
    for column in config["columns"]:
        folder = inputs.get(f"{spec['experiment']}:{column['task']}")
        cells[column["task"]] = _cell(folder) if folder is not None else None
    for name, mean in config["means"].items():
        cells[name] = _mean(spec["experiment"], mean["tasks"], inputs)
    notes = dict(spec["notes"])
    chosen = {t: _metrics(folder)["chosen"] for t in spec["tasks"] if (folder := inputs[f"{spec['experiment']}:{t}"])
              and "chosen" in _metrics(folder)}  # fmt: skip
    if chosen:
        notes["chosen"] = "; ".join(f"{task}: {what}" for task, what in chosen.items())
    return Row(spec["experiment"], spec["label"], notes, cells)


def _cell(folder: Path) -> Cell:
    scores = _metrics(folder)["dev"]
    runs = _runs(folder)
    s = summarise([scores[role]["value"] for role in runs])
    examples = {scores[role]["examples"] for role in runs}
    if len(examples) != 1:
        raise RedistillError(f"{folder}: its runs were evaluated on different numbers of examples: {sorted(examples)}")
    return Cell(
        s.mean,
        s.std,
        s.n,
        s.low,
        s.high,
        examples.pop(),
        list(runs.values()),
        folder.name,
    )


def _groups(tasks: list[str | list[str]]) -> list[list[str]]:
    """The columns of a mean; each group counts once."""
    return [[task] if isinstance(task, str) else task for task in tasks]


def _mean(experiment: str, tasks: list[str | list[str]], inputs: dict[str, Path]) -> Cell | None:
    """The mean of a row's columns, seed by seed; None where one of them has no cell."""
    folders = [[inputs.get(f"{experiment}:{task}") for task in group] for group in _groups(tasks)]
    if any(folder is None for group in folders for folder in group):
        return None
    metrics = [[_metrics(folder) for folder in group if folder is not None] for group in folders]
    together = set.intersection(*(set(one["dev"]) for group in metrics for one in group))
    values = [
        fmean(fmean(one["dev"][seed]["value"] for one in group) for group in metrics) for seed in sorted(together)
    ]
    if not values:
        return None
    s = summarise(values)
    runs = [one["runs"][seed] for seed in sorted(together) for group in metrics for one in group]
    examples = sum(next(iter(one["dev"].values()))["examples"] for group in metrics for one in group)
    return Cell(s.mean, s.std, s.n, s.low, s.high, examples, runs, "")


def _comparisons(config: dict[str, Any], inputs: dict[str, Path]) -> list[Comparison]:
    metrics = {column["task"]: column["metric"] for column in config["columns"]}
    tested, sampled = [], cache(_sampled)  # one cell is compared with many
    for comparison in config["comparisons"]:
        for task in comparison["tasks"] or metrics:
            ours, theirs = (inputs.get(f"{comparison[side]}:{task}") for side in ("row", "against"))
            if ours is not None and theirs is not None:
                metric = metrics[task]
                (a, n), (b, others) = sampled(ours, metric), sampled(theirs, metric)
                if n != others:
                    raise RedistillError(f"{ours}: is of {n} examples, and {theirs} of {others}: make them of the same")
                difference = bootstrap(a, b, n, draws=draws_of(metric))
                tested.append((comparison["row"], comparison["against"], task, difference))
    adjusted = holm([difference.p for *_, difference in tested])
    return [Comparison(*what, p) for what, p in zip(tested, adjusted, strict=True)]


def _sampled(cell: Path, metric: str) -> tuple[list[Sampled], int]:
    """The metric of a cell's runs on dev, seeds in order, and on how many examples."""
    runs = sorted(_runs(cell).items(), key=lambda item: int(item[0].split()[1]))
    dataset = _metrics(cell).get("dataset")  # set where runs of another task are read
    return of_runs(cell.parents[1], [key for _, key in runs], metric, dataset)


def _footer(config: dict[str, Any]) -> list[str]:
    seeds: dict[str, list[str]] = {}
    for row in config["rows"]:
        seeds.setdefault(", ".join(map(str, row["seeds"])), []).append(row["label"])
    sources = dict.fromkeys(column["source"] for column in config["columns"] if not column["no_data"])
    trials = max(row["trials"] for row in config["rows"])
    fixed = [row["label"] for row in config["rows"] if row["fixed"]]
    on_dev = [row["label"] for row in config["rows"] if row["selected_on_dev"]]
    return [
        f"Study: {config['study']}",
        f"Data: {'; '.join(sources)}",
        f"Seeds: {'; '.join(f'{numbers} ({_and(labels)})' for numbers, labels in seeds.items())}",
        "Split: dev, only reported on; every choice was made without it"
        if not on_dev
        else f"Split: dev. The checkpoint was chosen on dev itself, as the publication did: {_and(on_dev)}",
        *_samples(config["columns"]),
        *_marks(config["columns"]),
        *([f"Chosen on select, from {trials} trials for every row that has anything to choose"] if trials > 1 else []),
        *([f"Not chosen, but as it is: {_and(fixed)}"] if trials > 1 and fixed else []),
    ]


def _samples(columns: list[dict[str, Any]]) -> list[str]:
    """What the footer says of columns whose data are a part of what was published."""
    said = [c["title"] for c in columns if c["sample"].get("given") and not c["no_data"]]
    limits: dict[tuple[str, int], list[str]] = {}
    for column in columns:
        for split, most in column["sample"].get("at_most", {}).items():
            if not column["no_data"]:
                limits.setdefault((split, most), []).append(column["title"])
    return [
        *([f"The source holds a part of the published rows: {', '.join(said)}"] if said else []),
        *(f"At most {most:,} examples of {split}: {', '.join(titles)}" for (split, most), titles in limits.items()),
    ]


def _cut(columns: list[dict[str, Any]], inputs: dict[str, Path]) -> list[str]:
    """How many texts were longer than a model was let read."""
    titles = {column["task"]: column["title"] for column in columns}
    said: dict[str, list[str]] = {}
    for role, folder in inputs.items():
        kind, _, name = role.partition(" ")
        task, _, length = name.rpartition(" ")
        if kind == "tokens" and task in titles:
            counted = json.loads((folder / "counts.json").read_text(encoding="utf-8"))
            if counted["cut"]:
                said.setdefault(length, []).append(f"{counted['cut']} of {counted['texts']} of {titles[task]}")
    return [f"Texts cut at {length} tokens: {', '.join(some)}" for length, some in said.items()]


def _marks(columns: list[dict[str, Any]]) -> list[str]:
    said: dict[str, list[str]] = {}
    for column in columns:
        if column["mark"]:
            said.setdefault(column["mark"], []).append(column["title"])
    return [f"{DAGGER.strip()} {', '.join(titles)}: {what}" for what, titles in said.items()]


def _and(labels: list[str]) -> str:
    """The rows that share their seeds; many of them are counted rather than named."""
    return ", ".join(labels) if len(labels) <= 3 else f"{len(labels)} rows"
