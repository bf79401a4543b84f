"""The metrics against scikit-learn and scipy, and against those of the bootstrap."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from redistill.evaluation.metrics import BINARY, METRICS
from redistill.tables.statistics import BATCH_METRICS

Pairs = list[tuple[int, int]]
CLASSES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30)
TWO = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=30)


def sides(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    return np.array([label for label, _ in pairs]), np.array([prediction for _, prediction in pairs])


def quietly(function: Callable[..., float], *sides: np.ndarray, **options: object) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(function(*sides, **options))


def test_every_metric_has_its_form_for_the_bootstrap():
    assert set(METRICS) == set(BATCH_METRICS)
    assert {METRICS[name][0] for name in BINARY} == {"classification"}


@settings(max_examples=100, deadline=None, derandomize=True)
@given(pairs=CLASSES)
def test_matthews_and_accuracy_are_those_of_scikit_learn_for_any_number_of_classes(pairs):
    labels, predictions = sides(pairs)
    assert METRICS["matthews"][1](labels, predictions) == pytest.approx(quietly(matthews_corrcoef, labels, predictions))
    assert METRICS["accuracy"][1](labels, predictions) == pytest.approx(accuracy_score(labels, predictions))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(pairs=TWO)
def test_f1_is_that_of_scikit_learn_and_glue_takes_the_mean_with_accuracy(pairs):
    labels, predictions = sides(pairs)
    expected = quietly(f1_score, labels, predictions, zero_division=0.0)
    assert METRICS["f1"][1](labels, predictions) == pytest.approx(expected)
    both = METRICS["accuracy_f1"][1](labels, predictions)
    assert both == pytest.approx((accuracy_score(labels, predictions) + expected) / 2)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(pairs=CLASSES)
@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_its_form_for_the_bootstrap(name, pairs):
    labels, predictions = sides(pairs)
    batch = BATCH_METRICS[name](predictions[None, :], labels[None, :])
    assert METRICS[name][1](labels, predictions) == pytest.approx(float(batch[0]), abs=1e-7)


def test_a_constant_side_has_no_correlation():
    constant, varied = np.ones(4, dtype=int), np.array([0, 1, 0, 1])
    for name in ("matthews", "pearson", "spearman", "pearson_spearman"):
        for labels, predictions in ((constant, varied), (varied, constant), (constant, constant)):
            assert METRICS[name][1](labels, predictions) == 0.0


def test_known_values():
    labels, predictions = np.array([1, 1, 1, 0, 0, 0, 0, 0]), np.array([1, 1, 0, 1, 0, 0, 0, 0])
    assert METRICS["accuracy"][1](labels, predictions) == 0.75
    assert METRICS["f1"][1](labels, predictions) == pytest.approx(2 / 3)
    assert METRICS["matthews"][1](labels, predictions) == pytest.approx(scipy.stats.pearsonr(labels, predictions)[0])


def test_the_names_of_the_metrics_are_read_without_numpy(python):
    seen = "print({'numpy', 'scipy', 'sklearn'} & set(sys.modules))"
    done = python("-c", f"import sys, redistill.evaluation.metrics; {seen}")
    assert done.stdout.strip() == "set()", done.stderr
