"""What a run and its teachers say of some images of `dev`, drawn beside what is there.

Into store/pictures/KEY: beside the run, not in it, because a run's folder is what its manifest says. Whatever is there
can be drawn anew at any time.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redistill.errors import RedistillError
from redistill.provenance import store

if TYPE_CHECKING:
    from redistill.data.examples import Examples
    from redistill.pictures.draw import Panel, Pixels

FOLDER, LIST = "pictures", "pictures.json"
IMAGES = 8
SURE, MOST_BOXES = 0.3, 20  # the least score of a box that is drawn, and how many of them
KINDS = ("classification", "segmentation", "detection")
Row = dict[str, Any]


@dataclass(frozen=True)
class Model:
    """A model that said something of `dev`: what it is called, the images as it saw them, and what it said by id."""

    name: str
    seen: "Examples"
    said: dict[str, Row]


def after(root: Path, key: str, config: dict[str, Any]) -> None:
    """Draw what a student of images says, once it is made; where that cannot be done, say why and go on."""
    if config["task"]["input"] != "image" or config["task"]["type"] not in KINDS:
        return
    try:
        print(f"pictures: {draw(root, key).relative_to(root)}", flush=True)
    except Exception as error:  # whatever it is: the run is made, and is not lost with its pictures
        print(f"no pictures of {key}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


def draw(root: Path, key: str, to: Path | None = None, images: int = IMAGES) -> Path:
    """Draw some images, spread over `dev`, a file each, and the list of them; returns the folder.

    Args:
        to: the folder; store/pictures/KEY if not given.

    Raises:
        RedistillError: there is no such run of images with predictions, its data set is not in the store, or the folder
            holds something else.
    """
    run, task = _run(root, key)
    target = to if to is not None else root / "store" / FOLDER / key
    if target.exists() and not (target / LIST).is_file():
        raise RedistillError(f"{target} holds other things than pictures: name another folder with --to")
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        beside.mkdir(parents=True)
        names = dict[str, str]()
        for number, (name, png) in enumerate(_drawn(root, run, task, images)):
            file = f"{number:03d}.png"
            (beside / file).write_bytes(png)
            names[file] = name
        said = {"run": key, "split": "dev", "images": names}
        (beside / LIST).write_text(store.pretty(said), encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


def _run(root: Path, key: str) -> tuple[Path, dict[str, Any]]:
    """The folder and the task of a run that said something of images."""
    folder = root / "store" / "runs" / key
    if not store.is_done(folder):
        raise RedistillError(f"no finished run here has the key {key}: `redistill plan` lists keys, `redistill run` "
                             "makes a run, `redistill pull` brings those of the remote")  # fmt: skip
    config = _config(folder)
    task: dict[str, Any] = config["task"]
    if "evaluation" not in config:
        raise RedistillError(f"{key} is a baseline, which looks at no image: give a run that was trained")
    if task["input"] != "image" or not (folder / "predictions.parquet").is_file():
        raise RedistillError(f"{key} is a run on {task['input']}s of type `{task['type']}`: pictures are drawn of what "
                             "was predicted of images")  # fmt: skip
    return folder, task


def _config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "resolved.json").read_text(encoding="utf-8"))
    return config


def _inputs(folder: Path) -> dict[str, str]:
    inputs: dict[str, str] = store.read_manifest(folder)["key_parts"]["inputs"]
    return inputs


def _drawn(root: Path, run: Path, task: dict[str, Any], images: int) -> Iterator[tuple[str, bytes]]:
    """The name and the picture of each image."""
    from redistill.pictures.draw import sheet

    dataset = root / "store" / "data" / _inputs(run)["dataset"]
    if not store.is_done(dataset):
        raise RedistillError(f"its data set is not in the store ({dataset.name}): `redistill pull {dataset.name}` "
                             "brings it, `redistill prepare` makes it")  # fmt: skip
    student = _model("student", run, dataset, task, images)
    ids = list(student.said)
    models = [
        _published(name, folder, run, student, task) if folder.parent.name == "models" else
        _model(name, folder, dataset, task, images) for name, folder in _teachers(root, run, task)
    ]  # fmt: skip
    models.append(student)
    panels = {"classification": _labels, "segmentation": _masks, "detection": _boxes}[task["type"]]
    for name in ids:
        together = list(panels(name, models, task["labels"]))
        yield name, sheet(together, task["labels"])


def _teachers(root: Path, run: Path, task: dict[str, Any]) -> Iterator[tuple[str, Path]]:
    """The runs that a run listened to, as far as they are here and said something of the same data, and published
    weights that tell as many classes apart as the task has.
    """
    inputs = _inputs(run)
    found = dict[str, str]()
    for role, key in sorted(inputs.items()):
        kind, *words = role.split()
        if kind == "teacher":
            found[words[0]] = key
        elif kind == "outputs" and (folder := root / "store" / "outputs" / key).is_dir():
            found[words[0]] = _inputs(folder)["teacher"]
    for name, key in found.items():
        called = "teacher" if len(found) == 1 else f"teacher {name}"
        folder, weights = root / "store" / "runs" / key, root / "store" / "models" / key
        if (folder / "predictions.parquet").is_file() and _inputs(folder)["dataset"] == inputs["dataset"]:
            yield called, folder
        elif _outputs(weights) == len(task["labels"]):
            yield called, weights


def _outputs(weights: Path) -> int | None:
    """How many classes published weights tell apart; None if they are not there, or no model of images."""
    from redistill.models.load import ARCHITECTURE

    file = weights / ARCHITECTURE
    if not file.is_file():
        return None
    outputs: int = json.loads(file.read_text(encoding="utf-8"))["outputs"]
    return outputs


def _model(name: str, run: Path, dataset: Path, task: dict[str, Any], images: int) -> Model:
    import numpy as np
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from redistill.data import examples

    table = pq.read_table(run / "predictions.parquet")
    table = table.filter(pc.equal(table["split"], "dev")).sort_by("id")
    table = table.take(np.unique(np.linspace(0, len(table) - 1, min(images, len(table))).astype(int)))
    transforms = [one for one in _config(run)["evaluation"]["transforms"] if one["method"] != "normalise"]
    seen = examples.load(task, {"dataset": dataset}, ["dev"], transforms)
    return Model(name, seen, {row["id"]: row for row in table.to_pylist()})


def _published(name: str, weights: Path, run: Path, student: Model, task: dict[str, Any]) -> Model:
    """What published weights say of the student's images, shown to them as to the student: found out now."""
    import torch

    from redistill.data import examples
    from redistill.models import load

    config = _config(run)
    model = load.load_teacher(weights, {**config["runtime"], "device": "cpu"})
    dataset = weights.parents[1] / "data" / _inputs(run)["dataset"]
    data = examples.load(task, {"dataset": dataset}, ["dev"], config["evaluation"]["transforms"])
    with torch.inference_mode():
        said = {one: _row(load.said_of(model, _batch(one, data))) for one in student.said}
    return Model(name, student.seen, said)


