"""The numbers in the tables, each a function of labels and predictions.

scipy is imported where it is used: the names of the metrics are read whenever a study is checked.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def accuracy(labels: Array, predictions: Array) -> float:
    """Share of examples whose predicted class is the label. Both (n,)."""
    return float(np.mean(labels == predictions))


def pearson(labels: Array, predictions: Array) -> float:
    """Pearson's correlation; 0 when either side is constant. Both (n,)."""
    from scipy.stats import pearsonr

    if _constant(labels) or _constant(predictions):
        return 0.0
    return float(pearsonr(labels, predictions).statistic)


def spearman(labels: Array, predictions: Array) -> float:
    """Spearman's rank correlation, ties by average rank; 0 when either side is constant. Both (n,)."""
    from scipy.stats import spearmanr

    if _constant(labels) or _constant(predictions):
        return 0.0
    return float(spearmanr(labels, predictions).statistic)


def pearson_spearman(labels: Array, predictions: Array) -> float:
    """Mean of Pearson's and Spearman's correlations, as GLUE reports STS-B (Wang et al. 2019). Both (n,)."""
    return (pearson(labels, predictions) + spearman(labels, predictions)) / 2


def _constant(values: Array) -> bool:
    return bool(np.all(values == values[0]))


METRICS: dict[str, tuple[str, Callable[[Array, Array], float]]] = {
    "accuracy": ("classification", accuracy),
    "pearson": ("regression", pearson),
    "spearman": ("regression", spearman),
    "pearson_spearman": ("regression", pearson_spearman),
}
