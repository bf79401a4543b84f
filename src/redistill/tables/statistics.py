"""How sure a number is: summaries over seeds, the paired bootstrap of a difference, Holm's correction."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Array = NDArray[Any]
Metric = Callable[[Array, Array], float]
"""predictions `(n,)` or `(n, C)` and labels `(n,)` to one number."""
BatchMetric = Callable[[Array, Array], NDArray[np.float64]]
"""predictions `(D, n)` and labels `(D, n)` to `(D,)`: the same metric on D samples at once."""
Sampled = Callable[[Array], NDArray[np.float64]]
"""drawn examples `(D, n)`, by their places, to `(D,)`: a run's metric on each of D samples."""

# Numbers in one gathered (D, n) array: 2 MiB as float64. Ranking holds about ten such arrays at a time, so a
# chunk stays in the processor's cache and the whole bootstrap under 200 MB.
_CHUNK = 2**18
# z(0.975) + z(0.80): the true difference, in standard errors, that a two-sided 5 % test finds 4 times in 5.
_DETECTABLE = 2.8


@dataclass(frozen=True)
class Summary:
    """A metric over seeds. `std`, `low`, `high` are None for one seed, which says nothing of spread."""

    mean: float
    std: float | None
    n: int
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """a - b on the metric's own scale, with its 95 % interval; see `paired_bootstrap`."""

    difference: float
    low: float
    high: float
    p: float
    smallest_detectable: float
    n_seeds: int
    n_examples: int


def summarise(values: Sequence[float]) -> Summary:
    """Mean, standard deviation (n - 1) and Student-t 95 % interval of one value a seed.

    Raises ValueError for no values and for values that are not finite.
    """
    numbers = [float(value) for value in values]
    n = len(numbers)
    if n == 0 or not all(map(math.isfinite, numbers)):
        raise ValueError(f"a summary needs at least one value, all finite; got {numbers}")
    # Exact until the end: equal seeds have no spread at all, and their order does not show in the last digit.
    exact = [Fraction(number) for number in numbers]
    exact_mean = sum(exact, Fraction(0)) / n
    mean = float(exact_mean)
    if n == 1:
        return Summary(mean, None, 1, None, None)
    std = math.sqrt(sum((number - exact_mean) ** 2 for number in exact) / (n - 1))
    margin = float(stdtrit(n - 1, 0.975)) * std / math.sqrt(n)
    return Summary(mean, std, n, mean - margin, mean + margin)


def accuracy(predictions: Array, labels: Array) -> NDArray[np.float64]:
    """Share of predicted class indices `(D, n)` that equal the labels `(D, n)`; `(D,)` in [0, 1]."""
    return np.count_nonzero(predictions == labels, axis=1) / predictions.shape[1]


def matthews(predictions: Array, labels: Array) -> NDArray[np.float64]:
    """Matthews' correlation of class indices `(D, n)` with the labels `(D, n)`; `(D,)` in [-1, 1].

    For more than two classes as Gorodkin 2004 has it. 0.0 where a row of either is constant.
    """
    n = predictions.shape[1]
    true, guessed = (
        np.stack([np.count_nonzero(side == c, axis=1) for c in np.union1d(predictions, labels)])
        for side in (labels, predictions)
    )
    together = np.count_nonzero(predictions == labels, axis=1) * n - (true * guessed).sum(axis=0)
    apart = (n**2 - (true**2).sum(axis=0)).astype(float) * (n**2 - (guessed**2).sum(axis=0))
    return np.clip(np.divide(together, np.sqrt(apart), out=np.zeros(len(apart)), where=apart > 0), -1.0, 1.0)


def f1(predictions: Array, labels: Array) -> NDArray[np.float64]:
    """F1 of class 1 in each row of `(D, n)`; `(D,)` in [0, 1], 0.0 where it is neither a label nor predicted."""
    found = np.count_nonzero((predictions == 1) & (labels == 1), axis=1)
    said = np.count_nonzero(predictions == 1, axis=1) + np.count_nonzero(labels == 1, axis=1)
    return np.divide(2 * found, said, out=np.zeros(len(found)), where=said > 0)


def accuracy_f1_mean(predictions: Array, labels: Array) -> NDArray[np.float64]:
    """Mean of accuracy and F1, as GLUE scores MRPC and QQP (Wang et al. 2018)."""
    return (accuracy(predictions, labels) + f1(predictions, labels)) / 2


