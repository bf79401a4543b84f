"""Teacher outputs: a teacher's logits over a split of its task, made once and shared by all that learn from it."""

from pathlib import Path
from typing import Any

import numpy as np

from redistill.data import examples
from redistill.models import predict
from redistill.models.load import load_run, mixed_precision, prepare_torch
from redistill.models.together import Part, meet


def make_outputs(config: dict[str, Any], inputs: dict[str, Path], work: Path, workers: int = 0) -> dict[str, Any]:
    """Write logits.npy, (n, C) float32 in the order of the split's file; computed in the study's precision. Of several
    views of each image, it is (views, n, C). Several devices compute a part each, to the same bytes.

    Args:
        workers: processes that decode and transform images ahead; none of it changes a number.
    """
    prepare_torch(config["runtime"], config["task"])
    part = meet(config["runtime"])
    model = load_run(inputs["teacher"], config["runtime"])
    data = examples.load(config["task"], inputs, [config["split"]], config["transforms"], workers)
    device, size = config["runtime"]["device"], config["batch_size"]
    with mixed_precision(config["runtime"]):
        if config["views"] is None:
            logits = predict.logits_over(model, data, size, device, part=part)
        else:
            views = [predict.logits_over(model, data, size, device, view, part) for view in range(config["views"])]
            logits = np.stack(views)
    if part.of == 1:
        np.save(work / "logits.npy", logits)
    else:
        _write_together(work / "logits.npy", logits, predict.rows_of(data, size, part), part)
    return {"examples": len(data)}


def _write_together(file: Path, logits: np.ndarray, rows: np.ndarray, part: Part) -> None:
    """Write the rows of every process' part into one file, whose bytes are those that `np.save` writes of all."""
    outputs = max(part.gathered(logits.shape[-1]))
    shape = (*logits.shape[:-1], outputs)
    if part.first:
        np.lib.format.open_memmap(file, "w+", np.float32, shape).flush()
    part.wait()
    if len(rows):
        whole = np.load(file, mmap_mode="r+")
        whole[..., rows, :] = logits[..., rows, :]
        whole.flush()
    part.wait()


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