def _row(said: dict[str, Any]) -> Row:
    """What a model says of one image, as predictions have it."""
    from redistill.data.masks import png

    if "detections" in said:
        found = said["detections"][0]
        values = {"boxes": found["boxes"], "classes": found["labels"] - 1, "scores": found["scores"]}
        return {key: value.tolist() for key, value in values.items()}
    logits = said["logits"][0]
    if logits.ndim > 1:
        return {"prediction": png(logits.argmax(0).byte().numpy())}
    return {"logits": logits.tolist(), "prediction": int(logits.argmax())}


def _batch(name: str, data: "Examples") -> dict[str, Any]:
    """One image, in the view that is evaluated."""
    import numpy as np

    from redistill.data.pictures import STORED

    index = np.array([data.ids.index(name)])
    return data.batch(index, "cpu", data.seeds(index, STORED, 0))


def _view(name: str, model: Model) -> tuple["Pixels", dict[str, Any]]:
    """An image as a model saw it, for people, and the rest of its batch."""
    batch = _batch(name, model.seen)
    image = batch["image"][0].float()
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 1:  # of data whose pixels have a range of their own
        image = (image - low) / max(high - low, 1e-12)
    image = image[:3] if image.shape[0] >= 3 else image[:1].expand(3, -1, -1)
    pixels: Pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    return pixels, batch


def _labels(name: str, models: list[Model], names: list[str]) -> Iterator["Panel"]:
    """One image, with its label and what each model says, and how sure it is."""
    import numpy as np

    from redistill.pictures.draw import Panel

    image, _ = _view(name, models[-1])
    label = models[-1].said[name]["label"]
    lines: list[tuple[str, bool | None]] = [(f"label: {names[label]}", None)]
    for model in models:
        row = model.said[name]
        logits = np.array(row["logits"], dtype=np.float64)
        shares = np.exp(logits - logits.max())
        share = shares[row["prediction"]] / shares.sum()
        lines.append((f"{model.name}: {names[row['prediction']]} {100 * share:.0f} %", row["prediction"] == label))
    yield Panel(name, image, lines)


def _masks(name: str, models: list[Model], names: list[str]) -> Iterator["Panel"]:
    """What is there, and what each model says."""
    import numpy as np

    from redistill.data.examples import NO_CLASS
    from redistill.data.masks import read
    from redistill.pictures.draw import Panel

    image, batch = _view(name, models[-1])
    yield Panel(name, image, mask=batch["labels"][0].numpy(), void=NO_CLASS)
    for model in models:
        said = read(model.said[name]["prediction"]).astype(np.int64)
        yield Panel(model.name, _view(name, model)[0], mask=said, void=NO_CLASS)


def _boxes(name: str, models: list[Model], names: list[str]) -> Iterator["Panel"]:
    """What is there, and what each model is sure to have found."""
    from redistill.pictures.draw import Box, Panel

    image, batch = _view(name, models[-1])
    target = batch["targets"][0]
    there = zip(target["boxes"].tolist(), target["classes"].tolist(), target["crowd"].tolist(), strict=True)
    yield Panel(name, image, boxes=[Box(box, of, names[of] + " (crowd)" * crowd) for box, of, crowd in there])
    for model in models:
        row = model.said[name]
        found = sorted(zip(row["scores"], row["classes"], row["boxes"], strict=True), key=lambda one: -one[0])
        sure = [one for one in found if one[0] >= SURE][:MOST_BOXES]
        boxes = [Box(box, of, f"{names[of]} {100 * score:.0f}") for score, of, box in reversed(sure)]
        left_out = len(found) - len(sure)
        lines: list[tuple[str, bool | None]] = [(f"{left_out} less sure", None)] if left_out else []
        yield Panel(model.name, _view(name, model)[0], lines, boxes)
