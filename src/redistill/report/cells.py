"""What opens behind a number: its runs, their training, their config, what they said, and how to make it again."""

import shlex
from dataclasses import dataclass
from typing import Any

from redistill.provenance.published import Thing
from redistill.questions.state import Place
from redistill.report import configs, costs
from redistill.report.curves import curves, thinner
from redistill.report.disagree import disagreements
from redistill.report.reading import Content, Study, teachers_of
from redistill.report.said import Said, calibration, confusion, said, scatter


@dataclass(frozen=True)
class Level:
    """How much of everything is shown, where the whole would be too large for one file."""

    examples: int
    points: int
    seeds: int
    scatter: bool = True


LEVELS = (
    Level(24, 120, 20), Level(12, 60, 10), Level(8, 30, 5), Level(4, 16, 3), Level(2, 10, 1, False),
    Level(0, 2, 1, False),
)  # fmt: skip


@dataclass
class Reader:
    """Reads cells; what teachers said is read once."""

    study: Study
    known: dict[str, Said | None]

    def said_of(self, run: Thing, dataset: Thing | None) -> Said | None:
        key = f"{run.key} {dataset.key if dataset else ''}"
        if key not in self.known:
            self.known[key] = said(self.study, run, dataset)
        return self.known[key]


def cell(reader: Reader, place: Place, label: str, above: Place | None) -> Content:
    """Everything of a cell that its dialog shows, examples without what they are.

    Args:
        above: the cell of the same column in the row above.

    Raises:
        IntegrityError: a file of the store is not what was published.
    """
    study = reader.study
    runs = study.runs_of(place)
    first = next(iter(runs.values()), None)
    found: Content = {
        "table": place[0], "row": place[1], "column": place[2], "label": label,
        "key": study.published.cells[place].key, "runs": [_run(study, place, role, run) for role, run in runs.items()],
        "commands": commands(study.name, place),
    }  # fmt: skip
    if first is None:
        return found
    config = _config(first)
    found["config"] = configs.lines(config)
    if above is not None and (other := next(iter(study.runs_of(above).values()), None)) is not None:
        found["differs"] = configs.differing(_config(other), config)
    found["curves"] = [{"seed": _seed(role), **curves(file, LEVELS[0].points)} for role, run in runs.items()
                       if (file := study.file(run, "log.jsonl")) is not None]  # fmt: skip
    dataset = study.dataset_of(place, first)
    everything = [one for run in runs.values() if (one := said(study, run, dataset)) is not None]
    task = _task(first, dataset)
    labels = [str(one) for one in task.get("labels") or []]
    found["labels"] = labels
    if labels:
        found["confusion"], found["calibration"] = confusion(everything, labels), calibration(everything)
    elif task.get("type") == "regression":
        found["scatter"] = scatter(everything)
    _teacher(reader, found, runs, everything, dataset, task.get("type") == "regression")
    return found


def _teacher(
    reader: Reader, found: Content, runs: dict[str, Thing], everything: list[Said], dataset: Thing | None, scores: bool
) -> None:  # fmt: skip
    """Note where the students differ from their teacher, where one said something of the same examples."""
    first = next(iter(runs.values()))
    for key in teachers_of(reader.study.things, first):
        teacher = reader.study.things.get(key)
        if teacher is None or teacher.kind != "run" or teacher.inputs.get("dataset") != first.inputs.get("dataset"):
            continue
        its = reader.said_of(teacher, dataset)
        if its is None or not everything or its.pixels is not None:
            continue
        examples = disagreements(its, everything, scores)
        kinds = [one["kind"] for one in examples]
        found["disagree"] = {
            "teacher": teacher.title, "of": len(its.ids), "differ": len(examples), "scores": scores,
            "kinds": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds) if kind},
            "dataset": dataset.key if dataset else "", "examples": examples,
        }  # fmt: skip
        return


def cut(cell: Content, level: Level) -> Content:
    """A cell with as much of everything as a level shows."""
    found = dict(cell)
    found["curves"] = [thinner(one, level.points) for one in cell.get("curves", [])[: level.seeds]]
    if "disagree" in cell:
        found["disagree"] = {**cell["disagree"], "examples": cell["disagree"]["examples"][: level.examples]}
    if not level.scatter:
        found.pop("scatter", None)
    return found


def commands(study: str, place: Place) -> list[list[str]]:
    """What to type for what, on this cell."""
    table, row, column = (shlex.quote(part) for part in place)
    name = shlex.quote(study)
    return [
        ["Make what is missing of the study", f"snakemake --cores all --config study={name}"],
        ["Train its runs once more, beside the store, and compare",
         f"redistill audit {name} --table {table} --row {row} --column {column} --level rerun"],
        ["Compute its number once more from the predictions",
         f"redistill audit {name} --table {table} --row {row} --column {column} --level recompute"],
        ["Print the chain behind it", f"redistill why --study {name} --table {table} --row {row} --column {column}"],
    ]  # fmt: skip


def _seed(role: str) -> str:
    return role.removeprefix("seed ")


def _run(study: Study, place: Place, role: str, run: Thing) -> Content:
    """A line of the table of runs."""
    score = study.scores.get(place[0], {}).get(place[1], {}).get(place[2], {}).get(role)
    found: Content = {"seed": _seed(role), "key": run.key, "digest": run.digest, "title": run.title, "score": score}
    found |= costs.of_run(study, run.key)
    if (steps := study.counts(run).get("steps")) is not None:
        found["steps"] = steps
    if (noted := study.record(run.key)) is not None:
        found |= {"seconds": noted["seconds"], "core_seconds": noted["core_seconds"],
                  "memory": noted["peak_memory_mib"], "resumed": len(noted["resumed"]),
                  "attempts": len(noted.get("attempts") or ()), "start": noted["start"]}  # fmt: skip
        joules = [value for value in (noted.get("energy_joules") or {}).values() if value is not None]
        if joules:
            found["joules"] = round(sum(joules), 1)
    return found


def _config(run: Thing) -> dict[str, Any]:
    config: dict[str, Any] = run.parts["config"]
    return config


def _task(run: Thing, dataset: Thing | None) -> dict[str, Any]:
    """What is predicted, as the run's config says it, or the data set's."""
    said = _config(run).get("task") or (dataset.parts["config"] if dataset else {})
    return dict(said)
