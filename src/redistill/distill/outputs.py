"""Teacher outputs: a teacher's logits over a split of its task, made once and shared by all that learn from it."""

from pathlib import Path
from typing import Any

import numpy as np

from redistill.data import examples
from redistill.models import predict
from redistill.models.load import load_run, mixed_precision, prepare_torch


def make_outputs(config: dict[str, Any], inputs: dict[str, Path], work: Path, workers: int = 0) -> dict[str, Any]:
    """Write logits.npy, (n, C) float32 in the order of the split's file; computed in the study's precision. Of several
    views of each image, it is (views, n, C).

    Args:
        workers: processes that decode and transform images ahead; none of it changes a number.
    """
    prepare_torch(config["runtime"], config["task"])
    model = load_run(inputs["teacher"], config["runtime"])
    data = examples.load(config["task"], inputs, [config["split"]], config["transforms"], workers)
    device, size = config["runtime"]["device"], config["batch_size"]
    with mixed_precision(config["runtime"]):
        if config["views"] is None:
            logits = predict.logits_over(model, data, size, device)
        else:
            views = [predict.logits_over(model, data, size, device, view) for view in range(config["views"])]
            logits = np.stack(views)
    np.save(work / "logits.npy", logits)
    return {"examples": len(data)}


class Stored:
    """A teacher's stored logits over splits, one after the other; read from the disk as they are asked for."""

    def __init__(self, inputs: dict[str, Path], teacher: str, splits: list[str]):
        files = [inputs[f"outputs {teacher} {split}"] / "logits.npy" for split in splits]
        parts = [np.load(file, mmap_mode="r") for file in files]
        self.parts = [part if part.ndim == 3 else part[None] for part in parts]  # (views, n, C)
        self.starts = np.cumsum([0, *(part.shape[1] for part in self.parts)])

    def of(self, indices: np.ndarray, view: int = 0) -> np.ndarray:
        """Logits (B, C) of these examples, in this view, counted round and round."""
        views, _, outputs = self.parts[0].shape
        found = np.empty((len(indices), outputs), dtype=self.parts[0].dtype)
        for part, begin, end in zip(self.parts, self.starts, self.starts[1:], strict=False):
            here = (indices >= begin) & (indices < end)
            found[here] = part[view % views][indices[here] - begin]
        return found
