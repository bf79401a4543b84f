"""The metrics against plain loops, scikit-learn and scipy, and those of the bootstrap; and as modules of `evaluate`."""

import json
import math
import warnings
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import evaluate
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from redistill.errors import RedistillError
from redistill.evaluation.metrics import BINARY, METRICS
from redistill.evaluation.modules import load
from redistill.tables.statistics import BATCH_METRICS

Pairs = list[tuple[int, int]]
OF_NUMBERS = [name for name, (kind, _) in METRICS.items() if kind in ("classification", "regression")]
CLASSES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30)
TWO = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=30)


def sides(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    return np.array([label for label, _ in pairs]), np.array([prediction for _, prediction in pairs])


def quietly(function: Callable[..., float], *sides: np.ndarray, **options: object) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(function(*sides, **options))


def test_metrics_of_two_classes_are_of_classes():
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
@pytest.mark.parametrize("name", OF_NUMBERS)
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


# --- from the definitions, in plain Python ---------------------------------------------------------------------------


def plain_accuracy(labels: list[Any], predictions: list[Any]) -> float:
    right = 0
    for label, prediction in zip(labels, predictions, strict=True):
        if label == prediction:
            right += 1
    return right / len(labels)


def plain_matthews(labels: list[Any], predictions: list[Any]) -> float:
    """Gorodkin's equation 8: the covariances of indicators, summed over the classes."""
    n, classes = len(labels), sorted({*labels, *predictions})
    together = of_labels = of_predictions = Fraction(0)
    for c in classes:
        t, p = Fraction(sum(x == c for x in labels), n), Fraction(sum(x == c for x in predictions), n)
        for label, prediction in zip(labels, predictions, strict=True):
            together += ((label == c) - t) * ((prediction == c) - p)
            of_labels += ((label == c) - t) ** 2
            of_predictions += ((prediction == c) - p) ** 2
    if not of_labels or not of_predictions:
        return 0.0
    return float(together) / math.sqrt(of_labels * of_predictions)


def plain_f1(labels: list[Any], predictions: list[Any]) -> float:
    pairs = list(zip(labels, predictions, strict=True))
    found = sum(label == 1 and prediction == 1 for label, prediction in pairs)
    if not found:
        return 0.0
    precision, recall = found / sum(p == 1 for _, p in pairs), found / sum(label == 1 for label, _ in pairs)
    return 2 * precision * recall / (precision + recall)


def plain_pearson(labels: list[Any], predictions: list[Any]) -> float:
    n = len(labels)
    xs, ys = [Fraction(x) for x in labels], [Fraction(y) for y in predictions]
    x_mean, y_mean = sum(xs) / n, sum(ys) / n
    together = of_x = of_y = Fraction(0)
    for x, y in zip(xs, ys, strict=True):
        together += (x - x_mean) * (y - y_mean)
        of_x += (x - x_mean) ** 2
        of_y += (y - y_mean) ** 2
    if not of_x or not of_y:
        return 0.0
    return float(together) / (math.sqrt(of_x) * math.sqrt(of_y))


def plain_ranks(values: list[Any]) -> list[Fraction]:
    """One more than how many are smaller, and half of the others that are equal."""
    return [
        Fraction(1 + sum(other < value for other in values)) + Fraction(sum(o == value for o in values) - 1, 2)
        for value in values
    ]


def plain_spearman(labels: list[Any], predictions: list[Any]) -> float:
    return plain_pearson(plain_ranks(labels), plain_ranks(predictions))


PLAIN: dict[str, Callable[[list[Any], list[Any]], float]] = {
    "accuracy": plain_accuracy,
    "matthews": plain_matthews,
    "f1": plain_f1,
    "accuracy_f1": lambda x, y: (plain_accuracy(x, y) + plain_f1(x, y)) / 2,
    "pearson": plain_pearson,
    "spearman": plain_spearman,
    "pearson_spearman": lambda x, y: (plain_pearson(x, y) + plain_spearman(x, y)) / 2,
}
# Up to three classes, and a predicted one that is no label; scores with many ties, and with few.
LABELS, GUESSES = st.integers(0, 2), st.integers(0, 3)
COARSE, FINE = st.integers(0, 5).map(float), st.floats(-100, 100).map(lambda x: round(x, 2))
SAME: dict[str, list[tuple[Any, Any]]] = {
    "one example, right": [(1, 1)],
    "one example, wrong": [(0, 1)],
    "two examples": [(0, 1), (1, 0)],
    "two examples, one right": [(0, 0), (1, 0)],
    "one class only, found": [(1, 1)] * 4,
    "the other class only": [(0, 0)] * 4,
    "one class predicted": [(0, 1), (1, 1), (2, 1)],
    "one class to find": [(1, 0), (1, 1), (1, 2)],
    "all wrong": [(0, 1), (1, 0), (0, 1), (1, 0)],
    "class 1 neither there nor predicted": [(0, 2), (2, 0), (0, 0)],
    "a predicted class that is no label": [(0, 3), (1, 3), (1, 1), (0, 0)],
    "three classes": [(0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0), (2, 2)],
    "ties": [(1, 2), (1, 3), (2, 3), (2, 2), (3, 3)],
}


def assert_as_defined(name: str, labels: np.ndarray, predictions: np.ndarray) -> None:
    """The metric, its form for the bootstrap and its module are what the definition says."""
    expected = pytest.approx(PLAIN[name](labels.tolist(), predictions.tolist()), abs=1e-9, rel=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert METRICS[name][1](labels, predictions) == expected
    assert BATCH_METRICS[name](predictions[None, :], labels[None, :])[0] == expected
    assert load(name).compute(predictions=predictions, references=labels) == {name: expected}


@pytest.mark.parametrize("name", OF_NUMBERS)
@pytest.mark.parametrize("case", SAME)
def test_degenerate_predictions_are_scored_as_defined(name, case):
    assert_as_defined(name, *sides(SAME[case]))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
@pytest.mark.parametrize("name", OF_NUMBERS)
def test_a_metric_is_what_its_definition_says(name, data):
    classes = METRICS[name][0] == "classification"
    one, other = (LABELS, GUESSES) if classes else data.draw(st.sampled_from([(COARSE, COARSE), (COARSE, FINE)]))
    labels, predictions = sides(data.draw(st.lists(st.tuples(one, other), min_size=1, max_size=15)))
    if not classes and data.draw(st.booleans()):
        labels, predictions = labels.astype(np.float32), predictions.astype(np.float32)
    assert_as_defined(name, labels, predictions)


# --- modules of evaluate ---------------------------------------------------------------------------------------------

PAIRS = sides([(1, 1), (1, 1), (0, 1), (0, 0), (1, 0), (0, 0), (0, 1)])
GLUE = {
    "cola": {"matthews_correlation": "matthews"},
    "stsb": {"pearson": "pearson", "spearmanr": "spearman"},
    **{task: {"accuracy": "accuracy", "f1": "f1"} for task in ("mrpc", "qqp")},
    **{task: {"accuracy": "accuracy"} for task in ("sst2", "mnli", "qnli", "rte", "wnli")},
    **{f"mnli_{domains}": {"accuracy": "accuracy"} for domains in ("matched", "mismatched")},
}


@pytest.mark.parametrize("task", GLUE)
def test_a_glue_task_has_the_results_that_evaluate_has_for_it(task):
    labels, predictions = PAIRS
    expected = {said: METRICS[name][1](labels, predictions) for said, name in GLUE[task].items()}
    assert load(f"glue/{task}").compute(predictions=predictions, references=labels) == expected


def test_a_module_takes_batches_and_lists_and_is_used_again_and_combined():
    labels, predictions = (side.tolist() for side in PAIRS)
    module = load("glue/mrpc")
    whole = module.compute(predictions=predictions, references=labels)
    module.add_batch(predictions=predictions[:4], references=labels[:4])
    for prediction, label in zip(predictions[4:], labels[4:], strict=True):
        module.add(prediction=prediction, reference=label)
    assert module.compute() == whole
    both = evaluate.combine([load("accuracy"), load("glue/mrpc"), load("glue/cola")])
    both.add_batch(predictions=predictions, references=labels)
    assert both.compute() == {
        "accuracy_accuracy": whole["accuracy"], "glue_mrpc_accuracy": whole["accuracy"], "f1": whole["f1"],
        "matthews_correlation": METRICS["matthews"][1](*PAIRS),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("accuracy", {"predictions": [0.7, 1.0], "references": [0, 1]}, "the predictions are no classes: 0.7"),
        ("glue/cola", {"predictions": [0, 1], "references": [0, 0.5]}, "the references are no classes: 0.5"),
        ("pearson", {"predictions": [0.7, math.nan], "references": [0, 1]}, "a number that is not finite"),
        ("f1", {"predictions": [], "references": []}, "nothing to compute it from"),
        ("f1", {}, "nothing to compute it from"),
    ],
)
def test_a_module_refuses_what_has_no_score_and_goes_on(name, given, said):
    module = load(name)
    with pytest.raises(RedistillError, match=said):
        module.compute(**given)
    assert set(module.compute(predictions=[0, 1], references=[0, 1]).values()) == {1.0}


def test_an_unknown_module_is_refused_with_the_nearest_name():
    with pytest.raises(RedistillError, match="no metric is called `glue/mrcp`; did you mean `glue/mrpc`"):
        load("glue/mrcp")


@pytest.mark.slow
def test_modules_need_no_network_and_leave_nothing_behind(python, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    script = """
import json, socket, sys

class Blocked(socket.socket):
    def connect(self, *address):
        raise AssertionError(f"the network was asked for {address}")
    connect_ex = sendto = connect

def unknown(*host):
    raise AssertionError(f"the network was asked for {host}")

socket.socket, socket.create_connection, socket.getaddrinfo = Blocked, unknown, unknown
from redistill.evaluation.modules import load

labels, predictions = json.loads(sys.argv[1])
found = {}
for name in json.loads(sys.argv[2]):
    module = load(name)
    module.add_batch(predictions=predictions, references=labels)
    found[name] = module.compute()
print(json.dumps(found))
"""
    names = [*OF_NUMBERS, *(f"glue/{task}" for task in GLUE)]
    done = python("-c", script, json.dumps([side.tolist() for side in PAIRS]), json.dumps(names))
    assert done.returncode == 0, done.stderr
    expected = {name: load(name).compute(predictions=PAIRS[1], references=PAIRS[0]) for name in names}
    assert json.loads(done.stdout) == expected
    assert list(home.rglob("*")) == []
    assert list(tmp_path.iterdir()) == [home]
