"""The statistics against scipy, scikit-learn and plain loops, and on data whose answer is known."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from redistill.tables import statistics
from redistill.tables.sampled import accuracies, sampled
from redistill.tables.statistics import BATCH_METRICS, bootstrap, holm, paired_bootstrap, summarise

finite = st.floats(-1e6, 1e6).map(lambda x: round(x, 3))
# Few distinct values, so that ties and constant rows are common.
coarse = st.integers(-2, 2).map(float)


CLASSES = ("accuracy", "matthews", "f1", "accuracy_f1")


def scipy_or_zero(function: Callable[..., Any], x: np.ndarray, y: np.ndarray) -> float:
    """One row, with scipy; 0 where scipy finds r undefined."""
    if len(x) < 2:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = float(function(x, y).statistic)
    return 0.0 if math.isnan(value) else value


def plain_metric(name: str, x: np.ndarray, y: np.ndarray) -> float:
    if name == "accuracy":
        return float(accuracy_score(y, x))
    if name == "matthews":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return float(matthews_corrcoef(y, x))
    if name == "f1":
        return float(f1_score(y, x, labels=[1], average=None, zero_division=0.0)[0])
    if name == "accuracy_f1":
        return (plain_metric("accuracy", x, y) + plain_metric("f1", x, y)) / 2
    if name == "pearson_spearman":
        return (plain_metric("pearson", x, y) + plain_metric("spearman", x, y)) / 2
    return scipy_or_zero({"pearson": scipy.stats.pearsonr, "spearman": scipy.stats.spearmanr}[name], x, y)


@st.composite
def batches(draw: st.DrawFn, values: st.SearchStrategy[float]) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 12)))
    return draw(arrays(float, shape, elements=values)), draw(arrays(float, shape, elements=values))


# --- summaries ---------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20))
def test_summary_agrees_with_numpy_and_scipy(values: list[float]) -> None:
    summary = summarise(values)
    assert summary.n == len(values)
    assert summary.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert summary.std == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    if summary.std is not None and summary.std > 1e-6:
        low, high = scipy.stats.t.interval(0.95, len(values) - 1, np.mean(values), scipy.stats.sem(values))
        assert (summary.low, summary.high) == pytest.approx((low, high), rel=1e-6, abs=1e-6)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8), st.randoms())
def test_summary_does_not_depend_on_the_order_of_seeds(values: list[float], random: Any) -> None:
    shuffled = values[:]
    random.shuffle(shuffled)
    assert summarise(shuffled) == summarise(values)


def test_one_seed_has_no_spread() -> None:
    assert summarise([0.8]) == statistics.Summary(0.8, None, 1, None, None)


def test_equal_seeds_have_exactly_no_spread() -> None:
    assert summarise([0.1, 0.1, 0.1]) == statistics.Summary(0.1, 0.0, 3, 0.1, 0.1)


@pytest.mark.parametrize("values", [[], [math.nan], [0.5, math.inf]])
def test_summary_of_nothing_or_of_what_is_not_finite_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        summarise(values)


# --- batch metrics -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BATCH_METRICS)
@pytest.mark.parametrize("values", [finite, coarse], ids=["spread", "ties"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_batch_metric_agrees_with_scipy_and_sklearn(
    name: str, values: st.SearchStrategy[float], data: st.DataObject
) -> None:
    predictions, labels = data.draw(batches(values))
    if name in CLASSES:
        predictions, labels = predictions.astype(int), labels.astype(int)
    else:
        # Rows that vary by less than rounding are not the subject here; scipy warns of them itself.
        for rows in (predictions, labels):
            spread = np.ptp(rows, axis=1)
            rows[(spread > 0) & (spread < 1e-6 * np.abs(rows).max(axis=1))] = 1.0
    found = BATCH_METRICS[name](predictions, labels)
    assert found.shape == (len(predictions),)
    expected = [plain_metric(name, x, y) for x, y in zip(predictions, labels, strict=True)]
    assert found == pytest.approx(expected, abs=1e-7)
    assert (found >= (0 if name in ("accuracy", "f1", "accuracy_f1") else -1)).all()
    assert (found <= 1).all()


@pytest.mark.parametrize("name", ["pearson", "spearman", "pearson_spearman"])
@pytest.mark.parametrize("constant", [0.0, 0.1, -1e300, 1e-300])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_correlation_with_a_constant_is_zero(name: str, constant: float, n: int) -> None:
    varied, same = np.arange(n, dtype=float)[None, :], np.full((1, n), constant)
    for predictions, labels in ((same, varied), (varied, same), (same, same)):
        assert BATCH_METRICS[name](predictions, labels).tolist() == [0.0]


@pytest.mark.parametrize("name", ["pearson", "spearman", "pearson_spearman"])
@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_correlation_does_not_depend_on_the_scale(name: str, scale: float) -> None:
    x, y = np.array([[0.1, 0.7, 0.3, 0.9]]), np.array([[1.0, 2.0, 3.0, 4.0]])
    assert BATCH_METRICS[name](x * scale, y) == pytest.approx(BATCH_METRICS[name](x, y))
    assert BATCH_METRICS[name](x, x * scale) == pytest.approx(1.0)
    assert BATCH_METRICS[name](x, -x * scale) == pytest.approx(-1.0)


@given(batches(st.one_of(finite, coarse)))
def test_average_ranks_are_those_of_scipy(batch: tuple[np.ndarray, np.ndarray]) -> None:
    values, _ = batch
    np.testing.assert_array_equal(statistics._average_ranks(values), scipy.stats.rankdata(values, axis=1))


# --- bootstrap ---------------------------------------------------------------------------------------------


def slow_bootstrap(
    a: np.ndarray, b: np.ndarray, labels: np.ndarray, name: str, draws: int, seed: int
) -> dict[str, float]:
    """One draw at a time from the same two streams of random numbers, every drawn seed on its own."""
    streams = np.random.SeedSequence(seed).spawn(2)
    seeds, examples = (np.random.Generator(np.random.PCG64(stream)) for stream in streams)
    picks_a = [seeds.integers(0, len(a), size=len(a)) for _ in range(draws)]
    picks_b = picks_a if len(a) == len(b) else [seeds.integers(0, len(b), size=len(b)) for _ in range(draws)]
    differences = []
    for pick_a, pick_b in zip(picks_a, picks_b, strict=True):
        drawn = examples.integers(0, len(labels), size=len(labels))
        mean_a = sum(plain_metric(name, a[i][drawn], labels[drawn]) for i in pick_a) / len(a)
        mean_b = sum(plain_metric(name, b[i][drawn], labels[drawn]) for i in pick_b) / len(b)
        differences.append(round(mean_a - mean_b, 12))
    down, up = sum(d <= 0 for d in differences), sum(d >= 0 for d in differences)
    low, high = np.percentile(differences, [2.5, 97.5])
    return {
        "difference": sum(plain_metric(name, x, labels) for x in a) / len(a)
        - sum(plain_metric(name, x, labels) for x in b) / len(b),
        "low": low,
        "high": high,
        "p": min(1, 2 * (down + 1) / (draws + 1), 2 * (up + 1) / (draws + 1)),
        "smallest_detectable": 2.8 * float(np.std(differences, ddof=1)),
        "n_seeds": min(len(a), len(b)),
        "n_examples": len(labels),
    }


def noisy_classes(rng: np.random.Generator, labels: np.ndarray, share: float, seeds: int) -> np.ndarray:
    return np.where(rng.random((seeds, len(labels))) < share, labels, 1 - labels)


@pytest.mark.parametrize("name", BATCH_METRICS)
@pytest.mark.parametrize(("seeds_a", "seeds_b"), [(3, 3), (3, 2), (1, 1)])
@pytest.mark.parametrize("chunk", [1, 100, 2**18])
def test_bootstrap_agrees_with_a_plain_loop_whatever_the_chunk(
    name: str, seeds_a: int, seeds_b: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "_CHUNK", chunk)
    rng = np.random.default_rng(1)
    if name in CLASSES:
        labels: np.ndarray = rng.integers(0, 2, 15)
        a, b = noisy_classes(rng, labels, 0.8, seeds_a), noisy_classes(rng, labels, 0.7, seeds_b)
    else:
        labels = rng.normal(size=15).round(1)
        a, b = labels + rng.normal(size=(seeds_a, 15)), labels + rng.normal(size=(seeds_b, 15)).round()
    found = paired_bootstrap(a, b, labels, BATCH_METRICS[name], draws=60, seed=7)
    assert vars(found) == pytest.approx(slow_bootstrap(a, b, labels, name, draws=60, seed=7), abs=1e-9)


@pytest.mark.parametrize("name", BATCH_METRICS)
@pytest.mark.parametrize("seeds", [1, 3, 7])
def test_a_row_does_not_differ_from_itself(name: str, seeds: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 40)
    a = rng.integers(0, 3, (seeds, 40))
    found = paired_bootstrap(a, a, labels, BATCH_METRICS[name], draws=200)
    assert found == statistics.Difference(0.0, 0.0, 0.0, 1.0, 0.0, seeds, 40)


@pytest.mark.parametrize("seeds_b", [5, 3])
def test_the_same_predictions_from_every_seed_tie_in_every_draw(seeds_b: int) -> None:
    labels = np.arange(30) % 2
    one = np.where(np.arange(30) < 20, labels, 1 - labels)
    found = paired_bootstrap(np.tile(one, (5, 1)), np.tile(one, (seeds_b, 1)), labels, BATCH_METRICS["accuracy"])
    assert (found.difference, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_a_clear_difference_is_found() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    a, b = noisy_classes(rng, labels, 0.9, 5), noisy_classes(rng, labels, 0.7, 5)
    found = paired_bootstrap(a, b, labels, BATCH_METRICS["accuracy"], draws=2000)
    assert found.difference == pytest.approx(0.2, abs=0.05)
    assert 0 < found.low < found.difference < found.high
    assert found.p == pytest.approx(2 / 2001)
    assert found.difference > found.smallest_detectable > 0


def test_swapping_the_rows_changes_only_the_sign() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 50)
    a, b = noisy_classes(rng, labels, 0.8, 3), noisy_classes(rng, labels, 0.7, 3)
    one = paired_bootstrap(a, b, labels, BATCH_METRICS["accuracy"], draws=500)
    other = paired_bootstrap(b, a, labels, BATCH_METRICS["accuracy"], draws=500)
    assert (one.difference, one.low, one.high, one.p) == pytest.approx(
        (-other.difference, -other.high, -other.low, other.p)
    )


def test_the_same_seed_gives_the_same_result_and_another_does_not() -> None:
    rng = np.random.default_rng(0)
    labels = rng.normal(size=30)
    a, b = labels + rng.normal(size=(3, 30)), labels + rng.normal(size=(3, 30))
    first, again, other = (
        paired_bootstrap(a, b, labels, BATCH_METRICS["spearman"], draws=100, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert first.difference == other.difference


def test_seeds_that_disagree_widen_the_interval() -> None:
    labels = np.zeros(200, dtype=int)
    base = np.tile(np.arange(200) % 4 == 0, (4, 1)).astype(int)
    steady = base.copy()
    unsteady = base.copy()
    unsteady[0] = 0
    unsteady[1] = np.arange(200) % 2
    calm, wild = (
        paired_bootstrap(rows, base, labels, BATCH_METRICS["accuracy"], draws=1000) for rows in (steady, unsteady)
    )
    assert calm.difference == wild.difference == 0
    assert wild.smallest_detectable > calm.smallest_detectable == 0


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    # 12 seeds, so that little of the variance between them is lost; the true difference is 0.1.
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(200):
        labels = rng.integers(0, 2, 80)
        a, b = noisy_classes(rng, labels, 0.8, 12), noisy_classes(rng, labels, 0.7, 12)
        found = paired_bootstrap(a, b, labels, BATCH_METRICS["accuracy"], draws=300, seed=int(rng.integers(2**32)))
        covered += found.low <= 0.1 <= found.high
    assert 180 <= covered <= 200


@pytest.mark.parametrize(
    ("a", "b", "labels", "message"),
    [
        (np.zeros(3), np.zeros((1, 3)), np.zeros(3), r"a has shape \(3,\)"),
        (np.zeros((1, 3)), np.zeros((1, 4)), np.zeros(3), r"b has shape \(1, 4\)"),
        (np.zeros((0, 3)), np.zeros((1, 3)), np.zeros(3), r"a has shape \(0, 3\)"),
        (np.zeros((1, 0)), np.zeros((1, 0)), np.zeros(0), "labels have shape"),
        (np.full((1, 3), np.nan), np.zeros((1, 3)), np.zeros(3), "a holds values that are not finite"),
    ],
)
def test_bootstrap_refuses_what_does_not_fit(a: np.ndarray, b: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paired_bootstrap(a, b, labels, BATCH_METRICS["accuracy"], draws=10)


def test_bootstrap_refuses_no_draws() -> None:
    with pytest.raises(ValueError, match="draws is 0"):
        paired_bootstrap(np.zeros((1, 3)), np.zeros((1, 3)), np.zeros(3), BATCH_METRICS["accuracy"], draws=0)


# --- Holm --------------------------------------------------------------------------------------------------

p_lists = st.lists(st.floats(0, 1), max_size=12)


def plain_holm(p_values: list[float]) -> list[float]:
    """By the definition: the largest of (m - j) p_(j) over all p_(j) that come no later, at most 1."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    place = {index: rank for rank, index in enumerate(order)}
    return [
        max(min(1.0, (len(p_values) - j) * p_values[order[j]]) for j in range(place[i] + 1))
        for i in range(len(p_values))
    ]