def pearson(predictions: Array, labels: Array) -> NDArray[np.float64]:
    """Pearson's r of each row of `(D, n)` with the same row of labels; `(D,)` in [-1, 1].

    0.0 where a row of either is constant and r is undefined: a model that says one thing has learnt nothing.
    """
    x, y = _standardised(predictions), _standardised(labels)
    return np.clip(np.einsum("dn,dn->d", x, y), -1.0, 1.0)


def spearman(predictions: Array, labels: Array) -> NDArray[np.float64]:
    """Spearman's rho: Pearson's r of the ranks, ties averaged; shapes and degenerate rows as `pearson`."""
    return pearson(_average_ranks(predictions), _average_ranks(labels))


def pearson_spearman_mean(predictions: Array, labels: Array) -> NDArray[np.float64]:
    """Mean of Pearson's r and Spearman's rho, as GLUE scores STS-B (Wang et al. 2018)."""
    return (pearson(predictions, labels) + spearman(predictions, labels)) / 2


BATCH_METRICS: dict[str, BatchMetric] = {
    "accuracy": accuracy,
    "matthews": matthews,
    "f1": f1,
    "accuracy_f1": accuracy_f1_mean,
    "pearson": pearson,
    "spearman": spearman,
    "pearson_spearman": pearson_spearman_mean,
}


def paired_bootstrap(
    a: Array, b: Array, labels: Array, metric: BatchMetric, draws: int = 10_000, seed: int = 0
) -> Difference:
    """`bootstrap` of a metric of predictions: a `(seeds_a, n)`; b `(seeds_b, n)`, for the same examples in the same
    order; labels `(n,)`.

    Raises ValueError for shapes that do not fit, values that are not finite, and fewer than one draw.
    """
    a, b, labels = np.asarray(a), np.asarray(b), np.asarray(labels)
    _check_predictions(a, b, labels)

    def sampled(predictions: Array) -> Sampled:
        return lambda picked: metric(predictions[picked], labels[picked])

    return bootstrap([sampled(row) for row in a], [sampled(row) for row in b], labels.size, draws, seed)


