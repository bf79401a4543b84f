"""COCO's layout (Lin et al. 2014): instances in one JSON for each split, images in a folder for each.

Masks of classes and the images that are taken are as torchvision's reference training has them, which published
segmentation models were trained and measured by: where two objects lie on one another, a pixel has no class.
"""

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from redistill.data.masks import VOID, png
from redistill.data.picture_files import some
from redistill.errors import RedistillError, nearest

Example = dict[str, Any]
SMALLEST = 1  # pixels: a box that is not wider and higher does not annotate an image
ENOUGH = 1000  # pixels that objects must have together, for an image to be trained on


def coco(
    folder: Path,
    labels: list[str],
    task_type: str,
    *,
    annotations: dict,
    images: dict,
    annotated_only: list[str] | None = None,
    annotated_by: Literal["objects", "any_box"] = "objects",
    names: dict | None = None,
    others: Literal["refuse", "leave_out"] = "refuse",
) -> tuple[dict[str, list[Example]], dict[str, Any]]:
    """Read images with their boxes, where the task is a detection, or with masks of classes.

    Args:
        folder: the source's folder.
        labels: the task's labels; of a segmentation, the first is the background.
        task_type: the task's type.
        annotations: for each split of the source, its file, such as `{val: annotations/instances_val2017.json}`.
        images: for each split, the folder of its images, such as `{val: val2017}`.
        annotated_only: splits of which images without an object are left out: for a detection, without a box of more
            than a pixel by a pixel; for a segmentation, with objects of no more than 1,000 pixels together.
        annotated_by: `any_box` leaves out those images alone that have no box of more than a pixel by a pixel of any
            category, whatever the task and its labels, as torchdistill does.
        names: labels of the task for categories that it calls otherwise, such as `{airplane: aeroplane}`.
        others: what becomes of categories that the task does not name: `leave_out` counts their objects.

    Returns:
        For each split, examples `{"id", "image", "size", "boxes", "classes", "crowd"}` or `{"id", "image", "size",
        "mask"}`, in the order of the file; an id is the image's file name. And what was counted.

    Raises:
        RedistillError: a file or an image is not there, or an entry is not laid out as COCO's; says which and where.
    """
    if set(annotations) != set(images):
        raise RedistillError("reader `coco`: `annotations` and `images` must name the same splits")
    only = annotated_only or []
    if unknown := [split for split in only if split not in annotations]:
        raise RedistillError(f"`annotated_only` names `{unknown[0]}`, which `annotations` does not")
    counts, found, left_out = Counter[str](), {}, dict[str, int]()
    for split, name in annotations.items():
        said = _read(folder / str(name))
        place = folder / str(images[split])
        classes = _classes(folder / str(name), said["categories"], labels, names or {}, others)
        drawn = _by_image(folder / str(name), said, classes, counts)
        boxed = _boxed(said) if annotated_by == "any_box" else None
        examples = _examples(said, place, drawn, classes, task_type, split in only, boxed)
        if split in only:
            left_out[str(split)] = len(said["images"]) - len(examples)
        if missing := [file.name for example in examples if not (file := example["image"]).is_file()]:
            raise RedistillError(f"{place}: {some(missing)} not there, and {name} names them: add the images")
        if not examples:
            raise RedistillError(f"{folder / str(name)}: names no image that can be taken: name another file")
        found[str(split)] = examples
    counts["images"] += sum(map(len, found.values()))
    return found, dict(counts) | ({"examples that were left out of splits": left_out} if only else {})


def _read(file: Path) -> dict[str, Any]:
    try:
        said = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise RedistillError(f"{file}: there is no such file: name one that is there in `annotations`") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RedistillError(f"{file}: is no JSON ({error}): fetch it again") from None
    for key in ("images", "annotations", "categories"):
        if not isinstance(said, dict) or not isinstance(said.get(key), list):
            raise RedistillError(f"{file}: has no list of `{key}`: it is not COCO's instances; name another file")
    return said


