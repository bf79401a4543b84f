"""What a report works out of a study: parts of rows, gaps, pairs, marks, curves, confusions, disagreements, costs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published_study import STUDY, PublishedStudy, copied, publish_study

from redistill.report import configs, costs
from redistill.report.cells import commands
from redistill.report.curves import curves, thinned
from redistill.report.disagree import BOTH, STUDENT_RIGHT, TEACHER_RIGHT, disagreements
from redistill.report.gap import NO_GAP, gaps
from redistill.report.marks import BEST, SECOND, marks
from redistill.report.pairs import pairs
from redistill.report.reading import Study, read
from redistill.report.rows import ALONE, FLOOR, STUDENT, TEACHER, Part, parts
from redistill.report.said import Said, calibration, confusion
from redistill.report.samples import Column


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PublishedStudy:
    return publish_study(tmp_path_factory.mktemp("report") / "project", content=3)


@pytest.fixture(scope="module")
def study(made: PublishedStudy) -> Study:
    return read(made.root, STUDY)


def said(labels: list[int], predictions: list[int], logits: Any = None) -> Said:
    ids = [f"id {i}" for i in range(len(labels))]
    return Said(ids, np.array(labels), np.array(predictions), logits)


def test_rows_are_floors_teachers_students_and_students_alone(study: Study) -> None:
    assert parts(study, "pictures") == {
        "floor": Part(FLOOR), "teacher": Part(TEACHER), "plain": Part(ALONE),
        "taught": Part(STUDENT, "teacher", "plain"),
    }  # fmt: skip
    assert parts(study, "texts")["reader"] == Part(ALONE)


def test_the_gap_that_is_closed_is_a_share_of_that_between_student_alone_and_teacher(study: Study) -> None:
    rows = {row["name"]: row["cells"]["marks"]["mean"] for row in study.rows("pictures")}
    roles = parts(study, "pictures")
    (one,) = gaps(study, "pictures", roles, {"marks": None})
    expected = 100 * (rows["taught"] - rows["plain"]) / (rows["teacher"] - rows["plain"])
    assert (one["share"] == pytest.approx(expected)) if rows["teacher"] > rows["plain"] else one["share"] is None
    names = ["teacher", "plain", "taught"]
    draw = np.random.default_rng(0)
    sure = Column(names, np.array([[0.9], [0.5], [0.7]]) + draw.normal(0, 0.01, (3, 1000)), [2, 2, 2], 60)
    (one,) = gaps(study, "pictures", roles, {"marks": sure})
    assert 30 < one["low"] < 50 < one["high"] < 70
    unsure = Column(names, np.array([[0.51], [0.5], [0.7]]) + draw.normal(0, 0.1, (3, 1000)), [2, 2, 2], 60)
    (one,) = gaps(study, "pictures", roles, {"marks": unsure})
    assert one["share"] is None
    assert one["why"] == NO_GAP


def test_pairs_are_corrected_for_how_many_they_are() -> None:
    draw = np.random.default_rng(0)
    means = {"a": 0.9, "b": 0.5, "c": 0.5001}
    column = Column(
        list(means), np.array([[m] for m in means.values()]) + draw.normal(0, 0.05, (3, 1000)), [5, 5, 1], 60
    )
    found = {(one["a"], one["b"]): one for one in pairs(column, means)}
    assert set(found) == {("a", "c"), ("a", "b"), ("c", "b")}
    assert found["a", "b"]["p"] < 0.05 < found["c", "b"]["p"]
    assert found["a", "b"]["p"] == pytest.approx(3 * 2 / 1001)
    assert found["a", "c"]["seeds"] == 1


def test_only_what_is_surely_best_is_marked(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def table(n_seeds: int, star: float) -> dict[str, Any]:
        def cell(mean: float) -> dict[str, Any]:
            return {"mean": mean, "n_seeds": n_seeds}

        rows = [
            {"name": name, "cells": {"c": cell(mean)}}
            for name, mean in (("t", 0.95), ("x", 0.9), ("y", 0.8), ("z", 0.7))
        ]
        declared = [{"row": "x", "against": "y", "column": "c", "adjusted_p": star}]
        return {"rows": rows, "columns": [{"key": "c"}], "comparisons": declared}

    roles = {"t": Part(TEACHER), "x": Part(STUDENT), "y": Part(STUDENT), "z": Part(ALONE)}
    draw = np.random.default_rng(0)
    apart = Column(["x", "y", "z"], np.array([[0.9], [0.8], [0.7]]) + draw.normal(0, 0.005, (3, 1000)), [5, 5, 5], 60)
    for seeds, p, expected in (
        (5, 0.01, {("x", "c"): BEST, ("y", "c"): SECOND}),
        (5, 0.2, {("y", "c"): SECOND}),
        (4, 0.01, {}),
    ):
        monkeypatch.setitem(study.tables, "made up", table(seeds, p))
        assert marks(study, "made up", roles, {"c": apart}) == expected
    assert marks(study, "made up", roles, {"c": None}) == {}


def test_curves_count_steps_through_all_stages_and_keep_both_ends(tmp_path: Path) -> None:
    lines = [{"stage": 0, "step": step, "rate": 0.1, "loss": 2.0 - step, "hard": 1.0, "soft": 2.0} for step in range(3)]
    lines += [
        {"stage": 0, "step": 2, "select": 0.5},
        {"stage": 1, "step": 0, "rate": 0.2, "loss": 0.123456, "hint": 1.0},
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = curves(tmp_path / "log.jsonl", 50)
    assert found["loss"]["loss"] == [[0, 2.0], [1, 1.0], [2, 0.0], [3, 0.1235]]
    assert found["loss"]["hint"] == [[3, 1.0]]
    assert found["select"] == [[2, 0.5]]
    assert thinned([(i, i) for i in range(1000)], 5) == [[0, 0], [250, 250], [500, 500], [749, 749], [999, 999]]


def test_confusion_and_calibration_are_what_a_plain_count_gives() -> None:
    from sklearn.metrics import confusion_matrix

    draw = np.random.default_rng(1)
    logits = draw.normal(size=(200, 3))
    labels, predictions = draw.integers(0, 3, 200), logits.argmax(1)
    runs = [replace(said(list(labels), list(predictions)), logits=logits)] * 2
    found = confusion(runs, ["a", "b", "c"])
    assert found is not None
    assert found["counts"] == (2 * confusion_matrix(labels, predictions)).tolist()
    sure = [max(np.exp(row) / np.exp(row).sum()) for row in logits]
    error = 0.0
    for i in range(10):
        inside = [k for k in range(200) if i / 10 <= sure[k] < (i + 1) / 10]
        if inside:
            right = sum(labels[k] == predictions[k] for k in inside) / len(inside)
            error += abs(right - sum(sure[k] for k in inside) / len(inside)) * len(inside) / 200
    calibrated = calibration(runs)
    assert calibrated is not None
    assert calibrated["error"] == pytest.approx(error, abs=1e-4)
    assert calibration([said([0], [0])]) is None
    many = confusion([said([0, 1, 1], [0, 7, 7])], [str(i) for i in range(30)])
    assert many is not None
    assert many["pairs"] == [["1", "7", 2]]


def test_disagreements_are_where_most_seeds_say_another_thing_than_the_teacher() -> None:
    teacher = said([0, 1, 2, 0, 1], [0, 0, 1, 0, 1])
    students = [said([0, 1, 2, 0, 1], p) for p in ([1, 1, 0, 0, 1], [1, 1, 0, 0, 0], [1, 1, 0, 0, 1])]
    found = disagreements(teacher, students, scores=False)
    assert [(one["id"], one["kind"]) for one in found] == [
        ("id 0", TEACHER_RIGHT),
        ("id 1", STUDENT_RIGHT),
        ("id 2", BOTH),
    ]
    assert found[0]["students"] == [1, 1, 1]
    far = disagreements(said([0, 0], [0.1, 0.9]), [said([0, 0], [0.2, 0.1])], scores=True)
    assert [one["id"] for one in far] == ["id 1", "id 0"]
    assert disagreements(said([0], [1]), [said([0, 1], [0, 1])], scores=False) == []


def test_a_config_differs_from_the_row_above_in_what_is_not_the_same() -> None:
    above, here = (
        {"seed": 0, "a": {"b": 1, "gone": None}, "c": [True]},
        {"seed": 1, "a": {"b": 2}, "c": [True], "new": []},
    )
    assert configs.differing(above, here) == [["a.b", "1", "2"], ["new", "", "[]"], ["a.gone", "null", ""]]


def test_commands_are_quoted() -> None:
    for _, command in commands("small", ("pictures", "a row; rm -rf $HOME", "marks")):
        assert "; rm" not in command.replace("'a row; rm -rf $HOME'", "")


def test_speed_is_read_where_somebody_measured_it(made: PublishedStudy, tmp_path: Path) -> None:
    copy = copied(made, tmp_path / "copy")
    study = read(copy.root, STUDY)
    key = copy.node("student", "plain").key
    assert costs.speed(study, key) == []
    (copy.root / "store" / "latency").mkdir()
    file = copy.root / "store" / "latency" / f"{key}.json"
    file.write_text(
        json.dumps({"measurements": [{"variant": "int8", "latency_ms": 2.5, "other": {}}, {"form": "x"}, 3]})
    )
    assert costs.speed(study, key) == [{"form": "int8", "milliseconds": 2.5}]
    file.write_text("no JSON")
    assert costs.speed(study, key) == []


def test_an_export_stands_beside_its_run(made: PublishedStudy, tmp_path: Path) -> None:
    copy = copied(made, tmp_path / "copy")
    study = read(copy.root, STUDY)
    key = copy.node("student", "plain").key
    assert costs.exported(study, key, "accuracy") == []
    file = copy.root / "exports" / f"{key}-int8" / "scores.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"examples": 2, "agree": 0.5, "metrics": {"accuracy": {"run": 0.75, "export": 0.5}}}))
    assert costs.exported(study, key, "accuracy") == [{"form": "int8", "run": 0.75, "export": 0.5, "agree": 0.5}]
    assert costs.exported(study, key, "f1") == []
    file.write_text('{"examples": 2, "agree": 1, "metrics": {"accuracy": {"run": "a"}}}')
    assert costs.exported(study, key, "accuracy") == []
