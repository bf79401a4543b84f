"""The numbers in the tables, each a function of labels and predictions, by scikit-learn, scipy and pycocotools.

The bootstrap has them a second time, many samples at once, in `redistill.tables.statistics`; neither rests on the
other. The names of the metrics are read whenever a study is checked, before a job pins its runtime: numpy, scipy and
scikit-learn must not be imported with this module.
"""

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[float64]


def decided(logits: "Array") -> "Array":
    """Predictions (n,) from logits (n, C): the score where there is one column, else the class of the largest."""
    return logits[:, 0] if logits.shape[1] == 1 else logits.argmax(1)


def accuracy(labels: "Array", predictions: "Array") -> float:
    """Share of examples whose predicted class is the label. Both (n,)."""
    from sklearn.metrics import accuracy_score

    return float(_quietly(accuracy_score, labels, predictions))


def matthews(labels: "Array", predictions: "Array") -> float:
    """Matthews' correlation of classes (Gorodkin 2004 for more than two); 0 when either side is constant. Both (n,)."""
    from sklearn.metrics import matthews_corrcoef

    if _constant(labels) or _constant(predictions):
        return 0.0
    return float(_quietly(matthews_corrcoef, labels, predictions))


def f1(labels: "Array", predictions: "Array") -> float:
    """F1 of class 1; 0 where it is neither a label nor predicted. Both (n,)."""
    from sklearn.metrics import f1_score

    # Asked for by its number: what is binary to scikit-learn depends on which classes happen to be there.
    return float(_quietly(f1_score, labels, predictions, labels=[1], average=None, zero_division=0.0)[0])


def accuracy_f1(labels: "Array", predictions: "Array") -> float:
    """Mean of accuracy and F1, as GLUE scores MRPC and QQP (Wang et al. 2019). Both (n,)."""
    return (accuracy(labels, predictions) + f1(labels, predictions)) / 2


def pearson(labels: "Array", predictions: "Array") -> float:
    """Pearson's correlation; 0 when either side is constant. Both (n,)."""
    from scipy.stats import pearsonr

    if _constant(labels) or _constant(predictions):
        return 0.0
    # Scores are stored in single precision; scipy would add them up in it.
    return float(_quietly(pearsonr, labels.astype(float), predictions.astype(float)).statistic)


def spearman(labels: "Array", predictions: "Array") -> float:
    """Spearman's rank correlation, ties by average rank; 0 when either side is constant. Both (n,)."""
    from scipy.stats import spearmanr

    if _constant(labels) or _constant(predictions):
        return 0.0
    return float(_quietly(spearmanr, labels, predictions).statistic)


def pearson_spearman(labels: "Array", predictions: "Array") -> float:
    """Mean of Pearson's and Spearman's correlations, as GLUE reports STS-B (Wang et al. 2019). Both (n,)."""
    return (pearson(labels, predictions) + spearman(labels, predictions)) / 2


def mean_iou(counts: "Array") -> float:
    """Mean over classes of intersection over union, of pixels (C, C) by class and by what was said; classes that are
    neither there nor said do not count (Everingham et al. 2015, section 4.1, the Pascal VOC challenge).
    """
    hit = counts.diagonal()
    union = counts.sum(0) + counts.sum(1) - hit
    there = union > 0
    return float((hit[there] / union[there]).mean()) if there.any() else 0.0


def pixel_accuracy(counts: "Array") -> float:
    """Share of pixels whose class was said, of pixels (C, C) by class and by what was said."""
    return float(counts.trace() / counts.sum()) if counts.sum() else 0.0


def mean_ap(images: list[dict[str, Any]]) -> float:
    """COCO's average precision over IoU 0.5 to 0.95 and classes; see `redistill.evaluation.detection`."""
    from redistill.evaluation.detection import coco

    return coco(images)["mean_ap"]


def mean_ap_50(images: list[dict[str, Any]]) -> float:
    """COCO's average precision at IoU 0.5, over classes."""
    from redistill.evaluation.detection import coco

    return coco(images)["mean_ap_50"]


def voc_ap(images: list[dict[str, Any]]) -> float:
    """Pascal VOC's average precision at IoU 0.5 over classes, as since 2010; see `redistill.evaluation.detection`."""
    from redistill.evaluation.detection import voc

    return voc(images)


def _constant(values: "Array") -> bool:
    return bool((values == values[0]).all())


def _quietly(function: Callable[..., Any], *sides: "Array", **options: Any) -> Any:
    """Without warnings of few examples, many classes or a side that hardly varies: the number stands all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*sides, **options)


METRICS: dict[str, tuple[str, Callable[..., float]]] = {
    "accuracy": ("classification", accuracy),
    "matthews": ("classification", matthews),
    "f1": ("classification", f1),
    "accuracy_f1": ("classification", accuracy_f1),
    "pearson": ("regression", pearson),
    "spearman": ("regression", spearman),
    "pearson_spearman": ("regression", pearson_spearman),
    "mean_iou": ("segmentation", mean_iou),
    "pixel_accuracy": ("segmentation", pixel_accuracy),
    "mean_ap": ("detection", mean_ap),
    "mean_ap_50": ("detection", mean_ap_50),
    "voc_ap": ("detection", voc_ap),
}

# Those that measure two classes only, of which the second is what is looked for.
BINARY = frozenset({"f1", "accuracy_f1"})