@given(p_lists)
def test_holm_agrees_with_its_definition(p_values: list[float]) -> None:
    assert holm(p_values) == plain_holm(p_values)


@given(p_lists)
def test_holm_keeps_the_order_and_never_lowers_a_p_value(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    by_p = [q for _, q in sorted(zip(p_values, adjusted, strict=True))]
    assert by_p == sorted(by_p)
    for p, q in zip(p_values, adjusted, strict=True):
        assert q <= min(1.0, len(p_values) * p)


def test_holm_on_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
def test_holm_refuses_what_is_no_p_value(bad: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.5, bad])


def test_the_accuracy_of_many_runs_at_once_is_that_of_each_to_the_last_bit() -> None:
    drawn = np.random.default_rng(3)
    labels = drawn.integers(0, 3, 997)
    sides = [[drawn.integers(0, 3, 997) for _ in range(seeds)] for seeds in (4, 7)]
    one_by_one = [[sampled(pa.table({"label": labels, "prediction": p}), "accuracy") for p in side] for side in sides]
    at_once = [accuracies([p == labels for p in side]) for side in sides]
    assert bootstrap(*at_once, 997, 500) == bootstrap(*one_by_one, 997, 500)
    assert at_once[0][1](np.arange(997)[None])[0] == float(accuracy_score(labels, sides[0][1]))
