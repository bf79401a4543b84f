"""Teacher outputs: a teacher's logits over a split of its task, made once and shared by all that learn from it."""

from pathlib import Path
from typing import Any

import numpy as np

from redistill.data import examples
from redistill.models import predict
from redistill.models.load import load_run, prepare_torch


def make_outputs(config: dict[str, Any], inputs: dict[str, Path], work: Path) -> dict[str, Any]:
    """Write logits.npy, (n, C) float32 in the order of the split's file."""
    prepare_torch(config["runtime"])
    model = load_run(inputs["teacher"], config["runtime"])
    data = examples.load(config["task"], inputs, [config["split"]])
    np.save(work / "logits.npy", predict.logits_over(model, data, 64, config["runtime"]["device"]))
    return {"examples": len(data)}


def load_outputs(inputs: dict[str, Path], teacher: str, splits: list[str]) -> np.ndarray:
    """A teacher's stored logits (n, C) over the splits, one after the other."""
    return np.concatenate([np.load(inputs[f"outputs {teacher} {split}"] / "logits.npy") for split in splits])
