"""Submissions to GLUE's server: predictions of one row on every test set, as one zip; and the server's scores back."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from redistill.errors import RedistillError
from redistill.evaluation import submission
from redistill.evaluation.metrics import decided


def submit(config: dict[str, Any], inputs: dict[str, Path], work: Path) -> dict[str, Any]:
    """Write submission.zip from the logits over each test set.

    Args:
        inputs: by file, such as `CoLA`, what a run says of the test set; and by `CoLA examples`, the test set itself.

    Raises:
        RedistillError: the submission is not complete; says what is missing.
    """
    predictions = {}
    for name, said in config["files"].items():
        logits, examples = np.load(inputs[name] / "logits.npy"), inputs[f"{name} examples"] / "test.parquet"
        _check_order(pq.read_table(examples, columns=["id"])["id"].to_pylist(), name)
        predictions[name] = submission.Predictions(decided(logits), tuple(said["labels"]))
    submission.write(predictions, work / "submission.zip")
    return {name: len(found.values) for name, found in predictions.items()}


def _check_order(ids: list[str], name: str) -> None:
    """The server goes by the place of a line; ours must be the official file's."""
    if [int(each.rpartition("-")[2]) for each in ids] != list(range(len(ids))):
        raise RedistillError(f"{name}: its test examples are not in the order of the official file: prepare them again")


def record(file: Path, scores: Path, key: str) -> dict[str, Any]:
    """Keep what the server said of the submission with this key; returns it.

    Raises:
        RedistillError: the scores are not whole, or no scores at all.
    """
    from redistill.provenance.store import pretty, write_atomically

    read = submission.read_scores(scores)
    write_atomically(file, pretty({"submission": key, "scores": read}))
    return json.loads(file.read_text(encoding="utf-8"))["scores"]  # type: ignore[no-any-return]
