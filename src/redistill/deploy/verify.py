"""Is an exported model the run? What it says of every example of `dev` beside what is on file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from redistill.card import metrics_for
from redistill.errors import RedistillError
from redistill.evaluation.evaluate import measured
from redistill.lineage import Finished

if TYPE_CHECKING:
    from numpy import ndarray
    from pyarrow import Table

    from redistill.data.examples import Examples

# Of one more than the logit: kernels differ, in float32; GPUs round what goes into a convolution.
NEAR = {"cpu": 1e-3, "cuda": 2e-2}
LOST = 0.05  # of the metric, that eight bits may cost; 5 points where a table shows it times 100
ALIKE = 0.98  # pixels that are the same: near a border the last digit decides
SPLIT = "dev"


def on_dev(run: Finished, dataset: Path, tokenizer: Path, work: Path) -> "Examples":
    """The examples of `dev`; texts are tokenised by the exported folder's tokenizer.

    Args:
        dataset: the folder of the run's examples.
        work: scratch, for as long as the examples are used.
    """
    from redistill.data import examples

    if not run.is_text:
        return examples.load(run.task, {"dataset": dataset}, [SPLIT], run.config["evaluation"]["transforms"])
    from redistill.data.tokenise import tokenise

    (work / f"{SPLIT}.parquet").symlink_to((dataset / f"{SPLIT}.parquet").resolve())
    tokenise({"max_length": run.max_length}, {"dataset": work, "tokenizer": tokenizer}, work)
    return examples.load(run.task, {"dataset": work, "tokens": work}, [SPLIT])


def compare(run: Finished, form: str, file: Path, data: "Examples") -> dict[str, Any]:
    """What an ONNX file says beside what the run's predictions have on file.

    Returns:
        `examples`; `agree`, the share whose class, or pixels whose class, is the same, None of scores; `metrics` by
        name, each as `run` and `export`; `largest_difference` of logits, None of masks.

    Raises:
        RedistillError: in float32 it says something else than the run; in int8 the first metric is too much worse.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from redistill.deploy.session import model_of
    from redistill.models.predict import predictions

    model = model_of(file, run.is_text, run.config["runtime"]["threads"])
    size = 64 if run.is_text else min(64, run.config["evaluation"]["batch_size"])
    try:
        found = predictions(model, data, run.task, size, "cpu").sort_by("id")
    except Exception as error:  # ONNX Runtime's classes have no base of their own
        if isinstance(error, RedistillError):
            raise
        first = (str(error).splitlines() or [""])[0][:300]
        raise RedistillError(f"{run.title}: ONNX Runtime cannot compute it: {first}; nothing was exported") from None
    table = pq.read_table(run.folder / "predictions.parquet")
    table = table.filter(pc.equal(table["split"], SPLIT)).sort_by("id")
    if table["id"] != found["id"]:
        raise RedistillError(f"{run.title}: its predictions are of other examples than its dataset's `{SPLIT}`")
    scores = _scores(run, found, table)
    if form == "int8":
        _refuse_lost(run, scores)
    else:
        _refuse_other(run, found, table, scores)
    return scores


def _scores(run: Finished, found: "Table", on_file: "Table") -> dict[str, Any]:
    kind = run.task["type"]
    scores: dict[str, Any] = {"split": SPLIT, "examples": len(found), "agree": None, "largest_difference": None}
    if kind == "segmentation":
        scores["agree"] = _pixels(found, on_file)
    else:
        scores["largest_difference"] = float(abs(_logits(found) - _logits(on_file)).max())
        if kind == "classification":
            scores["agree"] = float((found["prediction"].to_numpy() == on_file["prediction"].to_numpy()).mean())
    try:
        scores["metrics"] = {
            name: {"run": measured(on_file, name), "export": measured(found, name)} for name in metrics_for(run.task)
        }
    except ValueError as error:
        raise RedistillError(f"{run.title}: what the export says {error}; nothing was exported") from None
    return scores


def _logits(table: "Table") -> "ndarray":
    import numpy as np

    logits: np.ndarray = np.array(table["logits"].to_pylist(), dtype=np.float64)
    return logits


def _pixels(found: "Table", on_file: "Table") -> float:
    import numpy as np

    from redistill.data.masks import read

    masks = zip(found["prediction"].to_pylist(), on_file["prediction"].to_pylist(), strict=True)
    return float(np.mean([(read(one) == read(other)).mean() for one, other in masks]))


def _refuse_lost(run: Finished, scores: dict[str, Any]) -> None:
    name, both = next(iter(scores["metrics"].items()))
    lost = both["run"] - both["export"]
    if not lost <= LOST:
        raise RedistillError(
            f"{run.title}: in int8 its {name} on `{SPLIT}` is {both['export']:.4f}, and was {both['run']:.4f}: more "
            f"than {LOST} is lost, so nothing was exported. `--to onnx` keeps float32"
        )


def _refuse_other(run: Finished, found: "Table", on_file: "Table", scores: dict[str, Any]) -> None:
    if run.task["type"] == "segmentation":
        if scores["agree"] < ALIKE:
            raise RedistillError(
                f"{run.title}: the ONNX file gives {100 * scores['agree']:.1f} % of the pixels of `{SPLIT}` the class "
                "that is on file; nothing was exported. Was it trained with other versions of the packages?"
            )
        return
    refuse_other_logits(run, found["id"].to_pylist(), _logits(found), _logits(on_file), "the ONNX file")


def refuse_other_logits(run: Finished, ids: list[str], found: "ndarray", on_file: "ndarray", what: str) -> None:
    """Refuse `what`, which says other logits (N, C) than those on file.

    Raises:
        RedistillError: shapes differ, or an example's logits are not near; the first such one is named.
    """
    if found.shape != on_file.shape:
        raise RedistillError(f"{run.title}: logits are {found.shape}, on file {on_file.shape}; nothing was exported")
    near = NEAR[run.config["runtime"]["device"]]
    wrong = ~(abs(found - on_file) <= near * (1 + abs(on_file)))  # so that what is not a number is wrong
    if wrong.any():
        first = int(wrong.any(axis=1).argmax())
        raise RedistillError(
            f"{run.title}: for {ids[first]} of `{SPLIT}` {what} says {found[first].tolist()}, and on file is "
            f"{on_file[first].tolist()}; nothing was exported. Was it trained with other versions of the packages?"
        )


def in_words(scores: dict[str, Any]) -> str:
    """The scores in a line."""
    parts = [f"{name} {both['run']:.4f}, exported {both['export']:.4f}" for name, both in scores["metrics"].items()]
    if scores["agree"] is not None:
        parts.append(f"{100 * scores['agree']:.2f} % of predictions agree")
    if scores["largest_difference"] is not None:
        parts.append(f"largest difference of logits {scores['largest_difference']:.2g}")
    return f"on {scores['examples']} examples of {scores['split']}: {'; '.join(parts)}"
