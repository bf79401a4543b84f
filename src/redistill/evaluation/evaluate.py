"""Metrics of a cell's runs, from their stored predictions; many runs in one process, and no torch."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from redistill.errors import RedistillError
from redistill.evaluation.metrics import METRICS
from redistill.provenance.store import pretty


def evaluate(config: dict[str, Any], inputs: dict[str, Path], work: Path) -> dict[str, Any]:
    """Write metrics.json: the metric of each run on `dev`, by the run's role in the cell (`seed 0`)."""
    scores = {role: score(folder, config["metric"]) for role, folder in inputs.items()}
    (work / "metrics.json").write_text(pretty({"metric": config["metric"], "dev": scores}), encoding="utf-8")
    return {"runs": len(scores)}


def score(run: Path, metric: str) -> dict[str, float | int]:
    """A run's metric on dev, and on how many examples."""
    labels, predictions = read_predictions(run)
    _, function = METRICS[metric]
    if not np.all(np.isfinite(predictions)):
        raise RedistillError(f"{run / 'predictions.parquet'}: holds a prediction that is not finite")
    return {"value": function(labels, predictions), "examples": len(labels)}


def read_predictions(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions (n,) of a run on dev, in the order of the ids."""
    table = pq.read_table(run / "predictions.parquet", columns=["id", "label", "prediction"]).sort_by("id")
    return table["label"].to_numpy(), table["prediction"].to_numpy()
