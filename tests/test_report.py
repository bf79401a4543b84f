"""The report of a study: what it works out, what it leaves out, and that whatever data says stays text in it."""

import base64
import gzip
import hashlib
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_study import BAD_WORDS, hostile_study
from published_study import STUDY, PublishedStudy, copied, publish_study

pytest.importorskip("altair", reason="altair is not installed: `make setup` does")
pytest.importorskip("vl_convert", reason="vl-convert-python is not installed: `make setup` does")

from redistill.errors import IntegrityError, RedistillError
from redistill.report import configs, costs, page
from redistill.report.cells import LEVELS, commands
from redistill.report.content import Report, gather
from redistill.report.curves import curves, thinned
from redistill.report.disagree import BOTH, STUDENT_RIGHT, TEACHER_RIGHT, disagreements
from redistill.report.gap import NO_GAP, gaps
from redistill.report.marks import BEST, SECOND, marks
from redistill.report.pairs import pairs
from redistill.report.reading import Study, read
from redistill.report.rows import ALONE, FLOOR, STUDENT, TEACHER, Part, parts
from redistill.report.said import Said, calibration, confusion
from redistill.report.samples import Column
from redistill.report.write import write


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PublishedStudy:
    return publish_study(tmp_path_factory.mktemp("report") / "project", content=3)


@pytest.fixture(scope="module")
def study(made: PublishedStudy) -> Study:
    return read(made.root, STUDY)


@pytest.fixture(scope="module")
def report(study: Study) -> Report:
    return gather(study)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return gather(read(hostile_study(tmp_path_factory.mktemp("hostile") / "project"), STUDY))


def unpacked(text: str) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(text)))


def said(labels: list[int], predictions: list[int], logits: Any = None) -> Said:
    ids = [f"id {i}" for i in range(len(labels))]
    return Said(ids, np.array(labels), np.array(predictions), logits)


# --- what is worked out ----------------------------------------------------------------------------------------------


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


# --- the page --------------------------------------------------------------------------------------------------------


