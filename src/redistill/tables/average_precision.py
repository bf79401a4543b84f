"""Average precision of boxes on many samples of images at once, for the bootstrap.

Which boxes are right is decided image by image, so it is found once; a sample then only says how often each image
counts. The metrics of `redistill.evaluation.detection` have the same numbers, in another way: neither rests on the
other.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Array = NDArray[Any]
Numbers = NDArray[np.float64]
Image = dict[str, Any]

OVERLAPS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MOST = 100  # boxes of a class that COCO looks at in an image
_LARGEST = 1e10  # square pixels; a wrong box of more, or of less than none, does not count with COCO
_TINY = np.spacing(1)  # which COCO's precision is divided by more


@dataclass(frozen=True)
class Found:
    """What was found of a class in all images, by falling score: of which image each box is, and at each of T overlaps
    whether it is right, and whether it counts at all (K, T).
    """

    image: Array
    right: Array
    counts: Array


@dataclass(frozen=True)
class Curve:
    """Of one class at one overlap: the images of the right boxes (J,), by falling score; how many wrong ones each image
    has between a right box and the one before (J, n), without those after the last; and how many boxes are to be
    found in each image (n,).
    """

    right: Array
    wrong: csr_array
    wanted: Numbers

    def of(self, weights: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """Right and wrong boxes so far (J, D), and boxes to be found (D,), where images count so often: (n, D)."""
        right = np.cumsum(weights[self.right], axis=0)
        wrong = np.cumsum(self.wrong @ weights, axis=0)
        return right, wrong, self.wanted @ weights


def mean_ap(images: Sequence[Image]) -> Callable[[Array], Numbers]:
    """COCO's average precision over overlaps and classes, of drawn images (D, n); `(D,)` in [0, 1]."""
    return _mean(list(_coco(images, OVERLAPS)), len(images), _at_recalls)


def mean_ap_50(images: Sequence[Image]) -> Callable[[Array], Numbers]:
    """COCO's average precision at an overlap of 0.5, over classes."""
    return _mean(list(_coco(images, OVERLAPS[:1])), len(images), _at_recalls)


def voc_ap(images: Sequence[Image]) -> Callable[[Array], Numbers]:
    """Pascal VOC's average precision over classes, as since 2010."""
    return _mean(list(_voc(images, 0.5)), len(images), _area)


def times_drawn(picked: Array) -> Numbers:
    """How often each of n examples was drawn (D, n), from the places that were drawn (D, n)."""
    draws, n = picked.shape
    flat = picked + n * np.arange(draws)[:, None]
    return np.bincount(flat.ravel(), minlength=draws * n).reshape(draws, n).astype(np.float64)


def _mean(
    curves: list[Curve], n: int, precision: Callable[[Numbers, Numbers, Numbers], Numbers]
) -> Callable[[Array], Numbers]:
    """The mean over curves of which anything is to be found in a sample; 0 where there is none."""

    def sampled(picked: Array) -> Numbers:
        weights = np.ascontiguousarray(times_drawn(picked).T)
        total, there = np.zeros(len(picked)), np.zeros(len(picked))
        for curve in curves:
            right, wrong, wanted = curve.of(weights)
            some = wanted > 0
            there += some
            if len(right):
                total += np.where(some, precision(right, wrong, np.where(some, wanted, 1.0)), 0.0)
        return np.divide(total, there, out=np.zeros(len(picked)), where=there > 0)

    return sampled


def _falling(precision: Numbers) -> Numbers:
    """The best precision at this recall or beyond."""
    return np.maximum.accumulate(precision[::-1], axis=0)[::-1]


def _at_recalls(right: Numbers, wrong: Numbers, wanted: Numbers) -> Numbers:
    """COCO's: the mean of the precision at 101 recalls (D,), each at the first box that reaches it."""
    falling = _falling(right / (right + wrong + _TINY))
    reached = np.searchsorted(RECALLS, right / wanted, side="right")
    reached[1:] -= reached[:-1].copy()
    return np.einsum("jd,jd->d", reached.astype(np.float64), falling) / len(RECALLS)


def _area(right: Numbers, wrong: Numbers, wanted: Numbers) -> Numbers:
    """Pascal VOC's: the area under the falling precision (D,)."""
    said = right + wrong
    falling = _falling(np.divide(right, said, out=np.zeros_like(right), where=said > 0))
    return np.einsum("jd,jd->d", np.diff(right, axis=0, prepend=0.0), falling) / wanted


# --- which boxes are right -------------------------------------------------------------------------------------------


def _coco(images: Sequence[Image], overlaps: Numbers) -> Iterator[Curve]:
    """A curve for each class and overlap, by the rules of COCO (Lin et al. 2014, arXiv:1405.0312)."""
    for c in sorted({c for image in images for c in image["label_classes"]}):
        yield from _curves(images, c, lambda mine, there, crowd: _coco_right(mine, there, crowd, overlaps), MOST)


def _voc(images: Sequence[Image], overlap: float) -> Iterator[Curve]:
    """A curve for each class, by the rules of Pascal VOC (Everingham et al. 2015, section 4.2)."""
    for c in sorted({c for image in images for c in image["label_classes"]}):
        yield from _curves(images, c, lambda mine, there, hard: _voc_right(mine, there, hard, overlap))


