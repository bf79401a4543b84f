"""Write a split's pictures as they are, one after the other, each checked on the way; and what is drawn on them.

A data set may be larger than memory: a few pictures are held at a time. Results do not depend on how many are read at
once.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from redistill.data.checked_picture import Taken, taken
from redistill.data.packed import Writer
from redistill.errors import RedistillError
from redistill.progress import track

Example = dict[str, Any]
Read = Callable[[Path], bytes]
AT_ONCE = 64  # pictures that are held
THREADS = 4
MOST_FAULTS = 10  # after which the rest is not looked at
NAMED = 3


def write_pictures(
    work: Path, split: str, examples: list[Example], config: dict[str, Any], labelled: bool, read: Read
) -> dict[str, Any]:
    """Write `<split>.images` (and `.masks`), their starts, and `<split>.parquet`; returns what was counted.

    The columns are id and label; and, of a detection, boxes (N, 4) as left, top, right, bottom in pixels, classes
    (N,) from 0, and crowd (N,). The labels of a segmentation are PNGs in `<split>.masks`; 255 is no class. Without
    `labelled`, there are no boxes, and masks have no class.

    Args:
        read: gives the content of a file of the source.

    Raises:
        RedistillError: pictures or what is drawn on them are faulty, and the task refuses that; names the first ones.
    """
    kind, faulty = config["type"], config.get("faulty", "refuse")
    rows: dict[str, list[Any]] = {name: [] for name in ("id", "label", "boxes", "classes", "crowd")}
    counts, faults = _Counts(config["labels"]), list[str]()
    with ExitStack() as stack:
        images = stack.enter_context(Writer(work, split, "images"))
        masks = stack.enter_context(Writer(work, split, "masks")) if kind == "segmentation" else None
        check = partial(taken, config=config, labelled=labelled, read=read)
        for one in track(_checked(examples, check), len(examples), f"{split}: pictures"):
            if one.faults and faulty == "refuse":
                faults += [f"`{split}`, `{one.id}`: {fault}" for fault in one.faults]
                if len(faults) >= MOST_FAULTS:
                    break
                continue
            counts.add(one)
            if one.image is None:
                continue
            images.add(one.image)
            if masks is not None:
                masks.add(one.mask or b"")
            for name in rows:
                rows[name].append(getattr(one, name))
    if faults:
        raise RedistillError(_said(faults, len(examples)))
    if not rows["id"]:
        raise RedistillError(f"`{split}`: not one of {len(examples)} images can be used: {counts.first_fault}")
    _write_rows(work / f"{split}.parquet", rows, kind)
    return counts.said(kind)


def _checked(examples: list[Example], check: Callable[[Example], Taken]) -> Iterator[Taken]:
    """Every example checked, in their order, some of them at once."""
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(examples), AT_ONCE):
            yield from list(pool.map(check, examples[start : start + AT_ONCE]))


def _said(faults: list[str], examples: int) -> str:
    more = len(faults) - NAMED
    whole = "at least " if len(faults) >= MOST_FAULTS else ""
    rest = f"; and {whole}{more} more" if more > 0 else ""
    advice = "mend the files, or set `faulty: leave_out` in the task, which leaves such out and counts them"
    return f"{'; '.join(faults[:NAMED])}{rest} (of {examples} images): {advice}"


def _write_rows(file: Path, rows: dict[str, list[Any]], kind: str) -> None:
    columns = {"id": pa.array(rows["id"], pa.string())}
    columns["label"] = pa.array(rows["label"], pa.int64() if kind == "classification" else pa.float64())
    if kind == "detection":
        columns["boxes"] = pa.array(rows["boxes"], pa.list_(pa.list_(pa.float32())))
        columns["classes"] = pa.array(rows["classes"], pa.list_(pa.int64()))
        columns["crowd"] = pa.array(rows["crowd"], pa.list_(pa.bool_()))
    pq.write_table(pa.table(columns), file)


class _Counts:
    """What is in a split: images, what is drawn on them by class, and what was left out."""

    def __init__(self, labels: list[str]):
        self.labels, self.first_fault = labels, ""
        self.images = self.empty = self.crowd = 0
        self.by_class, self.left_out = Counter[int](), Counter[str]()
        self.sides: tuple[list[int], list[int]] = ([], [])  # least and most of width and height

    def add(self, one: Taken) -> None:
        self.left_out.update(one.left_out)
        if one.faults and not self.first_fault:
            self.first_fault = f"`{one.id}`: {one.faults[0]}"
        if one.image is None:
            return
        self.images += 1
        self.by_class.update(one.by_class)
        self.empty += not any(label >= 0 for label in one.by_class)
        self.crowd += sum(one.crowd)
        least, most = self.sides if self.sides[0] else (list(one.size), list(one.size))
        self.sides = ([*map(min, least, one.size)], [*map(max, most, one.size)])

    def said(self, kind: str) -> dict[str, Any]:
        """What was counted, in words."""
        what = {"classification": "images of", "detection": "boxes of", "segmentation": "pixels of"}.get(kind)
        named = {self.labels[i]: n for i, n in sorted(self.by_class.items()) if 0 <= i < len(self.labels)}
        said: dict[str, Any] = {"images": self.images, "width": [side[0] for side in self.sides],
                                "height": [side[1] for side in self.sides]}  # fmt: skip
        if what and named:
            said[what] = named
        if kind == "detection":
            said |= {"boxes": self.by_class.total(), "crowds or difficult": self.crowd,
                     "images without a box": self.empty}  # fmt: skip
        if kind == "segmentation":
            said |= {"pixels without a class": self.by_class[-1], "images without a class": self.empty}
        return said | ({"left out": dict(sorted(self.left_out.items()))} if self.left_out else {})
