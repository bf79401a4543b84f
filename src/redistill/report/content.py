"""Everything that a report shows, as data: an overview, and parts that are unpacked when a number is opened."""

import base64
import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from redistill.errors import RedistillError
from redistill.provenance.published import Thing
from redistill.questions.state import Place
from redistill.report import cells, costs
from redistill.report.cells import LEVELS, Level, Reader
from redistill.report.columns import Looked, looked
from redistill.report.disagree import inputs
from redistill.report.making import kind_of, making, teaching
from redistill.report.pack import SHARD, packed, shards
from redistill.report.reading import Content, Study, metric_name

ROOM = 9_000_000  # bytes that the data of a page may have, so that the whole stays under 10 MB
PICTURES = 4  # of a cell
PICTURES_ROOM = 1_500_000  # bytes of pictures in a page


@dataclass
class Report:
    """A study's report. `parts` are by name what is unpacked later; `cut` says what was left out, in sentences."""

    study: Study
    looked: dict[str, Looked]
    overview: Content
    making: Content
    claims: list[Content]
    parts: dict[str, str] = field(default_factory=dict)
    cut: list[str] = field(default_factory=list)


def gather(study: Study, room: int = ROOM) -> Report:
    """Read all of a study.

    Raises:
        RedistillError: something of it cannot be read.
        IntegrityError: a file of the store is not what was published.
    """
    found = {name: looked(study, name) for name in study.tables}
    said = claims(study)
    overview, places = _overview(study, found, said)
    report = Report(study, found, overview, making(study), said)
    reader, opened = Reader(study, {}), list[Content]()
    for place, label, above in places:
        opened.append(cells.cell(reader, place, label, above))
    report.parts["things"] = packed(_things(study))
    pictures = _pictures(study, opened, report.cut)
    report.parts |= _fitting(study, opened, pictures, report, room)
    return report


def claims(study: Study) -> list[Content]:
    """Published numbers beside the study's own, and what became of them; none where the configs are not here."""
    from redistill.claims.verdict import verdicts

    try:
        return [one.content() for one in verdicts(study.root, study.name)]
    except (RedistillError, OSError):
        return []


Opened = tuple[Place, str, Place | None]


def _overview(study: Study, found: dict[str, Looked], said: list[Content]) -> tuple[Content, list[Opened]]:
    """What the page shows at once, and the cells that open, in order."""
    flops = costs.operations(study)
    places, tables = list[Opened](), list[Content]()
    numbers = list[Content]()
    for name, table in study.tables.items():
        rows, above = list[Content](), dict[str, Place]()
        claimed = {(c["row"], c["column"]): c for c in said if c["table"] == name}
        for row in table["rows"]:
            line = _row(study, found[name], name, row, flops)
            line["cells"] = {}
            for column in table["columns"]:
                key, cell = column["key"], row["cells"].get(column["key"])
                place = (name, row["name"], key)
                if cell is None:
                    continue
                number = {"table": len(tables), "row": len(rows), "column": key, **_number(cell)}
                number["mark"] = found[name].marks.get((row["name"], key))
                if (claim := claimed.get((row["name"], key))) is not None:
                    number["published"] = claim["claimed"]
                if place in study.published.cells:
                    number["shard"], number["at"] = f"cells-{len(places) // SHARD}", len(places) % SHARD
                    places.append((place, row["label"], above.get(key)))
                    above[key] = place
                line["cells"][key] = len(numbers)
                numbers.append(number)
            rows.append(line)
        columns = [{**c, "metric": metric_name(c["metric"])} for c in table["columns"]]
        tables.append({"name": name, "title": table["title"], "columns": columns, "rows": rows})
    pairs = {f"{name}/{column}": lines for name, of in found.items() for column, lines in of.pairs.items()}
    return {"study": study.name, "tables": tables, "cells": numbers, "pairs": pairs}, places


def _row(study: Study, of: Looked, table: str, row: Content, flops: dict[tuple[str, str], float]) -> Content:
    """A row's part and what it costs."""
    keys = [key for cell in row["cells"].values() if cell for key in cell["runs"] if key in study.things]
    part = of.roles[row["name"]]
    found: Content = {"name": row["name"], "label": row["label"], "role": part.role}
    known = [costs.of_run(study, key) for key in keys[:1]]
    found |= known[0] if known else {}
    counted = {column: flops[row["name"], column] for column in row["cells"] if (row["name"], column) in flops}
    if counted:
        found["operations"] = counted
    noted = [record for key in keys if (record := study.record(key)) is not None]
    if noted:
        found["seconds"] = round(sum(record["seconds"] for record in noted) / len(noted), 1)
    if speed := [line for key in keys for line in costs.speed(study, key)]:
        found["speed"] = _of_forms(speed)
    return found


