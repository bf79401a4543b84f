"""What runs said of `dev`: which classes they took for which, and how sure they were."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from redistill.evaluation.evaluate import counts_of
from redistill.provenance.published import Thing
from redistill.report.reading import Content, Study

Array = NDArray[Any]
BINS = 10
MOST_CLASSES = 20  # of a matrix; of more, those that are confused most
POINTS = 300  # of a picture of scores against labels


@dataclass(frozen=True)
class Said:
    """What a run said of `dev`, in the order of the ids: labels and predictions (n,), logits (n, C) where they are
    kept; of a segmentation, pixels (C, C) by class and by what was said.
    """

    ids: list[str]
    labels: Array
    predictions: Array
    logits: Array | None
    pixels: Array | None = None


def said(study: Study, run: Thing, dataset: Thing | None) -> Said | None:
    """What a run said of a data set's `dev`; None where that is not here, or is boxes.

    Raises:
        IntegrityError: a file is not what was published.
    """
    if (file := study.file(run, "predictions.parquet")) is not None:
        names = pq.read_schema(file).names
        if "counts" in names:
            table = pq.read_table(file, columns=["id", "split", "counts"])
            table = table.filter(pc.equal(table["split"], "dev")).sort_by("id")
            none = np.zeros(0)
            return Said(table["id"].to_pylist(), none, none, None, counts_of(table).sum(axis=0))
        if "label" not in names:
            return None
        kept = [name for name in ("id", "split", "label", "prediction", "logits") if name in names]
        table = pq.read_table(file, columns=kept)
        return _said(table.filter(pc.equal(table["split"], "dev")).sort_by("id"))
    logits = study.file(run, "logits.npy")
    examples = study.file(dataset, "dev.parquet") if dataset is not None else None
    if logits is None or examples is None or run.parts["config"].get("split", "dev") != "dev":
        return None
    table, values = pq.read_table(examples, columns=["id", "label"]), np.load(logits)
    if len(table) != len(values):
        return None
    chosen = values[:, 0] if values.shape[1] == 1 else values.argmax(axis=1)
    table = table.append_column("prediction", pa.array(chosen))
    return _said(table.append_column("logits", pa.array(values.tolist())).sort_by("id"))


def _said(table: pa.Table) -> Said:
    logits = None
    if "logits" in table.column_names and table["logits"].null_count == 0 and len(table):
        logits = np.array(table["logits"].to_pylist(), dtype=np.float64)
    return Said(table["id"].to_pylist(), table["label"].to_numpy(), table["prediction"].to_numpy(), logits)


def confusion(found: list[Said], labels: list[str]) -> Content | None:
    """How often each class was taken for each, over all runs; of many classes, the pairs that were confused most."""
    classes = len(labels)
    if not found or not classes:
        return None
    counts = np.zeros((classes, classes), dtype=np.int64)
    for one in found:
        if one.pixels is not None:
            if one.pixels.shape != counts.shape:
                return None
            counts += one.pixels
        else:
            inside = (one.labels >= 0) & (one.labels < classes) & (one.predictions >= 0) & (one.predictions < classes)
            np.add.at(counts, (one.labels[inside].astype(int), one.predictions[inside].astype(int)), 1)
    what = "pixels" if found[0].pixels is not None else "examples"
    if classes <= MOST_CLASSES:
        return {"labels": labels, "counts": counts.tolist(), "runs": len(found), "what": what}
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    most = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CLASSES]
    pairs = [[labels[i // classes], labels[i % classes], int(wrong.flat[i])] for i in most if wrong.flat[i]]
    return {"labels": [], "pairs": pairs, "classes": classes, "runs": len(found), "what": what}


def calibration(found: list[Said]) -> Content | None:
    """How often runs were right when they were so sure (softmax of the logits), in ten bins, and the expected
    calibration error, weighted by examples (Guo et al. 2017, equation 5); None of scores.
    """
    kept = [one for one in found if one.logits is not None and one.logits.ndim == 2 and one.logits.shape[1] > 1]
    if not kept:
        return None
    sure = np.concatenate([_softmax(one.logits).max(axis=1) for one in kept if one.logits is not None])
    right = np.concatenate([one.predictions == one.labels for one in kept])
    place = np.clip((sure * BINS).astype(int), 0, BINS - 1)
    bins, error = [], 0.0
    for i in range(BINS):
        inside = place == i
        if inside.any():
            confidence, share = float(sure[inside].mean()), float(right[inside].mean())
            bins.append([round(confidence, 4), round(share, 4), int(inside.sum())])
            error += abs(confidence - share) * inside.sum() / len(sure)
    return {"bins": bins, "error": round(error, 4), "runs": len(kept), "examples": len(kept[0].ids)}


def scatter(found: list[Said]) -> Content | None:
    """Label and predicted score of some examples, of the first run."""
    if not found or found[0].pixels is not None or not len(found[0].labels):
        return None
    some = np.unique(np.linspace(0, len(found[0].labels) - 1, POINTS).astype(int))
    points = [[float(f"{float(found[0].labels[i]):.4g}"), float(f"{float(found[0].predictions[i]):.4g}")] for i in some]
    return {"points": points, "of": len(found[0].labels)}


def _softmax(logits: Array) -> Array:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Array = raised / raised.sum(axis=1, keepdims=True)
    return shares
