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
    "pearson": ("regression", pearson),
    "spearman": ("regression", spearman),
    "pearson_spearman": ("regression", pearson_spearman),
}