def _of_forms(lines: list[Content]) -> list[Content]:
    """One measurement a form and batch size: the first."""
    found: dict[Any, Content] = {}
    for line in lines:
        found.setdefault((line.get("form", ""), line.get("batch_size")), line)
    return list(found.values())


def _number(cell: Content) -> Content:
    return {name: cell[name] for name in ("mean", "std", "n_seeds", "low", "high", "n_examples")}


def _things(study: Study) -> Content:
    """Everything that was made, for the pictures of chains: kind, title, digest, inputs, seconds."""
    taught = teaching(study)
    found = {}
    for key, thing in study.things.items():
        if thing.kind not in ("table", "scores"):
            noted = study.record(key)
            found[key] = [kind_of(study, key, taught), thing.title, thing.digest, sorted(set(thing.inputs.values())),
                          noted["seconds"] if noted else None]  # fmt: skip
    return found


# --- what has room ---------------------------------------------------------------------------------------------------


def _pictures(study: Study, opened: list[Content], cut: list[str]) -> dict[int, list[Content]]:
    """Pictures of predictions that were drawn of a cell's first run, by the cell's number."""
    found, left, without = dict[int, list[Content]](), PICTURES_ROOM, 0
    for number, cell in enumerate(opened):
        for run in cell["runs"][:1]:
            folder = study.root / "store" / "pictures" / run["key"]
            with suppress(OSError, ValueError, KeyError, AttributeError):
                said = json.loads((folder / "pictures.json").read_text(encoding="utf-8"))["images"]
                files = [(folder / name, title) for name, title in list(said.items())[:PICTURES] if "/" not in name]
                size = sum(file.stat().st_size for file, _ in files) * 4 // 3
                if size > left:
                    without += 1
                    continue
                left -= size
                found[number] = [{"id": title, "image": _address(file.read_bytes())} for file, title in files]
    if without:
        cut.append(
            f"Pictures of predictions are shown for {len(found)} of {len(found) + without} numbers that have them."
        )
    return found


def _address(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _fitting(
    study: Study, opened: list[Content], pictures: dict[int, list[Content]], report: Report, room: int
) -> dict[str, str]:
    """The cells, with as much of everything as there is room for."""
    taken = sum(map(len, report.parts.values())) + len(packed(report.overview))
    found: dict[str, str] = {}
    for level in LEVELS:
        found = _at(study, opened, pictures, level)
        if taken + sum(map(len, found.values())) <= room:
            break
    report.cut += _said(opened, level)
    return found


def _at(study: Study, opened: list[Content], pictures: dict[int, list[Content]], level: Level) -> dict[str, str]:
    shown = [cells.cut(cell, level) for cell in opened]
    for number, cell in enumerate(shown):
        if number in pictures and level.examples:
            cell["pictures"] = pictures[number]
    examples = _examples(study, shown)
    found = {}
    for name, some in shards(shown):
        wanted = {one for cell in some for one in cell.get("wanted", ())}
        found[name] = packed(
            {"cells": some, "inputs": {key: examples[key] for key in sorted(wanted & examples.keys())}}
        )
    return found


def _examples(study: Study, shown: list[Content]) -> dict[str, Content]:
    """What the examples are that are shown, by data set and id; each cell is told which it wants."""
    wanted: dict[str, set[str]] = {}
    tasks: dict[str, Any] = {}
    for cell in shown:
        said = cell.get("disagree")
        if said and said["dataset"]:
            wanted.setdefault(said["dataset"], set()).update(one["id"] for one in said["examples"])
            cell["wanted"] = [f"{said['dataset']} {one['id']}" for one in said["examples"]]
            run: Thing = study.things[cell["runs"][0]["key"]]
            tasks[said["dataset"]] = run.parts["config"].get("task", {})
    return {
        f"{dataset} {name}": content
        for dataset, names in wanted.items()
        for name, content in inputs(study, study.things[dataset], tasks[dataset], names).items()
    }


def _said(opened: list[Content], level: Level) -> list[str]:
    """What a level leaves out of these cells."""
    found = []
    disagreeing = [len(cell["disagree"]["examples"]) for cell in opened if "disagree" in cell]
    if any(n > level.examples for n in disagreeing):
        found.append(
            f"Of the examples on which teacher and student disagree, at most {level.examples} a number are shown."
        )
    if any(cell.get("curves") for cell in opened):
        found.append(f"Curves have at most {level.points} points, which lie evenly over all that were logged.")
    if any(len(cell.get("curves", ())) > level.seeds for cell in opened):
        found.append(f"Curves are shown for the first {level.seeds} seeds of a number.")
    if not level.scatter and any(cell.get("scatter") for cell in opened):
        found.append("Pictures of scores against labels are left out.")
    return found
