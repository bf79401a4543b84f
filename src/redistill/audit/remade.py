"""Recompute, replay and rerun: things made once more from their inputs in the store, and compared."""

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from redistill.audit import comparable, tolerance
from redistill.audit.again import Answer, Task, folder_of, make_again, scratch, task_of
from redistill.audit.asked import Scope
from redistill.audit.report import Report
from redistill.audit.sample import drawn
from redistill.config.schema import Reproduction
from redistill.provenance import published, store
from redistill.provenance.keys import canonical
from redistill.provenance.published import Thing

# what is made again at each level: kinds of things, and what they are called; what takes longest is begun first
KINDS = {
    "recompute": {
        "table": "tables", "scores": "tables of scores", "submission": "submissions", "choice": "choices",
        "cell": "cells",
    },
    "replay": {
        "dataset": "data sets", "tokens": "tokens", "baseline": "baselines", "outputs": "teacher outputs",
        "run": "runs' predictions",
    },
    "rerun": {"run": "runs"},
}  # fmt: skip
PREDICTIONS = "predictions.parquet"
PROCESSES = 2  # that recompute, at most


def remade(scope: Scope, level: str, report: Report, rule: Reproduction) -> None:
    """Make what a level is about once more, and note what comes out differently; of what takes long, the sample."""
    things = [thing for kind in KINDS[level] for thing in scope.things if thing.kind == kind]
    if level == "replay":
        things = [t for t in things if t.kind != "run" or PREDICTIONS in t.files]
    taken = things
    if report.sample is not None and level != "recompute":
        taken = drawn(things, **report.sample, root=scope.published.digest, first=scope.top)
    chosen = {thing.key for thing in taken}
    with scratch(scope.root) as folder:
        tasks = dict(_tasks(scope, level, taken, folder, report))
        for thing in things:
            report.count(level, KINDS[level][thing.kind]).add(thing.key in chosen and thing.key in tasks)
        for batch in _batches(level, scope, tasks):
            keys = list(batch)
            answers = make_again(scope.root, list(batch.values()), _processes(level))
            for key, answer in zip(keys, answers, strict=True):
                _judge(scope, level, scope.published.things[key], answer, report, rule)
        if level == "recompute" and scope.whole and scope.study:
            _gathered(scope, folder, report)


def _processes(level: str) -> int:
    return min(PROCESSES, os.cpu_count() or 1) if level == "recompute" else 1


def _batches(level: str, scope: Scope, tasks: dict[str, Task]) -> Iterator[dict[str, Task]]:
    """What one process does: all of a runtime; but a run is trained in a process of its own, as it was."""

    def together(key: str) -> str:
        return key if level == "rerun" else canonical(tasks[key].runtime)

    order = sorted(tasks, key=together) if level != "recompute" else list(tasks)
    for _, keys in itertools.groupby(order, key=together):
        yield {key: tasks[key] for key in keys}


def _tasks(
    scope: Scope, level: str, things: Sequence[Thing], folder: Path, report: Report
) -> Iterator[tuple[str, Task]]:
    """What is to be made, of what can be."""
    metrics = _metrics(scope) if level in ("replay", "rerun") else {}
    for thing in things:
        why = _not_possible(scope, level, thing, report)
        if why is None:
            stored = thing.folder(scope.root)
            task = task_of(scope.root, thing, folder / f"{level}.{thing.key}")
            task = replace(task, metrics=metrics.get(thing.key, ()), stored=stored)
            if level == "replay" and thing.kind == "run":
                files = {PREDICTIONS: task.files[PREDICTIONS]}
                task = replace(task, files=files, predicted=stored)
            yield thing.key, task
        elif why:
            report.say_unchecked(level, thing.place, f"{thing}: {why}", thing.key)


def _not_possible(scope: Scope, level: str, thing: Thing, report: Report) -> str | None:
    """Why a thing is not made again; "" if that was said before, None if it is made."""
    if thing.key in report.broken:
        return ""
    for need in _needs(scope, level, thing):
        if folder_of(scope.root, need.key) is None:
            return f"needs {need.key} ({need}), which is not in the store: `redistill pull {need.key}`"
        if need.key in report.broken:
            return f"is made of {need.key} ({need}), which is not what it was"
    if any(key in scope.lost for key in thing.inputs.values()):
        return "is made of something of which nothing is known"
    if level == "rerun":
        other = comparable.differences(thing.parts)
        if other:
            return f"was made by other code or packages, so a rerun would say nothing: {_first(other)}"
    return None


