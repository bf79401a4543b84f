"""A published study as its report reads it: tables, cells, runs, and files of the store, verified where they are there.

Only what is read is hashed, against the manifests in results/: not the weights.
"""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from redistill.errors import IntegrityError
from redistill.provenance import record, store
from redistill.provenance.published import Published, Thing
from redistill.questions.state import Place, json_of, whole
from redistill.tables.render import METRIC_NAMES

Content = dict[str, Any]
TRAINED = "run"


@dataclass
class Study:
    """A published study. `hashed` are files of the store that were found as they were published."""

    published: Published
    hashed: dict[Path, bool] = field(default_factory=dict)
    records: dict[str, Content | None] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.published.root

    @property
    def name(self) -> str:
        return self.published.study

    @property
    def things(self) -> dict[str, Thing]:
        return self.published.things

    @cached_property
    def tables(self) -> dict[str, Content]:
        """The tables of cells by name, as results/ has them, in the order of the study, which runs.tsv has."""
        known = [name for name, thing in self.published.tables.items() if thing.kind == "table"]
        order = [name for name in dict.fromkeys(run.table for run in self.published.runs) if name in known]
        return {name: json_of(self.published, name) for name in dict.fromkeys((*order, *sorted(known)))}

    @cached_property
    def scores(self) -> Content:
        """The metric of each run by table, row, column and `seed N`."""
        return json_of(self.published, "metrics")

    @cached_property
    def title(self) -> str:
        """The study's title, which each of its tables was made with."""
        titles = {str(t.parts["config"].get("study") or "") for t in self.published.tables.values()}
        return next(iter(titles)) if len(titles) == 1 and titles != {""} else self.name

    def file(self, thing: Thing, name: str) -> Path | None:
        """A file of a thing; None where it has no such file, or is not in the store.

        Raises:
            IntegrityError: it is not what was published.
        """
        file = thing.folder(self.root) / name
        if name not in thing.files or not file.is_file():
            return None
        if file not in self.hashed:
            found, expected = store.sha256_file(file), thing.files[name]["sha256"]
            if found != expected:
                raise IntegrityError(file, expected, found, store.BROKEN)
            self.hashed[file] = True
        return file

    def record(self, key: str) -> Content | None:
        """How a thing was made; None where nothing says so here."""
        if key not in self.records:
            place = record.place(self.root, key)
            self.records[key] = record.read(place) if place.is_file() else None
        return self.records[key]

    def counts(self, thing: Thing) -> Content:
        """What was counted when a thing was made."""
        file = self.file(thing, "counts.json")
        return json.loads(file.read_text(encoding="utf-8")) if file is not None else {}

    def rows(self, table: str) -> list[Content]:
        rows: list[Content] = self.tables[table]["rows"]
        return rows

    def runs_of(self, place: Place) -> dict[str, Thing]:
        """The things behind a cell by their role, `seed N`; of a row that is a source's own model, its outputs."""
        cell = self.published.cells[place]
        file = self.file(cell, "metrics.json")
        if file is not None:
            runs = json.loads(file.read_text(encoding="utf-8"))["runs"]
        else:
            seeds = [f"seed {r.seed}" for r in self.published.runs if (r.table, r.experiment, r.task) == place]
            content = next(r for r in self.rows(place[0]) if r["name"] == place[1])["cells"][place[2]]
            runs = dict(zip(seeds, content["runs"], strict=False))
        return {role: self.things[key] for role, key in runs.items() if key in self.things}

    def dataset_of(self, place: Place, run: Thing) -> Thing | None:
        """The data set whose `dev` a cell's runs were evaluated on."""
        cell = self.published.cells[place]
        return self.things.get(cell.inputs.get("dataset", run.inputs.get("dataset", "")))


def read(root: Path, study: str) -> Study:
    """A study's results.

    Raises:
        RedistillError: there are none, or they cannot be read; says what makes them.
    """
    return Study(whole(root, study))


def metric_name(metric: str) -> str:
    """A metric as people call it."""
    return METRIC_NAMES.get(metric, metric.replace("_", " "))


def teachers_of(things: dict[str, Thing], run: Thing) -> list[str]:
    """Keys of the runs and models that a run listened to, each once."""
    found = []
    for role, key in run.inputs.items():
        if role.startswith("outputs ") and key in things:
            found.append(things[key].inputs.get("teacher", ""))
        elif role.startswith("teacher "):
            found.append(key)
    return [key for key in dict.fromkeys(found) if key]