def _curves(
    images: Sequence[Image], c: int, judge: Callable[[Numbers, Numbers, Array], tuple[Array, Array]],
    most: int | None = None,
) -> Iterator[Curve]:  # fmt: skip
    """Curves of a class.

    Args:
        judge: of boxes found in an image, by falling score (K, 4), boxes there (G, 4), and which of these count neither
            way (G,): which are right, and which count (K, T).
        most: boxes that are looked at in an image.
    """
    found, scores, wanted = list[Found](), list[Array](), np.zeros(len(images))
    for i, image in enumerate(images):
        there = np.array(image["label_classes"], dtype=int) == c
        aside = np.array(image["label_crowd"], dtype=bool)[there]
        wanted[i] = np.count_nonzero(~aside)
        mine = np.flatnonzero(np.array(image["classes"], dtype=int) == c)
        score = np.array(image["scores"], dtype=float)[mine]
        first = np.argsort(-score, kind="stable")[:most]
        boxes, labels = (np.array(image[k], dtype=float).reshape(-1, 4) for k in ("boxes", "label_boxes"))
        right, counts = judge(boxes[mine[first]], labels[there], aside)
        found.append(Found(np.full(len(first), i), right, counts))
        scores.append(score[first])
    if not wanted.any():  # then nothing of it is to be found in any sample
        return
    order = np.argsort(-np.concatenate(scores), kind="stable")
    image_of, rights, counting = (
        np.concatenate([getattr(one, key) for one in found])[order] for key in ("image", "right", "counts")
    )
    for right, counts in zip(rights.T, counting.T, strict=True):
        yield _curve(image_of[counts], right[counts], wanted)


def _curve(image: Array, right: Array, wanted: Numbers) -> Curve:
    before = np.cumsum(right)  # right ones up to here: a wrong one comes before the right one of that number
    wrong = ~right & (before < before[-1:].sum())
    places = (before[wrong], image[wrong])
    ones = np.ones(np.count_nonzero(wrong))
    return Curve(image[right], csr_array((ones, places), shape=(np.count_nonzero(right), len(wanted))), wanted)


def _coco_right(found: Numbers, there: Numbers, crowd: Array, overlaps: Numbers) -> tuple[Array, Array]:
    """Each box takes the free one that it overlaps most, or else lies in a crowd, which many may."""
    shape = (len(found), len(overlaps))
    sides = found[:, 2:] - found[:, :2]
    sized = (sides.prod(axis=1) >= 0) & (sides.prod(axis=1) <= _LARGEST)
    right, counts = np.zeros(shape, dtype=bool), np.repeat(sized[:, None], len(overlaps), axis=1)
    shared = overlapped(found, there, crowd)
    free = np.ones((len(overlaps), len(there)), dtype=bool)
    for k in np.flatnonzero((shared >= overlaps[0]).any(axis=1)) if len(there) else ():
        enough = free & (shared[k] >= overlaps[:, None])
        own, any_own = _last_best(np.where(enough & ~crowd, shared[k], -1.0))
        right[k] = any_own
        free[any_own, own[any_own]] = False
        counts[k] = any_own | (sized[k] & ~(enough & crowd).any(axis=1))
    return right, counts


def _last_best(shared: Numbers) -> tuple[Array, Array]:
    """Of each row the place of the largest, the last of equals, and whether there is any."""
    last = shared.shape[1] - 1 - shared[:, ::-1].argmax(axis=1)
    return last, np.take_along_axis(shared, last[:, None], axis=1)[:, 0] >= 0


def _voc_right(found: Numbers, there: Numbers, hard: Array, overlap: float) -> tuple[Array, Array]:
    """Each box belongs to the one that it overlaps most; of those that belong to one, the first is right."""
    if not len(there) or not len(found):
        return np.zeros((len(found), 1), dtype=bool), np.ones((len(found), 1), dtype=bool)
    shared = overlapped(found, there, np.zeros(len(there), dtype=bool))
    best = shared.argmax(axis=1)
    enough = shared.max(axis=1) >= overlap
    taken = np.where(enough, best, -1)
    first = np.zeros(len(found), dtype=bool)
    first[np.unique(taken, return_index=True)[1]] = True
    return (first & enough & ~hard[best])[:, None], ~(enough & hard[best])[:, None]


def overlapped(found: Numbers, there: Numbers, crowd: Array) -> Numbers:
    """Intersection over union (K, G) of boxes (K, 4) and (G, 4); with a crowd, over the box that was found."""
    a, b = (np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1) for boxes in (found, there))
    # by left and width, as COCO's annotations have them, so that the last bit is the same
    ends = np.minimum((a[:, :2] + a[:, 2:])[:, None], (b[:, :2] + b[:, 2:])[None])
    sides = ends - np.maximum(a[:, None, :2], b[None, :, :2])
    inner = np.where((sides > 0).all(axis=-1), sides.prod(axis=-1), 0.0)
    area, other = a[:, 2] * a[:, 3], b[:, 2] * b[:, 3]
    whole = np.where(crowd[None], area[:, None], area[:, None] + other[None] - inner)
    return np.divide(inner, whole, out=np.zeros_like(inner), where=inner > 0)


METRICS: dict[str, Callable[[Sequence[Image]], Callable[[Array], Numbers]]] = {
    "mean_ap": mean_ap, "mean_ap_50": mean_ap_50, "voc_ap": voc_ap,
}  # fmt: skip
