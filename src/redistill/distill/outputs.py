"""Teacher outputs: a teacher's logits over a split of its task, made once and shared by all that learn from it."""

from pathlib import Path
from typing import Any

import numpy as np

from redistill.data import examples
from redistill.models import predict
from redistill.models.load import load_run, mixed_precision, prepare_torch


def make_outputs(config: dict[str, Any], inputs: dict[str, Path], work: Path) -> dict[str, Any]:
    """Write logits.npy, (n, C) float32 in the order of the split's file; computed in the study's precision."""
    prepare_torch(config["runtime"], config["task"])
    model = load_run(inputs["teacher"], config["runtime"])
    data = examples.load(config["task"], inputs, [config["split"]])
    with mixed_precision(config["runtime"]):
        logits = predict.logits_over(model, data, 64, config["runtime"]["device"])
    np.save(work / "logits.npy", logits)
    return {"examples": len(data)}


class Stored:
    """A teacher's stored logits over splits, one after the other; read from the disk as they are asked for."""

    def __init__(self, inputs: dict[str, Path], teacher: str, splits: list[str]):
        files = [inputs[f"outputs {teacher} {split}"] / "logits.npy" for split in splits]
        self.parts = [np.load(file, mmap_mode="r") for file in files]
        self.starts = np.cumsum([0, *map(len, self.parts)])

    def of(self, indices: np.ndarray) -> np.ndarray:
        """Logits (B, C) of these examples."""
        found = np.empty((len(indices), self.parts[0].shape[1]), dtype=self.parts[0].dtype)
        for part, begin, end in zip(self.parts, self.starts, self.starts[1:], strict=False):
            here = (indices >= begin) & (indices < end)
            found[here] = part[indices[here] - begin]
        return found
