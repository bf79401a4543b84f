"""The numbers in the tables, each a function of labels and predictions.

The names of the metrics are read whenever a study is checked, before a job pins its runtime: numpy and scipy must not
be imported with this module.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[float64]


def accuracy(labels: "Array", predictions: "Array") -> float:
    """Share of examples whose predicted class is the label. Both (n,)."""
    return float((labels == predictions).mean())


def matthews(labels: "Array", predictions: "Array") -> float:
    """Matthews' correlation of classes (Gorodkin 2004 for more than two); 0 when either side is constant. Both (n,)."""
    n = len(labels)
    true, guessed = ([int((side == c).sum()) for c in {*labels.tolist(), *predictions.tolist()}]
                     for side in (labels, predictions))  # fmt: skip
    together = int((labels == predictions).sum()) * n - sum(t * g for t, g in zip(true, guessed, strict=True))
    apart = (n**2 - sum(t**2 for t in true)) * (n**2 - sum(g**2 for g in guessed))
    return float(together / apart**0.5) if apart else 0.0


def f1(labels: "Array", predictions: "Array") -> float:
    """F1 of class 1; 0 where it is neither a label nor predicted. Both (n,)."""
    found, said = int(((labels == 1) & (predictions == 1)).sum()), int((labels == 1).sum() + (predictions == 1).sum())
    return 2 * found / said if said else 0.0


def accuracy_f1(labels: "Array", predictions: "Array") -> float:
    """Mean of accuracy and F1, as GLUE scores MRPC and QQP (Wang et al. 2019). Both (n,)."""
    return (accuracy(labels, predictions) + f1(labels, predictions)) / 2


def pearson(labels: "Array", predictions: "Array") -> float:
    """Pearson's correlation; 0 when either side is constant. Both (n,)."""
    from scipy.stats import pearsonr

    if _constant(labels) or _constant(predictions):
        return 0.0
    return float(pearsonr(labels, predictions).statistic)


def spearman(labels: "Array", predictions: "Array") -> float:
    """Spearman's rank correlation, ties by average rank; 0 when either side is constant. Both (n,)."""
    from scipy.stats import spearmanr

    if _constant(labels) or _constant(predictions):
        return 0.0
    return float(spearmanr(labels, predictions).statistic)


def pearson_spearman(labels: "Array", predictions: "Array") -> float:
    """Mean of Pearson's and Spearman's correlations, as GLUE reports STS-B (Wang et al. 2019). Both (n,)."""
    return (pearson(labels, predictions) + spearman(labels, predictions)) / 2


def _constant(values: "Array") -> bool:
    return bool((values == values[0]).all())


METRICS: dict[str, tuple[str, Callable[["Array", "Array"], float]]] = {
    "accuracy": ("classification", accuracy),
    "matthews": ("classification", matthews),
    "f1": ("classification", f1),
    "accuracy_f1": ("classification", accuracy_f1),
    "pearson": ("regression", pearson),
    "spearman": ("regression", spearman),
    "pearson_spearman": ("regression", pearson_spearman),
}

# Those that measure two classes only, of which the second is what is looked for.
BINARY = frozenset({"f1", "accuracy_f1"})
