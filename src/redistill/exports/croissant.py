"""A prepared data set with its description in Croissant, in a folder that can be passed on."""

import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redistill.errors import RedistillError, nearest, writing
from redistill.exports import facts
from redistill.exports.facts import Source
from redistill.plan import Node, Plan, make_plan
from redistill.provenance import record, store

if TYPE_CHECKING:
    import mlcroissant as mlc

METADATA = "croissant.json"
VERSION = "http://mlcommons.org/croissant/1.1"  # the first with arrays
PARQUET = "application/x-parquet"
SAID = {
    "id": "Identifies the example among those of its source",
    "text": "The text",
    "text_pair": "The second of two texts",
    "image": "Pixels, channel by channel",
}


def write(root: Path, study: str, task: str, to: Path) -> list[Path]:
    """Copy the splits of a task's data set to a folder, with croissant.json; returns the files.

    Raises:
        RedistillError: the study has no such task, its data set is not there, or the folder holds something else.
        ConfigError: the study has mistakes.
        IntegrityError: the data set is not what its manifest says.
    """
    plan = make_plan(root, study)
    node = _dataset(plan, task)
    folder = node.folder(root)
    if not store.is_done(folder):
        raise RedistillError(f"the data set of {task} is not there: `redistill prepare {study}` makes it")
    store.trust(root, folder)
    splits = sorted(name for name in store.read_manifest(folder)["files"] if name.endswith(".parquet"))
    target = Path(os.path.abspath(to))
    if target.is_dir() and (strange := sorted({f.name for f in target.iterdir()} - {METADATA, *splits})):
        raise RedistillError(f"{target / strange[0]} is no file of this data set: name another folder with --to")
    text = store.pretty(described(plan, node))
    with writing(target):
        target.mkdir(parents=True, exist_ok=True)
        for name in splits:
            shutil.copyfile(folder / name, target / name)
        store.write_atomically(target / METADATA, text)
    return [target / METADATA, *(target / name for name in splits)]


def _dataset(plan: Plan, task: str) -> Node:
    found = {node.title: node for node in plan.nodes.values() if node.kind == "dataset"}
    if task not in found:
        raise RedistillError(f"the study `{plan.checked.name}` has no data set of `{task}`; {nearest(task, found)}")
    return found[task]


def described(plan: Plan, node: Node) -> dict[str, Any]:
    """The description as JSON-LD, found valid by mlcroissant.

    Raises:
        RedistillError: mlcroissant does not take it.
    """
    import mlcroissant as mlc

    folder = node.folder(plan.root)
    splits = {name: entry for name, entry in sorted(store.read_manifest(folder)["files"].items()) if ".parquet" in name}
    sources = list(_sources(plan, node))
    files = [
        mlc.FileObject(
            id=name, name=name, content_url=name, content_size=f"{entry['size']} B", sha256=entry["sha256"],
            encoding_formats=[PARQUET], description=f"Split {Path(name).stem}",
        )
        for name, entry in splits.items()
    ]  # fmt: skip
    sets = [_records(folder / name, node) for name in splits]
    noted = record.place(plan.root, node.key)
    finished = record.read(noted)["end"] if noted.is_file() else None
    task = plan.checked.tasks.get(node.title)
    title = task.title if task else node.title
    ctx = mlc.Context(conforms_to=VERSION)
    log = logging.getLogger("absl")
    before = log.level
    log.setLevel(logging.ERROR)  # it recommends what no config knows
    try:
        made = mlc.Metadata(
            name=node.title.replace(" ", ""), description=_description(title, node, sources), ctx=ctx,
            license=list(dict.fromkeys(source.licence for source in sources)), distribution=files, record_sets=sets,
            cite_as="; ".join(dict.fromkeys(source.citation for source in sources)), version="1.0.0",
            url=next((source.url for source in sources if source.url), f"urn:redistill:thing:{node.key}"),
            date_published=finished,
        ).to_json()  # fmt: skip
    except (mlc.ValidationError, ValueError) as error:
        raise RedistillError(f"{node.title}: mlcroissant does not take its description: {error}") from None
    finally:
        log.setLevel(before)
    return dict(json.loads(json.dumps(made, default=str)))


def _sources(plan: Plan, node: Node) -> Iterator[Source]:
    known = facts.sources_on_file(plan.root)
    for before in plan.upstream([node.key]):
        if before.kind == "data":
            yield facts.source(known, before.kind, before.title, before.config)


def _description(title: str, node: Node, sources: list[Source]) -> str:
    said = f"{title}: examples as redistill prepared them, under the key {node.key}, from "
    return said + ", ".join(source.name for source in sources) + ". Splits are record sets."


def _records(file: Path, node: Node) -> "mlc.RecordSet":
    """A split: a field for each column of its file."""
    import mlcroissant as mlc
    import pyarrow.parquet as pq

    split = file.stem
    fields = []
    for column in pq.read_schema(file):
        kind, shape = _kind(column.type, node)
        many = {"is_array": True, "array_shape": shape} if shape else {}
        source = mlc.Source(file_object=file.name, extract=mlc.Extract(column=column.name))
        fields.append(
            mlc.Field(
                id=f"{split}/{column.name}", name=column.name, description=_said(column.name, node),
                data_types=[kind], source=source, **many,
            )
        )  # fmt: skip
    return mlc.RecordSet(id=split, name=split, description=f"The examples of {split}", fields=fields)


def _kind(column: Any, node: Node) -> tuple[Any, str]:
    """Croissant's type of a column, and its shape if it holds arrays."""
    import mlcroissant as mlc
    import pyarrow.types as of

    if of.is_list(column):
        shape = ",".join(map(str, node.config.get("image_shape") or (-1,)))
        return _kind(column.value_type, node)[0], shape
    kinds = mlc.DataType
    return kinds.TEXT if of.is_string(column) else kinds.INTEGER if of.is_integer(column) else kinds.FLOAT, ""


def _said(column: str, node: Node) -> str:
    if column == "label":
        named = ", ".join(f"{number} is {label}" for number, label in enumerate(node.config.get("labels") or ()))
        return f"The label: {named}" if named else "The label: a number"
    return SAID.get(column, column)
