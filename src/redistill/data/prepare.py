"""Make a task's data set: read the source once, split it once, without overlap, and write each split as parquet."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from redistill import registry
from redistill.errors import RedistillError

Example = dict[str, Any]


def prepare(config: dict[str, Any], inputs: dict[str, Path], work: Path) -> dict[str, Any]:
    """Write `<split>.parquet` (id, text or image, label) and return what was counted on the way.

    A pool takes the inputs of other tasks, without their labels, as its `transfer` split.

    Raises:
        RedistillError: the source has too few examples for the splits.
    """
    if "pool" in config:
        return _pool(config, inputs, work)
    read = registry.get("reader", config["reader"])
    examples, counts = read(inputs["source"], **config["options"])
    sizes = config["splits"]
    by_class = config["type"] == "classification"
    for split, chosen in draw(examples, sizes, config["split_seed"], by_class).items():
        _write(work / f"{split}.parquet", chosen, config, labelled=split != "transfer")
    left = len(examples) - sum(sizes.values())
    return {"counts": dict(sorted(counts.items())), "splits": sizes, "not used": left}


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
    totals = Counter(example["label"] for example in examples)
    rank: Counter[int] = Counter()
    places = []
    for example in examples:
        label = example["label"]
        places.append(((rank[label] + 0.5) / totals[label], label))
        rank[label] += 1
    return [examples[i] for i in sorted(range(len(examples)), key=places.__getitem__)]


def _write(file: Path, examples: list[Example], config: dict[str, Any], labelled: bool) -> None:
    label_type = pa.int64() if config["type"] == "classification" else pa.float64()
    column = {"text": pa.string(), "image": pa.list_(pa.float32())}[config["input"]]
    labels = [example["label"] if labelled else None for example in examples]
    table = pa.table(
        {
            "id": pa.array([example["id"] for example in examples], pa.string()),
            config["input"]: pa.array([example[config["input"]] for example in examples], column),
            "label": pa.array(labels, label_type),
        }
    )
    pq.write_table(table, file)


def _pool(config: dict[str, Any], inputs: dict[str, Path], work: Path) -> dict[str, Any]:
    pooled, counts = [], {}
    for task, folder in sorted(inputs.items()):
        for split in config["pool"]:
            file = folder / f"{split}.parquet"
            if file.is_file():
                table = pq.read_table(file, columns=["id", config["input"]])
                counts[f"{task} {split}"] = table.num_rows
                pooled.append(table)
    if not pooled:
        raise RedistillError(f"none of the pooled tasks has one of the splits {', '.join(config['pool'])}")
    table = pa.concat_tables(pooled)
    table = table.append_column("label", pa.nulls(table.num_rows, pa.float64()))
    pq.write_table(table, work / "transfer.parquet")
    return {"counts": counts, "splits": {"transfer": table.num_rows}}
