"""Teacher outputs: a teacher's logits over splits of its task, made once and shared by all that learn from it."""

from pathlib import Path
from typing import Any

import numpy as np

from redistill.data import examples
from redistill.models import predict
from redistill.models.load import load_run


def make_outputs(config: dict[str, Any], inputs: dict[str, Path], work: Path) -> dict[str, Any]:
    """Write `<split>.logits.npy`, (n, C) float32 in the order of the split's file, for each split of the config."""
    model = load_run(inputs["teacher"], config["runtime"])
    sizes = {}
    for split in config["splits"]:
        data = examples.load(config["task"], inputs, [split])
        logits = predict.logits_over(model, data, 64, config["runtime"]["device"])
        np.save(work / f"{split}.logits.npy", logits)
        sizes[split] = len(data)
    return {"examples": sizes}


def load_outputs(folder: Path, splits: list[str]) -> list[np.ndarray]:
    """The stored logits of each split, memory-mapped."""
    return [np.load(folder / f"{split}.logits.npy", mmap_mode="r") for split in splits]