def _classes(
    file: Path, categories: list[dict[str, Any]], labels: list[str], names: dict[str, str], others: str
) -> dict[int, int]:
    """The task's class for each category, by the category's number."""
    there = {str(category["name"]) for category in categories}
    if strange := sorted(set(names) - there):
        raise RedistillError(f"`names` has `{strange[0]}`, no category of {file}; {nearest(strange[0], there)}")
    found = {}
    for category in categories:
        label = names.get(category["name"], category["name"])
        if label in labels:
            found[int(category["id"])] = labels.index(label)
        elif others == "refuse":
            raise RedistillError(
                f"{file}: the task has no class `{label}` ({nearest(label, labels)}): mend `labels`, name it in "
                "`names`, or set `others: leave_out` in the reader"
            )
    return found


def _by_image(
    file: Path, said: dict[str, Any], classes: dict[int, int], counts: Counter[str]
) -> dict[int, list[dict[str, Any]]]:
    """Objects of the task's classes by their image."""
    drawn: dict[int, list[dict[str, Any]]] = {}
    for image in said["images"]:
        if image["id"] in drawn:
            raise RedistillError(f"{file}: two images have the id {image['id']}: give each its own")
        drawn[image["id"]] = []
    known = {category["id"] for category in said["categories"]}
    for item in said["annotations"]:
        where = f"{file}, annotation {item.get('id')}"
        if item.get("image_id") not in drawn:
            raise RedistillError(f"{where}: there is no image {item.get('image_id')}: add it, or remove the annotation")
        if item.get("category_id") not in known:
            raise RedistillError(f"{where}: there is no category {item.get('category_id')}: mend the annotation")
        if item["category_id"] not in classes:
            counts["objects of other classes, left out"] += 1
            continue
        if not isinstance(item.get("bbox"), list) or len(item["bbox"]) != 4:
            raise RedistillError(f"{where}: its bbox is {item.get('bbox')}, not left, top, width and height: mend it")
        drawn[item["image_id"]].append(item)
    return drawn


def _boxed(said: dict[str, Any]) -> set[Any]:
    """Images with a box that counts, of any category."""
    return {item["image_id"] for item in said["annotations"] if min(item.get("bbox", [])[2:], default=0) > SMALLEST}


def _examples(
    said: dict[str, Any], place: Path, drawn: dict[int, list[dict[str, Any]]], classes: dict[int, int],
    task_type: str, annotated_only: bool, boxed: set[Any] | None,
) -> list[Example]:  # fmt: skip
    examples = []
    for image in said["images"]:
        items, size = drawn[image["id"]], (int(image["width"]), int(image["height"]))
        example: Example = {"id": image["file_name"], "image": place / image["file_name"], "size": size}
        if task_type == "detection":
            there = any(min(item["bbox"][2:]) > SMALLEST for item in items)
            example["boxes"] = [[x, y, x + width, y + height] for x, y, width, height in (i["bbox"] for i in items)]
            example["classes"] = [classes[item["category_id"]] for item in items]
            example["crowd"] = [bool(item.get("iscrowd", 0)) for item in items]
        else:
            there = sum(item.get("area", 0) for item in items) > ENOUGH
            shapes = [(classes[item["category_id"]], item["segmentation"]) for item in items]
            example["mask"] = _mask_of(shapes, size)
        if boxed is not None:
            there = image["id"] in boxed
        if there or not annotated_only:
            examples.append(example)
    return examples


def _mask_of(shapes: list[tuple[int, Any]], size: tuple[int, int]) -> Callable[[], bytes]:
    """What makes the mask when it is written: masks of a whole data set would not fit into memory."""
    return partial(_drawn, shapes, size)


def _drawn(shapes: list[tuple[int, Any]], size: tuple[int, int]) -> bytes:
    """A PNG of classes: background where no object is, and none where several are."""
    try:
        from pycocotools import mask as coco_mask
    except ModuleNotFoundError:
        raise RedistillError("masks of COCO need pycocotools: run `make setup`, or pip install pycocotools") from None
    width, height = size
    classes, times = np.zeros((height, width), dtype=np.int64), np.zeros((height, width), dtype=np.int64)
    for label, shape in shapes:
        if not shape:
            continue
        packed = isinstance(shape, dict) and isinstance(shape["counts"], str)
        pixels = coco_mask.decode(shape if packed else coco_mask.frPyObjects(shape, height, width))
        inside = pixels.reshape(height, width, -1).any(-1)
        times += inside
        classes = np.maximum(classes, inside * label)
    classes[times > 1] = VOID
    return png(classes.astype(np.uint8))
