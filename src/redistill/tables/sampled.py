"""A run's metric on drawn examples, many draws at once, from what the run said: what the bootstrap is made of."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from redistill.errors import RedistillError
from redistill.evaluation.evaluate import counts_of, labelled, read_predictions
from redistill.evaluation.metrics import METRICS
from redistill.provenance import store
from redistill.tables import average_precision
from redistill.tables.average_precision import times_drawn
from redistill.tables.statistics import BATCH_METRICS, Array, Sampled

DRAWS = 10_000
DRAWS_OF_BOXES = 1_000  # whose metrics take a thousand times as long


def draws_of(metric: str) -> int:
    """How many samples the bootstrap of a metric draws."""
    return DRAWS_OF_BOXES if METRICS[metric][0] == "detection" else DRAWS


def of_runs(place: Path, keys: Sequence[str], metric: str, dataset: str | None = None) -> tuple[list[Sampled], int]:
    """A metric on `dev` of each run in the store at a place, and on how many examples; of another data set if one is
    given.

    Raises:
        RedistillError: a prediction is not finite, or the runs are not of the same examples.
        StopIteration: a run is not in the store.
    """
    of = store.find(place, dataset) if dataset is not None else None
    folders = [store.find(place, key) for key in keys]
    read = [read_predictions(folder, "dev", of) for folder in folders]
    for folder, found in zip(folders, read, strict=True):
        if found["id"] != read[0]["id"]:
            raise RedistillError(f"{folder / 'predictions.parquet'}: is of other examples than {folders[0].name}")
    try:
        if metric == "accuracy":
            return accuracies([_right(found) for found in read]), len(read[0])
        return [sampled(found, metric) for found in read], len(read[0])
    except ValueError as error:
        raise RedistillError(f"{', '.join(keys)}: {error}") from None


def sampled(found: pa.Table, metric: str) -> Sampled:
    """A metric of predictions on samples of them, drawn by their places (D, n).

    Raises:
        ValueError: a prediction is not finite.
    """
    kind = METRICS[metric][0]
    if kind == "segmentation":
        return OF_PIXELS[metric](counts_of(found))
    if kind == "detection":
        return average_precision.METRICS[metric](found.drop_columns(["id", "split"]).to_pylist())
    labels, predictions = _finite(found)
    function = BATCH_METRICS[metric]
    return lambda picked: function(predictions[picked], labels[picked])


def _finite(found: pa.Table) -> tuple[Array, Array]:
    labels, predictions = labelled(found)
    if not np.isfinite(predictions).all():
        raise ValueError("holds a prediction that is not finite")
    return labels, predictions


def _right(found: pa.Table) -> Array:
    """Whether each prediction (n,) is the label."""
    labels, predictions = _finite(found)
    return np.asarray(predictions == labels)


def accuracies(right: Sequence[Array]) -> list[Sampled]:
    """The accuracy of runs of the same examples, of whether each prediction (n,) is right; by one product for all of
    them. Its sums are of whole numbers, so they are what counting gives, to the last bit.
    """
    together = np.stack(right, axis=1).astype(np.float64)
    last: list[Array] = []  # what was drawn last, and the accuracy of every run on it

    def of(run: int) -> Sampled:
        def share(picked: Array) -> Array:
            if not last or last[0] is not picked:
                last[:] = [picked, times_drawn(picked) @ together / picked.shape[1]]
            return np.asarray(last[1][:, run])

        return share

    return [of(run) for run in range(len(right))]


def mean_iou(counts: Array) -> Sampled:
    """Mean intersection over union, of pixels (n, C, C) by class and by what was said; see the metric."""
    hit = counts.diagonal(axis1=1, axis2=2)
    union = counts.sum(1) + counts.sum(2) - hit
    together = np.concatenate([hit, union], axis=1).astype(np.float64)

    def of(picked: Array) -> Array:
        hits, unions = np.split(times_drawn(picked) @ together, 2, axis=1)
        shares = np.divide(hits, unions, out=np.zeros_like(hits), where=unions > 0)
        there = np.count_nonzero(unions, axis=1)
        return shares.sum(axis=1) / np.maximum(there, 1)

    return of


def pixel_accuracy(counts: Array) -> Sampled:
    """Share of pixels whose class was said, of pixels (n, C, C) by class and by what was said."""
    together = np.stack([counts.trace(axis1=1, axis2=2), counts.sum((1, 2))], axis=1).astype(np.float64)

    def of(picked: Array) -> Array:
        hit, there = (times_drawn(picked) @ together).T
        return np.divide(hit, there, out=np.zeros_like(hit), where=there > 0)

    return of


OF_PIXELS: dict[str, Callable[[Array], Sampled]] = {"mean_iou": mean_iou, "pixel_accuracy": pixel_accuracy}
