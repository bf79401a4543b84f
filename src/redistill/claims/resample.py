"""How far the choice of examples moves a cell's mean: the bootstrap over examples, its runs as they are."""

import json
from pathlib import Path

import numpy as np

from redistill.evaluation.evaluate import read_predictions
from redistill.provenance import store
from redistill.tables.statistics import BATCH_METRICS

DRAWS = 1000
_CHUNK = 2**18  # numbers gathered at once


def variance_of_cell(cell: Path, metric: str) -> float | None:
    """Variance, in squared points, of the mean of a metric over a cell's runs; None if a run is not in the store."""
    metrics = json.loads((cell / "metrics.json").read_text(encoding="utf-8"))
    area, dataset = cell.parents[1], metrics.get("dataset")
    try:
        of = store.find(area, dataset) if dataset is not None else None
        read = [read_predictions(store.find(area, key), "dev", of) for key in metrics["runs"].values()]
    except (StopIteration, FileNotFoundError):
        return None
    return variance(np.stack([predictions for _, predictions in read]), read[0][0], metric)


def variance(predictions: np.ndarray, labels: np.ndarray, metric: str, draws: int = DRAWS) -> float:
    """Of predictions (S, n) and labels (n,)."""
    generator, n = np.random.default_rng(0), labels.size
    means = list[float]()
    step = max(1, _CHUNK // n)
    for start in range(0, draws, step):
        picked = generator.integers(0, n, size=(min(step, draws - start), n))
        scores = [BATCH_METRICS[metric](run[picked], labels[picked]) for run in predictions]
        means += np.mean(scores, axis=0).tolist()
    return float(np.var(np.array(means) * 100, ddof=1))
