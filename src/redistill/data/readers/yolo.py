"""Boxes as YOLO's tools have them: a text for each image, a line `class x y width height` for each box.

x and y are the centre; all four are shares of the image's width and height. Texts lie in a folder `labels` beside
`images`. An image without a text has no box.
"""

import math
from collections import Counter
from pathlib import Path
from typing import Any

from redistill.data.picture_files import files_below, is_picture, some
from redistill.errors import RedistillError

Example = dict[str, Any]


def yolo(
    folder: Path, labels: list[str], *, splits: dict | None = None
) -> tuple[list[Example] | dict[str, list[Example]], dict[str, Any]]:
    """Read images and their boxes.

    Args:
        folder: the source's folder.
        labels: the task's labels, in the order of the numbers in the texts.
        splits: for each split of the source, the folder of its images, such as `{train: images/train2017}`; their texts
            are at the same place with `labels` for `images`. Without, there are no splits, and `images` is read.

    Returns:
        Examples `{"id", "image", "boxes", "classes", "relative"}`, by split with `splits`. And what was counted.

    Raises:
        RedistillError: a folder or an image is not there, or a line is not laid out so; says where.
    """
    counts, odd = Counter[str](), list[str]()
    parts = {"": "images"} if splits is None else {str(name): str(place) for name, place in splits.items()}
    found = {split: _split(folder, place, labels, counts, odd) for split, place in parts.items()}
    counts["images"] += sum(map(len, found.values()))
    said = dict(counts) | ({"files that are no images, left out": len(odd), "such as": odd[:20]} if odd else {})
    return (found[""] if splits is None else found), said


def _split(folder: Path, place: str, labels: list[str], counts: Counter[str], odd: list[str]) -> list[Example]:
    images, texts = folder / place, folder / _beside(place)
    for one in (images, texts):
        if not one.is_dir():
            raise RedistillError(f"{one}: there is no such folder: let `splits` name where images are, beside `labels`")
    examples, used = list[Example](), set[Path]()
    for file in files_below(images):
        name = file.relative_to(images)
        if not is_picture(file):
            odd.append(file.relative_to(folder).as_posix())
            continue
        text = texts / name.with_suffix(".txt")
        example: Example = {"id": file.relative_to(folder).as_posix(), "image": file, "relative": True}
        if text.is_file():
            used.add(text)
            examples.append(example | _boxes(text, labels))
        else:
            counts["images without a text, taken to have no box"] += 1
            examples.append(example | {"boxes": [], "classes": []})
    if not examples or not used:
        what = "no images" if not examples else f"not one text of the images in {images}"
        raise RedistillError(f"{texts if examples else images}: holds {what}: name another folder in `splits`")
    texts_there = [file for file in files_below(texts) if file.suffix == ".txt" and file.name != "classes.txt"]
    if alone := [file.name for file in texts_there if file not in used]:
        raise RedistillError(f"{texts}: {some(alone)}: there is no image of that name: add it, or remove the text")
    return examples


def _beside(place: str) -> str:
    """Where the texts of a folder of images are: the last `images` of its path becomes `labels`."""
    parts = list(Path(place).parts)
    if "images" not in parts:
        raise RedistillError(f"`splits` names `{place}`: the path must have a step `images`, beside which is `labels`")
    parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return "/".join(parts)


def _boxes(file: Path, labels: list[str]) -> dict[str, Any]:
    """Left, top, right, bottom in shares of the image, and classes."""
    boxes, classes = list[list[float]](), list[int]()
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise RedistillError(f"{file}: cannot be read ({error}): take the file anew") from None
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields:
            continue
        where = f"{file}, line {number}"
        if len(fields) != 5:
            what = "a polygon has more, and only boxes are read" if len(fields) > 5 else "mend the line"
            raise RedistillError(f"{where}: has {len(fields)} numbers, not class, x, y, width and height: {what}")
        try:
            label, (x, y, width, height) = int(fields[0]), map(float, fields[1:])
        except ValueError:
            raise RedistillError(f"{where}: `{line.strip()}` are not five numbers, the first a whole one") from None
        if not 0 <= label < len(labels):
            raise RedistillError(f"{where}: has the class {label}, and the task names {len(labels)} labels, from 0")
        if not all(math.isfinite(share) and 0 <= share <= 1 for share in (x, y, width, height)):
            raise RedistillError(f"{where}: `{line.strip()}` are not shares of the image, from 0 to 1: divide by its "
                                 "width and height")  # fmt: skip
        boxes.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
        classes.append(label)
    return {"boxes": boxes, "classes": classes}
