"""Make a task's data set: read the source once, split it once, without overlap, and write each split as parquet."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from redistill import registry
from redistill.data.listing import listed
from redistill.data.listing import read as plainly_read
from redistill.errors import RedistillError

Example = dict[str, Any]
UNLABELLED = ("transfer", "test")  # splits whose labels are taken away, if there are any
LEFT_OUT = "examples that were left out of splits"  # a reader's counts have them under this, by split
DRAWN = {"detection": "boxes", "segmentation": "mask"}  # what an example has in the place of a label
READERS = {"boxes": "`voc`, `coco`, `yolo`", "mask": "`voc`, `coco`, `camvid`"}


def prepare(config: dict[str, Any], inputs: dict[str, Path], work: Path) -> dict[str, Any]:
    """Write `<split>.parquet` and return what was counted on the way.

    The columns are id; text, and text_pair where the task has pairs, or image, its pixels (C, H, W) in a row as uint8
    or float32; and label. Where a reader gives images as files, these are kept as they are in `<split>.images`; see
    `redistill.data.prepare_images`. A pool takes the inputs of other tasks, without their labels, as its `transfer`
    split.

    Args:
        inputs: folders: `source`, the source's files; and `folder`, the user's own, where that is read in its place.

    Raises:
        RedistillError: the source has too few examples for the splits, other row counts than published, an example in
            two splits, a label that the task does not name, or an image of another shape.
    """
    if "pool" in config:
        return _pool(config, inputs, work)
    listing = listed(inputs)
    read = listing.read if listing else plainly_read
    found, counts = _found(config, inputs["source"] if listing is None else listing.folder)
    official = "official" in config["splits"]
    without = counts.get(LEFT_OUT, {})
    splits, sizes, left = _official(found, config, without) if official else _drawn(found, config)
    if config["input"] == "image":
        _apart(splits)
    said = {}
    for split, chosen in splits.items():
        (_check_drawn if config["type"] in DRAWN else _check)(chosen, split, config)
        labelled = split not in UNLABELLED
        if config["input"] == "image" and _is_file(chosen[0]):
            from redistill.data.prepare_images import write_pictures

            said[split] = write_pictures(work, split, chosen, config, labelled, read)
            sizes |= {split: said[split]["images"]}
        else:
            _write(work / f"{split}.parquet", chosen, config, labelled)
    shown = {"pictures": said} if said else {}
    return {"counts": dict(sorted(counts.items())), "splits": sizes, "not used": left, **shown}


def _found(config: dict[str, Any], folder: Path) -> tuple[list[Example] | dict[str, list[Example]], dict[str, Any]]:
    """What the reader finds in a folder, and what it counts. It is given the task's labels and type if it asks."""
    method, settings = config["reader"]["method"], config["reader"]["settings"]
    told = {"labels": config["labels"], "task_type": config["type"]}
    asked = registry.signature("reader", method).inputs[1:]
    if strange := [name for name in asked if name not in told]:
        raise RedistillError(f"reader `{method}` asks for `{strange[0]}`; it can ask for {' and '.join(told)}")
    found, counts = registry.get("reader", method)(folder, *(told[name] for name in asked), **settings)
    return found, counts


def _apart(splits: dict[str, list[Example]]) -> None:
    """Refuse an image that is in two splits, or twice in one: it would be trained on and reported on."""
    seen: dict[str, str] = {}
    for split, examples in splits.items():
        for example in examples:
            before = seen.get(example["id"])
            if before is not None:
                where = f"twice in `{split}`" if before == split else f"in `{before}` and in `{split}`"
                raise RedistillError(f"the image `{example['id']}` is {where}: take lists that have no image in common")
            seen[example["id"]] = split


Splits = tuple[dict[str, list[Example]], dict[str, int], int]  # examples, sizes, and how many examples are in none


def _drawn(found: list[Example] | dict[str, list[Example]], config: dict[str, Any]) -> Splits:
    if isinstance(found, dict) and config["input"] == "image":
        _apart(found)
    examples = [example for part in found.values() for example in part] if isinstance(found, dict) else found
    sizes = config["splits"]
    splits = draw(examples, sizes, config["split_seed"], config["type"] == "classification")
    return splits, sizes, len(examples) - sum(sizes.values())


def _official(
    found: list[Example] | dict[str, list[Example]], config: dict[str, Any], left_out: dict[str, int]
) -> Splits:
    """The source's own splits. Those that a reader has left out of one count among its published rows."""
    said, method = config["splits"], config["reader"]["method"]
    if not isinstance(found, dict):
        raise RedistillError(
            f"reader `{method}` knows no official splits: give the sizes of `train`, `select` and `dev`"
        )
    for name in said["official"].values():
        if name not in found:
            there = ", ".join(f"`{split}`" for split in found)
            raise RedistillError(f"reader `{method}` is given no split `{name}`, only {there}: name its file there")
        _count(name, len(found[name]) + left_out.get(name, 0), said["rows"][name], said["sample"])
    splits: dict[str, list[Example]] = {}
    for ours, theirs in said["official"].items():
        cut = said["select"] if ours == "train" else 0
        left = len(found[theirs]) - cut
        if left < 1:
            raise RedistillError(f"`select` asks for {cut} of {len(found[theirs])} examples of `train`")
        sizes = {ours: min(left, said["at_most"].get(ours, left))} | ({"select": cut} if cut else {})
        if sum(sizes.values()) == len(found[theirs]) and not cut:
            splits[ours] = found[theirs]
        else:
            splits |= draw(found[theirs], sizes, config["split_seed"], config["type"] == "classification")
    used = {split: len(examples) for split, examples in sorted(splits.items())}
    return splits, used, sum(map(len, found.values())) - sum(used.values())


