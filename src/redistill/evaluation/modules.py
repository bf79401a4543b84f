"""The metrics as modules of `evaluate`, for whatever takes one: no network, and nothing in the user's cache.

>>> load("glue/mrpc").compute(predictions=[0, 1, 1], references=[0, 1, 0])
{'accuracy': 0.6666666666666666, 'f1': 0.6666666666666666}
"""

from typing import Any

import evaluate
import numpy as np
from datasets import Features, Value

from redistill.errors import RedistillError, nearest
from redistill.evaluation.metrics import METRICS

# A module's name -> what it is called in the result -> the metric. GLUE's are those of evaluate.load("glue", TASK).
_ACCURACY, _BOTH = {"accuracy": "accuracy"}, {"accuracy": "accuracy", "f1": "f1"}
_RESULTS: dict[str, dict[str, str]] = {
    **{name: {name: name} for name, (kind, _) in METRICS.items() if kind in ("classification", "regression")},
    "glue/cola": {"matthews_correlation": "matthews"},
    "glue/sst2": _ACCURACY,
    "glue/mrpc": _BOTH,
    "glue/stsb": {"pearson": "pearson", "spearmanr": "spearman"},
    "glue/qqp": _BOTH,
    "glue/mnli": _ACCURACY,
    "glue/mnli_matched": _ACCURACY,
    "glue/mnli_mismatched": _ACCURACY,
    "glue/qnli": _ACCURACY,
    "glue/rte": _ACCURACY,
    "glue/wnli": _ACCURACY,
}


def load(name: str) -> evaluate.Metric:
    """The module of a metric (`accuracy_f1`) or of a GLUE task (`glue/mrpc`); `evaluate.combine` takes several.

    Raises:
        RedistillError: there is none of this name; and when it computes, for no examples, for numbers that are not
            finite, and for classes that are not whole numbers.
    """
    if name not in _RESULTS:
        raise RedistillError(f"no metric is called `{name}`; {nearest(name, _RESULTS)}")
    return _Module(name)


class _Module(evaluate.Metric):
    """What is added stays in memory: evaluate's other way leaves files, and two modules may take the same one."""

    def __init__(self, name: str):
        self.results = _RESULTS[name]
        super().__init__(keep_in_memory=True, seed=0)
        self.info.module_name = name.replace("/", "_")  # evaluate.combine tells equal names of results apart by it

    def _build_data_dir(self) -> str:
        """None: the base class makes a folder in the user's cache even for what is kept in memory."""
        return ""

    def _info(self) -> evaluate.MetricInfo:
        """Classes are taken as floats too: as integers, 0.7 would be made a 0 and no one would know."""
        said = [f"`{name}`: {METRICS[metric][1].__doc__}" for name, metric in self.results.items()]
        return evaluate.MetricInfo(
            description="\n".join(said),
            citation="",
            inputs_description="\npredictions, references: as many numbers each, class indices or scores.",
            features=Features({"predictions": Value("float64"), "references": Value("float64")}),
        )

    def _finalize(self) -> None:
        if self.writer is None:
            raise RedistillError(f"{self.name}: there is nothing to compute it from; give predictions and references")
        super()._finalize()

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        # From lists: the base class' own way to arrays ends in single precision.
        said, labels = np.array(predictions, dtype=float), np.array(references, dtype=float)
        self._check("predictions", said)
        self._check("references", labels)
        return {name: METRICS[metric][1](labels, said) for name, metric in self.results.items()}

    def _check(self, said: str, values: np.ndarray) -> None:
        if not len(values):
            raise RedistillError(f"{self.name}: there is nothing to compute it from; the {said} are empty")
        if not np.isfinite(values).all():
            raise RedistillError(f"{self.name}: the {said} hold a number that is not finite")
        classes = all(METRICS[metric][0] == "classification" for metric in self.results.values())
        if classes and (values % 1).any():
            raise RedistillError(f"{self.name}: the {said} are no classes: {values[values % 1 > 0][0]} is not whole")