class Parsed(HTMLParser):
    """The elements of a page, and the texts of its scripts and styles."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inline.append((tag, dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.inline and self.elements[-1][0] in ("script", "style") and self.cdata_elem:
            tag, attributes, text = self.inline[-1]
            self.inline[-1] = (tag, attributes, text + data)


def test_only_its_own_scripts_and_styles_may_run(report: Report) -> None:
    parsed = Parsed(page.one_file(report))
    policy = next(a["content"] or "" for tag, a in parsed.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy
    assert "unsafe" not in policy
    runs = [(tag, text) for tag, attributes, text in parsed.inline if "type" not in attributes]
    assert [tag for tag, _ in runs] == ["style", "script", "script"]
    for _, text in runs:
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy


def test_nothing_in_it_asks_for_anything(report: Report) -> None:
    for tag, attributes in Parsed(page.one_file(report)).elements:
        assert not {"src", "srcset", "style", "action"} & attributes.keys(), tag
        assert not any(name.startswith("on") for name in attributes)
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")


def test_what_data_says_is_text(hostile: Report) -> None:
    text = page.one_file(hostile)
    parsed = Parsed(text)
    for word in BAD_WORDS:
        if "<" in word or '"' in word:
            assert word not in text, word
    assert sum(tag == "script" and "type" not in a for tag, a, _ in parsed.inline) == 2
    assert not any(tag in ("img", "svg") for tag, _ in parsed.elements)
    links = [a["href"] or "" for tag, a in parsed.elements if tag == "a"]
    assert all(re.match(r"#|https?://", link) for link in links)
    everything = json.dumps([unpacked(part) for part in hostile.parts.values()], ensure_ascii=False)
    assert (
        sum(json.dumps(word, ensure_ascii=False)[1:-1] in everything for word in BAD_WORDS) >= 3
    )  # it got there, packed


def test_a_number_opens_what_is_behind_it(report: Report) -> None:
    number = next(
        c
        for c in report.overview["cells"]
        if report.overview["tables"][c["table"]]["rows"][c["row"]]["name"] == "taught"
    )
    shard = unpacked(report.parts[number["shard"]])
    cell = shard["cells"][number["at"]]
    assert cell["row"] == "taught"
    assert [run["seed"] for run in cell["runs"]] == ["0", "1"]
    assert all(run["score"] == pytest.approx(number["mean"], abs=0.5) for run in cell["runs"])
    assert ["stages.0.loss.soft.method", "", "kd"] in cell["differs"]
    assert cell["disagree"]["of"] == 60
    example = cell["disagree"]["examples"][0]
    assert shard["inputs"][f"{cell['disagree']['dataset']} {example['id']}"]["image"].startswith(
        "data:image/png;base64,"
    )
    things = unpacked(report.parts["things"])
    assert cell["key"] in things
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for _, _, digest, _, _ in things.values())


def test_what_has_no_room_is_left_out_and_said(study: Study, report: Report) -> None:
    small = gather(study, room=1)
    assert sum(map(len, small.parts.values())) < sum(map(len, report.parts.values()))
    said = " ".join(small.cut)
    assert f"at most {LEVELS[-1].examples} a number" in said
    assert f"at most {LEVELS[-1].points} points" in said
    assert said.split(".")[0] in page.one_file(small)


def test_without_the_store_the_tables_are_there_and_it_says_so(made: PublishedStudy, tmp_path: Path) -> None:
    copy = copied(made, tmp_path / "clone")
    shutil.rmtree(copy.root / "store")
    text = page.one_file(gather(read(copy.root, STUDY)))
    assert "nothing is in this store" in text
    assert text.count("data-cell=") == 7


def test_what_was_tampered_with_is_refused(made: PublishedStudy, tmp_path: Path) -> None:
    copy = copied(made, tmp_path / "spoilt")
    file = copy.folder("student", "taught") / "predictions.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with pytest.raises(IntegrityError, match=r"predictions\.parquet"):
        gather(read(copy.root, STUDY))


def test_the_same_study_gives_the_same_bytes(made: PublishedStudy, report: Report) -> None:
    assert page.one_file(gather(read(made.root, STUDY))) == page.one_file(report)


def test_as_pages_it_is_several_files(made: PublishedStudy, tmp_path: Path) -> None:
    index, _ = write(made.root, STUDY, folder=tmp_path / "site")
    names = {
        file.relative_to(tmp_path / "site").as_posix() for file in (tmp_path / "site").rglob("*") if file.is_file()
    }
    assert {"index.html", "report.css", "vega.js", "report.js", "data/overview.json", "data/cells-0.json"} <= names
    parsed = Parsed(index.read_text(encoding="utf-8"))
    for _, attributes in parsed.elements:
        if name := attributes.get("src"):
            digest = base64.b64encode(hashlib.sha256((tmp_path / "site" / name).read_bytes()).digest()).decode()
            assert attributes["integrity"] == f"sha256-{digest}"
    write(made.root, STUDY, folder=tmp_path / "site")
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "mine.txt").write_text("mine")
    with pytest.raises(RedistillError, match="holds other things than a report"):
        write(made.root, STUDY, folder=tmp_path / "else")


def test_a_report_is_no_part_of_what_is_published(made: PublishedStudy, tmp_path: Path) -> None:
    from redistill.provenance import published
    from redistill.tables.publish import differences

    copy = copied(made, tmp_path / "copy")
    file, _ = write(copy.root, STUDY)
    assert file == copy.results / "report.html"
    assert file not in published.files(copy.root, STUDY)
    assert differences(copy.root, STUDY, copy.plan.target.folder(copy.root)) == {}


def test_it_says_why_it_cannot_be_written(made: PublishedStudy, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RedistillError, match="cannot be written"):
        write(made.root, STUDY, tmp_path / "file" / "report.html")
    with pytest.raises(RedistillError, match="no study `nothing`"):
        write(made.root, "nothing")