def _count(name: str, rows: int, published: int, sample: bool) -> None:
    if rows == published or (sample and rows < published):
        return
    advice = (
        "take the whole file, or say `sample: true` in the task's `splits`" if rows < published else "take that file"
    )
    raise RedistillError(f"split `{name}` has {rows} rows, but {published} were published: {advice}")


def _check(examples: list[Example], split: str, config: dict[str, Any]) -> None:
    """Refuse labels that the task does not name, labels that are missing, and images of another shape."""
    classes = len(config["labels"]) if config["type"] == "classification" else None
    shape = tuple(config.get("image_shape") or ())
    for example in examples:
        where = f"`{split}`, example `{example['id']}`"
        label = example.get("label")
        if label is None and split not in UNLABELLED and config["type"] != "unlabelled":
            raise RedistillError(
                f"{where}: has no label, so it can only be in `transfer`: take another split for `{split}`"
            )
        if label is not None and classes is not None and label not in range(classes):
            raise RedistillError(f"{where}: its label is {label}, but the task names {classes} labels, counted from 0")
        if label is not None and not math.isfinite(label):
            raise RedistillError(f"{where}: its label is {label}, not a number: mend or remove that row")
        if shape and config["input"] == "image" and not _is_file(example) and not _fits(example["image"], shape):
            found = list(np.shape(example["image"]))
            raise RedistillError(
                f"{where}: its image has the shape {found}, but the task's `image_shape` is {list(shape)}"
            )


def _is_file(example: Example) -> bool:
    """Whether an image is an encoded file, or the place of one, rather than its pixels."""
    return isinstance(example["image"], bytes | Path)


def _check_drawn(examples: list[Example], split: str, config: dict[str, Any]) -> None:
    """Refuse examples without the boxes or masks that the task is about."""
    what = DRAWN[config["type"]]
    for example in examples:
        if split not in UNLABELLED and example.get(what) is None:
            raise RedistillError(
                f"`{split}`, example `{example['id']}`: reader `{config['reader']['method']}` gives no {what}, which a "
                f"{config['type']} is about: take a reader that does ({READERS[what]})"
            )
        if not _is_file(example):
            raise RedistillError(
                f"`{split}`, example `{example['id']}`: a {config['type']} is made of image files, not of pixels: take "
                f"a reader that gives them ({READERS[what]})"
            )


def _fits(image: Any, shape: tuple[int, ...]) -> bool:
    return np.shape(image) in (shape, (math.prod(shape),))


def draw(examples: list[Example], sizes: dict[str, int], seed: int, by_class: bool) -> dict[str, list[Example]]:
    """Draw disjoint splits of the given sizes.

    With `by_class`, each split has the classes' own proportions, as near as whole numbers allow: the examples are
    shuffled within their class, then laid out so that every stretch of them has those proportions.
    """
    wanted = sum(sizes.values())
    if wanted > len(examples):
        raise RedistillError(f"the splits ask for {wanted} examples, the source has {len(examples)}: make them smaller")
    generator = np.random.Generator(np.random.PCG64(seed))
    order = [examples[i] for i in generator.permutation(len(examples))]
    if by_class:
        order = _spread(order)
    splits, start = {}, 0
    for split, size in sorted(sizes.items()):  # as a job reads them, whoever calls
        if size:
            splits[split] = sorted(order[start : start + size], key=lambda example: str(example["id"]))
        start += size
    return splits


def _spread(examples: list[Example]) -> list[Example]:
    totals = Counter(example.get("label") for example in examples)
    rank: Counter[int | None] = Counter()
    places = []
    for example in examples:
        label = example.get("label")
        places.append(((rank[label] + 0.5) / totals[label], -1 if label is None else label))
        rank[label] += 1
    return [examples[i] for i in sorted(range(len(examples)), key=places.__getitem__)]


def _write(file: Path, examples: list[Example], config: dict[str, Any], labelled: bool) -> None:
    label_type = pa.int64() if config["type"] == "classification" else pa.float64()
    columns = {"id": pa.array([example["id"] for example in examples], pa.string())}
    if config["input"] == "image":
        columns["image"] = _pixels([example["image"] for example in examples])
    else:
        names = [name for name in ("text", "text_pair") if name in examples[0]]
        columns |= {name: pa.array([example[name] for example in examples], pa.string()) for name in names}
    columns["label"] = pa.array([example["label"] if labelled else None for example in examples], label_type)
    pq.write_table(pa.table(columns), file)


def _pixels(images: list[Any]) -> pa.Array:
    """A list of numbers an image: whole numbers in 0..255 as they are, all others as float32."""
    arrays = [np.ravel(image) for image in images]
    dtype = np.uint8 if arrays[0].dtype == np.uint8 else np.float32
    starts = np.cumsum([0, *map(len, arrays)], dtype=np.int32)
    return pa.ListArray.from_arrays(starts, np.concatenate(arrays).astype(dtype))


def _pool(config: dict[str, Any], inputs: dict[str, Path], work: Path) -> dict[str, Any]:
    pooled, counts = [], {}
    for task, folder in sorted(inputs.items()):
        for split in config["pool"]:
            file = folder / f"{split}.parquet"
            if file.is_file():
                table = pq.read_table(file).drop_columns("label")
                counts[f"{task} {split}"] = table.num_rows
                pooled.append(table)
    if not pooled:
        raise RedistillError(f"none of the pooled tasks has one of the splits {', '.join(config['pool'])}")
    table = pa.concat_tables(pooled, promote_options="default")  # a text without a pair has none
    table = table.append_column("label", pa.nulls(table.num_rows, pa.float64()))
    pq.write_table(table, work / "transfer.parquet")
    return {"counts": counts, "splits": {"transfer": table.num_rows}}
