"""How far the choice of examples moves a cell's mean: the bootstrap over examples, its runs as they are."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from redistill.tables.sampled import of_runs
from redistill.tables.statistics import Sampled

DRAWS = 1000
_CHUNK = 2**18  # numbers gathered at once


def variance_of_cell(cell: Path, metric: str) -> float | None:
    """Variance, in squared points, of the mean of a metric over a cell's runs; None if a run is not in the store."""
    metrics = json.loads((cell / "metrics.json").read_text(encoding="utf-8"))
    try:
        runs, n = of_runs(cell.parents[1], list(metrics["runs"].values()), metric, metrics.get("dataset"))
    except (StopIteration, FileNotFoundError):
        return None
    return variance(runs, n)


def variance(runs: Sequence[Sampled], n: int, draws: int = DRAWS) -> float:
    """Of a metric of each run on `n` examples, in squared points."""
    generator = np.random.default_rng(0)
    means = list[float]()
    step = max(1, _CHUNK // n)
    for start in range(0, draws, step):
        picked = generator.integers(0, n, size=(min(step, draws - start), n))
        means += np.mean([run(picked) for run in runs], axis=0).tolist()
    return float(np.var(np.array(means) * 100, ddof=1))
