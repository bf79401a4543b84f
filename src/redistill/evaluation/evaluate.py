"""Metrics of a cell's runs, from their stored predictions; many runs in one process, and no torch."""

import json
import math
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from redistill.errors import RedistillError
from redistill.evaluation.metrics import METRICS, decided
from redistill.provenance.store import pretty


def evaluate(config: dict[str, Any], inputs: dict[str, Path], work: Path) -> dict[str, Any]:
    """Write metrics.json: the runs of the cell by role (`seed 0`), and the metric of each on `dev`.

    With an input `dataset`, the others are what runs say of that data set's dev split. Where the cell chooses among
    trials, the runs of the `chosen` one are the cell's; with an input `choice`, they were run after it was made.
    """
    dataset = inputs.get("dataset")
    runs, said = {role: folder for role, folder in inputs.items() if role not in ("dataset", "choice")}, {}
    if "choice" in inputs:
        said = read_choice(inputs["choice"])
    elif "trials" in config:
        said = _best(config, inputs)
        runs = _runs_of(f"trial {config['trials'].index(said['chosen'])} ", inputs)
    written = {
        "metric": config["metric"],
        "runs": {role: folder.name for role, folder in runs.items()},
        "dev": {role: score(folder, config["metric"], "dev", dataset) for role, folder in runs.items()},
        **said,
    }
    if dataset is not None:
        written["dataset"] = dataset.name
    (work / "metrics.json").write_text(pretty(written), encoding="utf-8")
    return {"runs": len(runs)}


def choose(config: dict[str, Any], inputs: dict[str, Path], work: Path) -> dict[str, Any]:
    """Write choice.json: which of several trials has the best mean over the seeds on `select`; the first of equals."""
    (work / "choice.json").write_text(pretty(_best(config, inputs)), encoding="utf-8")
    return {"trials": len(config["trials"])}


def read_choice(folder: Path) -> dict[str, Any]:
    """What `choose` wrote: `select`, each trial's mean, and `chosen`, the name of the best."""
    choice: dict[str, Any] = json.loads((folder / "choice.json").read_text(encoding="utf-8"))
    return choice


def _best(config: dict[str, Any], inputs: dict[str, Path]) -> dict[str, Any]:
    names = config["trials"]
    trials = [_runs_of(f"trial {i} ", inputs) for i in range(len(names))]
    means = [fmean(score(run, config["metric"], "select")["value"] for run in t.values()) for t in trials]
    best = max(range(len(means)), key=lambda i: (means[i], -i))
    return {"chosen": names[best], "select": dict(zip(names, means, strict=True))}


def _runs_of(trial: str, inputs: dict[str, Path]) -> dict[str, Path]:
    return {role.removeprefix(trial): folder for role, folder in inputs.items() if role.startswith(trial)}


def score(run: Path, metric: str, split: str, dataset: Path | None = None) -> dict[str, float | int]:
    """A run's metric on a split, of its own task or of another data set, and on how many examples."""
    found = read_predictions(run, split, dataset)
    if not len(found):
        raise RedistillError(f"{run / 'predictions.parquet'}: holds no prediction on `{split}`")
    try:
        return {"value": measured(found, metric), "examples": len(found)}
    except ValueError as error:
        raise RedistillError(f"{run / 'predictions.parquet'}: {error}") from None


def measured(found: pa.Table, metric: str) -> float:
    """A metric of predictions, as `redistill.models.predict` lays them out.

    Raises:
        ValueError: a prediction is not finite.
    """
    kind, function = METRICS[metric]
    if kind == "segmentation":
        return function(counts_of(found).sum(0))
    if kind == "detection":
        return function(found.drop_columns(["id", "split"]).to_pylist())
    labels, predictions = labelled(found)
    if not np.all(np.isfinite(predictions)):
        raise ValueError("holds a prediction that is not finite")
    return function(labels, predictions)


def counts_of(found: pa.Table) -> np.ndarray:
    """Pixels (n, C, C) of each image by class and by what was said, of a segmentation."""
    counts: np.ndarray = np.array(found["counts"].to_pylist(), dtype=np.int64)
    classes = math.isqrt(counts.shape[1])
    return counts.reshape(-1, classes, classes)


def read_predictions(run: Path, split: str = "dev", dataset: Path | None = None) -> pa.Table:
    """What a run says of a split, in the order of the ids, as `redistill.models.predict` lays it out, without logits
    and masks; or, with a data set, from the logits over that split of it.
    """
    if dataset is not None and (run / "logits.npy").is_file():
        examples = pq.read_table(dataset / f"{split}.parquet", columns=["id", "label"])
        said = pa.array(decided(np.load(run / "logits.npy")))
        return examples.append_column("prediction", said).sort_by("id")
    file = pq.ParquetFile(run / "predictions.parquet")
    dense = "counts" in file.schema_arrow.names
    columns = [c for c in file.schema_arrow.names if c != "logits" and not (dense and c == "prediction")]
    table = file.read(columns=columns)
    return table.filter(pc.equal(table["split"], split)).sort_by("id")


def labelled(found: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions (n,) of a classification or a regression."""
    return found["label"].to_numpy(), found["prediction"].to_numpy()
