"""One picture and what is drawn on it, as a reader found them: decoded once, compared, and made ready to be written."""

import io
import math
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from redistill.data.masks import VOID, png

Example = dict[str, Any]
Size = tuple[int, int]  # width and height
REDUCED = 8  # a JPEG's coefficients are all read to give an eighth of its sides, and most of the work is not done
WITHIN = 1.0  # pixels that a box may reach out of its image, by rounding
BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, OverflowError)


@dataclass
class Taken:
    """A picture ready to be written, or why it is not.

    Args:
        image: the file; None if the picture cannot be used.
        by_class: images, boxes or pixels by class; -1 counts pixels without one.
        faults: what is wrong, in words; where the task leaves that out, `left_out` counts it.
    """

    id: str
    label: int | None = None
    image: bytes | None = None
    size: Size = (0, 0)
    mask: bytes | None = None
    boxes: list[list[float]] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    crowd: list[bool] = field(default_factory=list)
    by_class: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


class PictureError(Exception):
    """What makes a picture useless, in words, and what it is counted as."""

    def __init__(self, said: str, counted: str):
        self.said, self.counted = said, counted
        super().__init__(said)


def taken(example: Example, config: dict[str, Any], labelled: bool, read: Callable[[Path], bytes]) -> Taken:
    """Read a picture and check it, with its boxes or its mask.

    `image` and `mask` of an example are bytes, a path, or a function that gives bytes. `size`, if it is there, is
    (width, height) as the annotation has it. `boxes` are left, top, right, bottom in pixels, or `relative`, in shares
    of the image's sides. `void` is the number that stands for no class in the mask, beside 255.
    """
    one = Taken(example["id"], example.get("label") if labelled else None)
    try:
        image = content(example["image"], read)
        one.size = size_of(image)
        if "size" in example and example["size"] != one.size:
            said = "annotated at {} x {}, but it is {} x {}".format(*example["size"], *one.size)
            raise PictureError(
                f"was {said}: take the image that was annotated", "images of another size than annotated"
            )
        if config["type"] == "segmentation":
            one.mask = _mask(one, example, config["labels"], read) if labelled else _void(one.size)
        if config["type"] == "detection" and labelled:
            _boxes(one, example)
        if config["type"] == "classification" and one.label is not None:
            one.by_class[one.label] += 1
        one.image = image
    except PictureError as fault:
        one.faults.append(fault.said)
        one.left_out[fault.counted] += 1
    return one


def content(said: Any, read: Callable[[Path], bytes]) -> bytes:
    """A file's bytes, from what a reader gives of it."""
    if isinstance(said, Path):
        return read(said)
    made: bytes = said() if callable(said) else said
    return made


def size_of(encoded: bytes) -> Size:
    """Width and height of a picture that can be decoded; of a JPEG as far as it must be to know that.

    Raises:
        PictureError: it is no picture, or a broken one.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            width, height = opened.size
            opened.draft("RGB", (max(1, width // REDUCED), max(1, height // REDUCED)))
            opened.load()
    except (*BROKEN, Image.DecompressionBombError) as error:
        what = "is empty" if not encoded else f"cannot be decoded ({_first_line(error)})"
        raise PictureError(f"{what}: fetch it again", "images that cannot be decoded") from None
    return width, height


def _first_line(error: Exception) -> str:
    said = (str(error).splitlines() or [type(error).__name__])[0]
    return "no picture that is known" if said.startswith("cannot identify image file") else said


# --- boxes -----------------------------------------------------------------------------------------------------------


def _boxes(one: Taken, example: Example) -> None:
    """Boxes inside the image and with an area; others are faults, of which what lies in the image is kept."""
    scale = np.array([*one.size, *one.size] if example.get("relative") else [1.0] * 4)
    width, height = one.size
    crowds = example.get("crowd") or [False] * len(example["boxes"])
    for box, label, crowd in zip(example["boxes"], example["classes"], crowds, strict=True):
        left, top, right, bottom = (float(side) for side in np.asarray(box, dtype=np.float64) * scale)
        said = f"the box {_numbers(left, top, right, bottom)} (left, top, right, bottom)"
        beyond = max(-left, -top, right - width, bottom - height)
        if not math.isfinite(left + top + right + bottom):
            one.faults.append(f"{said} is no box")
            one.left_out["boxes that are none"] += 1
            continue
        if right <= left or bottom <= top:
            one.faults.append(f"{said} has no area")
            one.left_out["boxes without area"] += 1
            continue
        if beyond > WITHIN:
            one.faults.append(f"{said} reaches out of its image of {width} x {height}")
        left, top, right, bottom = max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))
        if right <= left or bottom <= top:
            if beyond <= WITHIN:
                one.faults.append(f"{said} has no area in its image of {width} x {height}")
            one.left_out["boxes outside their image"] += 1
            continue
        if beyond > WITHIN:
            one.left_out["parts of boxes that reached out of their image"] += 1
        one.boxes.append([left, top, right, bottom])
        one.classes.append(int(label))
        one.crowd.append(bool(crowd))
        one.by_class[int(label)] += 1


def _numbers(*sides: float) -> str:
    return f"[{', '.join(f'{side:.6g}' for side in sides)}]"


# --- masks -----------------------------------------------------------------------------------------------------------


def _mask(one: Taken, example: Example, labels: list[str], read: Callable[[Path], bytes]) -> bytes:
    """A mask of classes, the file itself where its numbers are the task's; counts its pixels."""
    from PIL import Image

    encoded = content(example["mask"], read)
    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            mode, form = opened.mode, opened.format
            classes = np.array(opened) if mode in ("L", "P") else None
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise PictureError(
            f"its mask cannot be decoded ({_first_line(error)}): fetch it again", "broken masks"
        ) from None
    if classes is None or form == "JPEG":
        wrong = "a JPEG, which blurs numbers" if form == "JPEG" else f"of colours or other numbers (mode {mode})"
        raise PictureError(
            f"its mask is {wrong}: a mask is a PNG whose grey or palette is the class", "masks of no classes"
        )
    if classes.shape != (one.size[1], one.size[0]):
        height, width = classes.shape
        said = f"is {one.size[0]} x {one.size[1]}, its mask {width} x {height}: make them the same size"
        raise PictureError(said, "masks of another size than the image")
    void = example.get("void")
    if void is not None and void != VOID:
        classes[classes == void] = VOID
        encoded = png(classes)
    counted = np.bincount(classes.ravel(), minlength=VOID + 1)
    unknown = [int(i) for i in np.flatnonzero(counted[:VOID]) if i >= len(labels)]
    if unknown:
        known = f"the task names {len(labels)} classes, from 0, and {VOID} is none"
        said = f"its mask has the class {unknown[0]} at {counted[unknown[0]]} pixels, but {known}"
        raise PictureError(said, "masks with a class that the task does not name")
    one.by_class.update({int(i): int(n) for i, n in enumerate(counted[: len(labels)]) if n})
    if counted[VOID]:
        one.by_class[-1] += int(counted[VOID])
    return encoded


@cache
def _void(size: Size) -> bytes:
    return png(np.full((size[1], size[0]), VOID, dtype=np.uint8))