def _needs(scope: Scope, level: str, thing: Thing) -> Iterator[Thing]:
    """What must be in the store: the inputs; of a table also what its cells read; of a replay, the model."""
    things = scope.published.things
    needs = [things[key] for key in dict.fromkeys(thing.inputs.values()) if key in things]
    yield from needs
    if thing.kind == "table":
        cells = [need for need in needs if need.kind == "cell"]
        yield from (things[key] for cell in cells for key in cell.inputs.values() if key in things)
    if level == "replay" and thing.kind == "run":
        yield thing


def _metrics(scope: Scope) -> dict[str, tuple[str, ...]]:
    """By run, what the cells that read it are scored by."""
    found = dict[str, list[str]]()
    for cell in scope.published.things.values():
        for key in cell.inputs.values() if cell.kind == "cell" else ():
            found.setdefault(key, []).append(cell.parts["config"]["metric"])
    return {key: tuple(sorted(set(metrics))) for key, metrics in found.items()}


def _judge(scope: Scope, level: str, thing: Thing, answer: Answer, report: Report, rule: Reproduction) -> None:
    """Note what came of a thing: nothing if it is the same."""
    if answer.error is None and not answer.differ:
        return
    error, other = answer.error, comparable.differences(thing.parts)
    said, unchecked = f"could not be made again: {error}", True
    if error is not None and (answer.machine or level != "recompute"):
        pass
    elif other:
        said = f"differs, but other code or packages made it, so that says nothing: {_first(other)}"
    elif error is not None:
        unchecked = False
        report.say_wrong(level, thing.place, f"{thing}: {said}", thing.key)
    else:
        unchecked = False
        elsewhere = tolerance.why_not_bytes(scope.root, thing, answer)
        if elsewhere is not None:
            tolerance.judge(level, thing, answer, elsewhere, rule, report)
        else:
            said = f"made again from {_inputs(thing)}, other bytes come out: {', '.join(answer.differ)}"
            report.say_wrong(level, f"{thing.place}/{answer.differ[0]}", f"{thing}: {said}", thing.key)
    if unchecked:
        report.count(level, KINDS[level][thing.kind]).checked -= 1
        report.say_unchecked(level, thing.place, f"{thing}: {said}", thing.key)


def _gathered(scope: Scope, folder: Path, report: Report) -> None:
    """results/ is what a job gathers from the store, under the names that it has itself."""
    read = scope.published
    counted = report.count("recompute", "files of results/")
    there = {file.name: store.sha256_file(file) for file in published.files(scope.root, scope.study)}
    counted.of = len(there)
    absent = [thing for thing in scope.things if folder_of(scope.root, thing.key) is None]
    if absent:
        said = f"is not gathered again, as {len(absent)} things are not in the store, the first is {absent[0].key}"
        report.say_unchecked("recompute", f"results/{scope.study}", said)
        return
    config: dict[str, Any] = {
        "title": scope.study,
        "runs": [[r.table, r.experiment, r.task, r.seed, r.key] for r in read.runs],
        "titles": {key: thing.title for key, thing in read.things.items()},
    }
    inputs = {name: thing.folder(scope.root) for name, thing in read.tables.items()}
    task = Task("study", config, inputs, there, folder / "gathered")
    (answer,) = make_again(scope.root, [task])
    if answer.error is not None:
        report.say_wrong("recompute", f"results/{scope.study}", f"cannot be gathered again: {answer.error}")
        return
    counted.checked = len(there)
    for name in answer.differ:
        if name != "counts.json":
            said = "is not what a job gathers from the store"
            report.say_wrong("recompute", f"results/{scope.study}/{name}", said)


def _inputs(thing: Thing) -> str:
    keys = list(dict.fromkeys(thing.inputs.values()))
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def _first(reasons: list[str]) -> str:
    return reasons[0] + (f", and {len(reasons) - 1} more" if len(reasons) > 1 else "")