def bootstrap(a: Sequence[Sampled], b: Sequence[Sampled], n: int, draws: int = 10_000, seed: int = 0) -> Difference:
    """Hierarchical paired bootstrap of mean a - mean b (Efron and Tibshirani 1993), a metric of each seed's run on `n`
    examples that both have in the same order.

    Each draw takes seeds with replacement, then examples with replacement, the same examples for a and b, and
    averages the metric over the drawn seeds. Where a and b have equally many seeds, row i of both is taken as
    one pair (same seed, hence same data order) and pairs are drawn; otherwise each side draws its own.

    low, high: 2.5 and 97.5 percentiles. p: 2 min(P(d <= 0), P(d >= 0)) with one added to each count (Davison
    and Hinkley 1997), at most 1. smallest_detectable: 2.8 bootstrap standard errors, which is found with 80 %
    power at 5 % two-sided. n_seeds: of the side that has fewer.

    Two known biases. What is peculiar to one seed on one example is drawn in both steps and so counted twice:
    where seeds differ only in that, intervals are too wide (Owen 2007, the pigeonhole bootstrap). But S seeds
    show only (S - 1) / S of the variance between them: where seeds differ much and are few, intervals are too
    narrow, and with one seed they cover the choice of examples alone: hence no star under 5 seeds.

    Raises ValueError for fewer than one draw.
    """
    if draws < 1:
        raise ValueError(f"draws is {draws}, expected at least 1")
    # Streams of their own, so that the examples drawn do not depend on how many seeds there are.
    seed_stream, example_stream = (
        np.random.Generator(np.random.PCG64(stream)) for stream in np.random.SeedSequence(seed).spawn(2)
    )
    weights_a, weights_b = _seed_weights(len(a), len(b), draws, seed_stream)

    def difference(picked: Array, shares_a: Array, shares_b: Array) -> NDArray[np.float64]:
        of_a, of_b = _weighted(a, picked, shares_a), _weighted(b, picked, shares_b)
        # Sums of the same metrics in another order differ in the last bit; a tie must count as a tie.
        return np.round(of_a - of_b, 12) + 0.0

    differences = np.empty(draws)
    for part in _chunks(draws, n):
        picked = example_stream.integers(0, n, size=(part.stop - part.start, n))
        differences[part] = difference(picked, weights_a[part], weights_b[part])
    even_a, even_b = (np.full((1, len(side)), 1 / len(side)) for side in (a, b))
    low, high = np.percentile(differences, [2.5, 97.5])
    tail = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    return Difference(
        difference=float(difference(np.arange(n)[None, :], even_a, even_b)[0]),
        low=float(low),
        high=float(high),
        p=min(1.0, 2 * (int(tail) + 1) / (draws + 1)),
        smallest_detectable=_DETECTABLE * float(differences.std(ddof=1 if draws > 1 else 0)),
        n_seeds=min(len(a), len(b)),
        n_examples=n,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for having made all these comparisons (Holm 1979), in the order given, at most 1.

    Raises ValueError for a value outside [0, 1].
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError(f"p-values lie between 0 and 1; got {list(p_values)}")
    adjusted = [0.0] * len(p_values)
    so_far = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        # The running maximum keeps a larger p from being adjusted to less than a smaller one.
        so_far = max(so_far, min(1.0, (len(p_values) - rank) * float(p_values[index])))
        adjusted[index] = so_far
    return adjusted


def _standardised(values: Array) -> NDArray[np.float64]:
    """Rows `(D, n)` centred and scaled to length 1; a constant row becomes zeros."""
    values = np.asarray(values, dtype=np.float64)
    # Tested on the values as given: the mean of equal numbers need not be that number, and the rounding error
    # that is left would be scaled up to a length of 1.
    varies = values.max(axis=1) > values.min(axis=1)
    # Scaled first, because the squares of very small or very large numbers leave the range of a float.
    values = values / np.where(varies, np.abs(values).max(axis=1), 1.0)[:, None]
    centred = values - values.mean(axis=1, keepdims=True)
    length = np.sqrt(np.einsum("dn,dn->d", centred, centred))
    return centred * np.divide(1.0, length, out=np.zeros_like(length), where=varies)[:, None]


def _average_ranks(values: Array) -> NDArray[np.float64]:
    """Ranks from 1 within each row of `(D, n)`, ties averaged: scipy.stats.rankdata, several times faster."""
    rows, n = values.shape
    order = np.argsort(values, axis=1)
    in_order = np.take_along_axis(values, order, axis=1)
    starts = np.ones((rows, n), dtype=bool)
    starts[:, 1:] = in_order[:, 1:] != in_order[:, :-1]
    # Every row starts a group of ties, so groups can be counted over the flattened array.
    first = np.flatnonzero(starts)
    after = np.append(first[1:], rows * n)
    average = (first % n) + (after - first + 1) / 2
    ranks = np.empty((rows, n))
    np.put_along_axis(ranks, order, np.repeat(average, after - first).reshape(rows, n), axis=1)
    return ranks


def _check_predictions(a: Array, b: Array, labels: Array) -> None:
    if labels.ndim != 1 or labels.size == 0:
        raise ValueError(f"labels have shape {labels.shape}, expected (n,) with n of 1 or more")
    for name, values in (("a", a), ("b", b)):
        if values.ndim != 2 or len(values) == 0 or values.shape[1] != labels.size:
            raise ValueError(f"{name} has shape {values.shape}, expected (seeds, {labels.size})")
    for name, values in (("a", a), ("b", b), ("labels", labels)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} holds values that are not finite")


def _seed_weights(
    seeds_a: int, seeds_b: int, draws: int, generator: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How often each seed is drawn, as shares: `(draws, seeds_a)` and `(draws, seeds_b)`, rows sum to 1."""

    def shares(seeds: int) -> NDArray[np.float64]:
        picked = generator.integers(0, seeds, size=(draws, seeds))
        flat = picked + seeds * np.arange(draws)[:, None]
        return np.bincount(flat.ravel(), minlength=draws * seeds).reshape(draws, seeds) / seeds

    weights_a = shares(seeds_a)
    return weights_a, weights_a if seeds_a == seeds_b else shares(seeds_b)


def _chunks(draws: int, n: int) -> Iterator[slice]:
    step = max(1, _CHUNK // n)
    for start in range(0, draws, step):
        yield slice(start, min(start + step, draws))


def _weighted(seeds: Sequence[Sampled], picked: Array, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over seeds `(D,)`: picked `(D, n)`, weights `(D, S)`."""
    total = np.zeros(len(picked))
    for sampled, weight in zip(seeds, weights.T, strict=True):
        total += weight * sampled(picked)
    return total
