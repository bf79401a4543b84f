"""GLUE: official files and the hub's give the same rows; folders of the user's; what a study makes of them."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import Project
from glue_folder import TASKS, write_hub, write_official
from nano_study import Nano
from tiny_project import LONGEST, VARIABLE, tiny

from redistill.config.folders import files_of, wanted
from redistill.config.schema import Layout
from redistill.data.fetch import fetch
from redistill.data.prepare import prepare
from redistill.data.readers.glue import glue
from redistill.errors import IntegrityError, RedistillError
from redistill.evaluation.evaluate import evaluate
from redistill.plan import Node, Plan, make_plan
from redistill.tables.make import make_table
from redistill.training.sampler import Batches

SHARED_DATA = os.environ.get("REDISTILL_SHARED_DATA")  # a folder with `glue` and `glue_hub`, the same rows twice
SIZES = {"train": 30, "dev": 12, "test": 8}


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_official_files_and_the_hubs_give_the_same_rows(task, tmp_path):
    write_official(tmp_path / "official", SIZES)
    write_hub(tmp_path / "hub", SIZES)
    official, counted = glue(tmp_path / "official", task=task)
    hub, _ = glue(tmp_path / "hub", task=task)
    assert official == hub
    assert counted["rows"] == sum(map(len, hub.values()))
    for split, examples in official.items():
        assert [example["id"] for example in examples] == [f"{split}-{i}" for i in range(len(examples))]
        assert all((example["label"] is None) == split.startswith("test") for example in examples)


@pytest.mark.skipif(SHARED_DATA is None, reason="REDISTILL_SHARED_DATA names no folder")
@pytest.mark.parametrize("task", ["cola", "sst2", "mrpc", "stsb", "rte"])
def test_real_official_files_and_the_hubs_give_the_same_rows(task):
    official, _ = glue(Path(str(SHARED_DATA)) / "glue", task=task)
    hub, _ = glue(Path(str(SHARED_DATA)) / "glue_hub", task=task)
    assert official == hub


@pytest.mark.skipif(SHARED_DATA is None, reason="REDISTILL_SHARED_DATA names no folder")
def test_mrpc_as_its_own_authors_give_it_out_is_what_glue_made_of_it(tmp_path):
    shutil.copytree(Path(str(SHARED_DATA)) / "glue" / "MRPC", tmp_path / "MRPC")
    as_glue, _ = glue(tmp_path, task="mrpc")
    for split in ("train", "dev", "test"):
        (tmp_path / "MRPC" / f"{split}.tsv").unlink()
    assert glue(tmp_path, task="mrpc")[0] == as_glue


def test_a_split_whose_file_is_not_there_is_not_read_and_without_any_the_folder_is_refused(tmp_path):
    write_official(tmp_path, SIZES)
    (tmp_path / "QQP" / "test.tsv").unlink()
    assert set(glue(tmp_path, task="qqp")[0]) == {"train", "validation"}
    shutil.rmtree(tmp_path / "QQP")
    with pytest.raises(RedistillError, match="no file of GLUE's QQP"):
        glue(tmp_path, task="qqp")


def test_diagnostics_are_found_where_the_official_download_puts_them(tmp_path):
    write_official(tmp_path, SIZES)
    (tmp_path / "AX").rename(tmp_path / "diagnostic")
    assert len(glue(tmp_path, task="ax")[0]["test"]) == SIZES["test"]


def test_broken_lines_of_qqp_are_left_out_and_counted_and_of_others_refused(tmp_path):
    write_official(tmp_path, SIZES)
    for place in ("QQP", "RTE"):
        file = tmp_path / place / "train.tsv"
        lines = file.read_text(encoding="utf-8").split("\n")
        lines.insert(3, "7\tonly this")
        file.write_text("\n".join(lines), encoding="utf-8")
    found, counted = glue(tmp_path, task="qqp")
    assert len(found["train"]) == SIZES["train"]
    assert counted["broken lines, left out as the hub does"] == 1
    with pytest.raises(RedistillError, match=r"RTE/train.tsv, line 4: has 2 columns, not 4"):
        glue(tmp_path, task="rte")


@pytest.mark.parametrize(
    ("task", "file", "old", "new", "said"),
    [
        (
            "rte",
            "RTE/dev.tsv",
            "\tnot_entailment",
            "\tmaybe",
            "the label `maybe` is none of entailment, not_entailment",
        ),
        ("stsb", "STS-B/dev.tsv", "\t0.800", "\thigh", "the score `high` is not a number"),
        ("sst2", "SST-2/dev.tsv", "sentence\tlabel", "text\tlabel", "has no column `sentence`, only text, label"),
        ("cola", "CoLA/dev.tsv", "\t1\t", "\t2\t", "CoLA/dev.tsv, line 2: the label `2` is none of 0, 1"),
    ],
)
def test_what_is_not_as_in_the_official_files_is_refused_with_its_line(task, file, old, new, said, tmp_path):
    write_official(tmp_path, SIZES)
    text = (tmp_path / file).read_text(encoding="utf-8")
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(RedistillError) as refused:
        glue(tmp_path, task=task)
    assert said in str(refused.value)


def test_bytes_that_are_not_utf_8_are_refused(tmp_path):
    write_official(tmp_path, SIZES)
    (tmp_path / "RTE" / "dev.tsv").write_bytes(b"index\tsentence1\tsentence2\tlabel\n0\t\xff\tb\tentailment\n")
    with pytest.raises(RedistillError, match=r"dev.tsv: byte 34 is not UTF-8"):
        glue(tmp_path, task="rte")


# --- preparing --------------------------------------------------------------------------------------------------------


def prepared(folder: Path, work: Path, **splits: Any) -> dict[str, list[Any]]:
    said = {"official": {"train": "train", "dev": "validation"}, "rows": {"train": 30, "validation": 12, "test": 8},
            "select": 0, "sample": False, "at_most": {}, **splits}  # fmt: skip
    config = {"type": "classification", "input": "text", "labels": ["a", "b"], "image_shape": None, "split_seed": 0,
              "reader": {"method": "glue", "settings": {"task": "rte"}}, "splits": said}  # fmt: skip
    work.mkdir()
    prepare(config, {"source": folder}, work)
    return {file.stem: pq.read_table(file).to_pydict()["id"] for file in sorted(work.glob("*.parquet"))}


def test_at_most_draws_so_many_in_the_classes_proportions_and_leaves_other_splits_alone(tmp_path):
    write_official(tmp_path / "glue", SIZES)
    found = prepared(tmp_path / "glue", tmp_path / "work", at_most={"train": 10}, select=4)
    assert {split: len(ids) for split, ids in found.items()} == {"train": 10, "select": 4, "dev": 12}
    assert not set(found["train"]) & set(found["select"])
    assert found["dev"] == [f"validation-{i}" for i in range(12)]
    labels = pq.read_table(tmp_path / "work" / "train.parquet")["label"].to_pylist()
    assert sum(labels) == 5
    again = prepared(tmp_path / "glue", tmp_path / "again", at_most={"train": 10}, select=4)
    assert again == found


def test_more_than_there_is_leaves_the_file_in_its_order(tmp_path):
    write_official(tmp_path / "glue", SIZES)
    found = prepared(tmp_path / "glue", tmp_path / "work", at_most={"train": 1000})
    assert found["train"] == [f"train-{i}" for i in range(30)]


def test_labels_of_a_test_split_are_not_kept_even_if_the_file_has_them(tmp_path):
    write_hub(tmp_path / "hub", SIZES)  # MRPC's parquet has them
    (tmp_path / "work").mkdir()
    said = {"official": {"test": "test"}, "rows": {"test": 8}, "select": 0, "sample": False, "at_most": {}}
    config = {"type": "classification", "input": "text", "labels": ["a", "b"], "image_shape": None, "split_seed": 0,
              "reader": {"method": "glue", "settings": {"task": "mrpc"}}, "splits": said}  # fmt: skip
    prepare(config, {"source": tmp_path / "hub"}, tmp_path / "work")
    table = pq.read_table(tmp_path / "work" / "test.parquet")
    assert table["label"].null_count == table.num_rows == 8


# --- folders ----------------------------------------------------------------------------------------------------------


def test_of_several_ways_to_have_a_split_the_first_whole_one_is_taken(tmp_path):
    layout = Layout(
        folder="glue", splits={"train": ["a/train.tsv", ["a/all.txt", "a/ids.tsv"]], "test": ["a/test.tsv"]}
    )
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "all.txt").touch()
    assert files_of(layout, tmp_path) == {}
    (tmp_path / "a" / "ids.tsv").touch()
    assert files_of(layout, tmp_path) == {"train": ["a/all.txt", "a/ids.tsv"]}
    (tmp_path / "a" / "train.tsv").touch()
    assert files_of(layout, tmp_path) == {"train": ["a/train.tsv"]}
    assert wanted(layout, "train") == "a/train.tsv or a/all.txt and a/ids.tsv"


@pytest.fixture
def small(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose study glue-small finds a folder with every task."""
    write_official(tmp_path / "glue", SIZES)
    monkeypatch.setenv("GLUE_DIR", str(tmp_path / "glue"))
    return project


def of_kind(plan: Plan, kind: str, title: str = "") -> list[Node]:
    return [node for node in plan.nodes.values() if node.kind == kind and node.title.startswith(title)]


def test_every_task_of_a_folder_is_planned_and_its_content_is_in_the_key(small, tmp_path):
    plan = make_plan(small.root, "glue-small")
    assert not plan.checked.no_data
    before = {node.title: node.key for node in plan.nodes.values()}
    file = tmp_path / "glue" / "RTE" / "train.tsv"
    file.write_text(file.read_text(encoding="utf-8").replace("rte train 0", "rte train zero"), encoding="utf-8")
    after = {node.title: node.key for node in make_plan(small.root, "glue-small").nodes.values()}
    changed = {title for title in before if before[title] != after[title]}
    assert {"glue-rte", "glue/rte", "glue-small/teacher · glue/rte · seed 0", "glue-small"} <= changed
    assert not any("cola" in title or "mrpc" in title for title in changed if "agnostic" not in title and
                   "hidden" not in title and "relations" not in title)  # fmt: skip


def test_where_the_folder_lies_is_in_no_key(small, tmp_path, monkeypatch):
    before = set(make_plan(small.root, "glue-small").nodes)
    shutil.copytree(tmp_path / "glue", tmp_path / "elsewhere")
    monkeypatch.setenv("GLUE_DIR", str(tmp_path / "elsewhere"))
    assert set(make_plan(small.root, "glue-small").nodes) == before


def test_a_task_that_the_folder_lacks_has_no_data_and_the_pool_goes_without_it(small, tmp_path):
    shutil.rmtree(tmp_path / "glue" / "WNLI")
    (tmp_path / "glue" / "QNLI" / "dev.tsv").unlink()
    plan = make_plan(small.root, "glue-small")
    assert plan.checked.no_data == {"glue/wnli": "no WNLI/train.tsv", "glue-small/qnli": "no QNLI/dev.tsv"}
    (pool,) = of_kind(plan, "dataset", "glue-small/texts")
    assert "glue/wnli" not in pool.inputs
    assert "glue/rte" in pool.inputs
    assert not [node for node in plan.nodes.values() if "wnli" in node.title or "qnli" in node.title]
    (table,) = of_kind(plan, "table")
    assert {c["task"] for c in table.config["columns"] if c["no_data"]} == {"glue/wnli", "glue-small/qnli"}


@pytest.mark.parametrize("spoil", ["unset", "gone", "empty"])
def test_a_folder_that_is_not_there_is_said_with_the_way_out(small, tmp_path, monkeypatch, spoil):
    if spoil == "unset":
        monkeypatch.delenv("GLUE_DIR")
    else:
        monkeypatch.setenv("GLUE_DIR", str(tmp_path / "empty"))
    if spoil == "empty":
        (tmp_path / "empty").mkdir()
    said = "\n".join(map(str, small.problems("glue-small")))
    assert {"unset": "GLUE_DIR is not set: let it name the folder `glue`", "gone": "there is no folder",
            "empty": "has no data for any of them (no CoLA/train.tsv)"}[spoil] in said  # fmt: skip


def test_files_of_a_folder_are_copied_and_refused_if_they_changed_since(small, tmp_path):
    (node,) = of_kind(make_plan(small.root, "glue-small"), "data", "glue-rte")
    (tmp_path / "work").mkdir()
    fetch(node.config, dict(node.given), tmp_path / "work")
    assert (tmp_path / "work" / "RTE" / "train.tsv").is_file()
    file = tmp_path / "glue" / "RTE" / "train.tsv"
    file.write_text(file.read_text(encoding="utf-8") + "more", encoding="utf-8")
    (tmp_path / "again").mkdir()
    with pytest.raises(IntegrityError, match=r"RTE/train.tsv: SHA-256"):
        fetch(node.config, dict(node.given), tmp_path / "again")
    file.unlink()
    with pytest.raises(RedistillError, match="was there when this was planned, and is gone"):
        fetch(node.config, dict(node.given), tmp_path / "again")


def test_a_folder_that_no_source_is_read_from_is_refused(small):
    small.edit("studies/glue-small.yaml", "glue: {variable: GLUE_DIR}", "gluee: {variable: GLUE_DIR}")
    assert any("no source is read from such a folder" in str(problem) for problem in small.problems("glue-small"))


# --- MNLI's mismatched set, and the score -----------------------------------------------------------------------------


def test_the_mismatched_set_is_read_by_the_runs_of_mnli_and_nothing_is_trained_on_it(small):
    plan = make_plan(small.root, "glue-small")
    runs = {node.key for node in plan.nodes.values() if node.area == "runs" and "glue-small/mnli " in node.title}
    (cell,) = of_kind(plan, "cell", "glue-small/student-kd · glue-small/mnli-mm")
    outputs = [plan.nodes[key] for role, key in cell.inputs.items() if role != "dataset"]
    assert len(outputs) == 3
    assert {node.inputs["teacher"] for node in outputs} <= runs
    assert {node.inputs["dataset"] for node in outputs} == {cell.inputs["dataset"]}
    assert not [n for n in plan.nodes.values() if n.kind in ("student", "teacher") and "mnli-mm" in n.title]


def test_a_task_read_by_anothers_runs_must_be_like_it(small):
    small.edit(
        "tasks/glue/mnli-mm.yaml", "title: MNLI-mm", "title: MNLI-mm\nlabels: [neutral, entailment, contradiction]"
    )
    assert any("differs from that of `glue-small/mnli`" in str(problem) for problem in small.problems("glue-small"))


def cell(store: Path, key: str, values: list[float]) -> Path:
    folder = store / "results" / key
    folder.mkdir(parents=True)
    scores = {f"seed {i}": {"value": value, "examples": 10} for i, value in enumerate(values)}
    metrics = {"metric": "accuracy", "runs": {role: f"run-{key}-{role}" for role in scores}, "dev": scores}
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    return folder


def test_the_score_is_the_mean_over_tasks_with_mnli_as_one_and_needs_all_of_them(tmp_path):
    values = {"cola": [0.5, 0.6], "m": [0.8, 0.9], "mm": [0.6, 0.5]}
    inputs = {f"row:{task}": cell(tmp_path / "store", task, found) for task, found in values.items()}
    del inputs["row:mm"]
    inputs["row:mm"] = tmp_path / "store" / "results" / "mm"
    row = {"experiment": "row", "tasks": list(values), "seeds": [0, 1], "label": "Row", "notes": {}, "trials": 1,
           "fixed": False, "selected_on_dev": False}  # fmt: skip
    column = {"metric": "accuracy", "source": "somebody", "sample": {}, "mark": None}
    columns = [{**column, "task": task, "title": task, "no_data": False} for task in values]
    columns.append({**column, "task": "wnli", "title": "wnli", "no_data": True})
    means = {"score": {"title": "Score", "tasks": ["cola", ["m", "mm"]]},
             "all": {"title": "All", "tasks": ["cola", "wnli"]}}  # fmt: skip
    config = {"name": "t", "title": "T", "study": "s", "columns": columns, "rows": [row], "comparisons": [],
              "order": "written", "means": means}  # fmt: skip
    (tmp_path / "work").mkdir()
    make_table(config, inputs, tmp_path / "work")
    cells = json.loads((tmp_path / "work" / "t.json").read_text(encoding="utf-8"))["rows"][0]["cells"]
    expected = [(0.5 + 0.7) / 2, (0.6 + 0.7) / 2]
    assert cells["score"]["mean"] == pytest.approx(sum(expected) / 2)
    assert cells["score"]["n_seeds"] == 2
    assert cells["all"] is None
    text = (tmp_path / "work" / "t.md").read_text(encoding="utf-8")
    assert text.count("no data") == 2


def test_a_cell_of_anothers_runs_measures_their_logits_against_its_own_labels(tmp_path):
    import pyarrow as pa

    for name in ("outputs", "dataset", "work"):
        (tmp_path / name).mkdir()
    ids = [f"validation-{i}" for i in range(11)]  # in the order of the file, which is not that of the letters
    pq.write_table(pa.table({"id": ids, "label": [i % 2 for i in range(11)]}), tmp_path / "dataset" / "dev.parquet")
    logits = np.array([[1.0, 0.0] if i % 2 == 0 else [0.0, 1.0] for i in range(11)], dtype=np.float32)
    logits[10] = [0.0, 1.0]
    np.save(tmp_path / "outputs" / "logits.npy", logits)
    evaluate(
        {"metric": "accuracy"}, {"seed 0": tmp_path / "outputs", "dataset": tmp_path / "dataset"}, tmp_path / "work"
    )
    found = json.loads((tmp_path / "work" / "metrics.json").read_text(encoding="utf-8"))
    assert found["dev"]["seed 0"] == {"value": pytest.approx(10 / 11), "examples": 11}
    assert found["dataset"] == "dataset"


# --- a whole study ----------------------------------------------------------------------------------------------------

STUDY = """
title: tiny-glue
runtime: {portable: true}
folders: {glue: {path: ../glue}}
tables:
  dev:
    title: GLUE, tiny
    tasks: [tiny-glue/rte, tiny-glue/mnli, tiny-glue/mnli-mm, tiny-glue/stsb, glue/wnli]
    seeds: [0]
    rows:
      - {experiment: text/majority}
      - {experiment: tiny/teacher}
      - {experiment: tiny/student, seeds: [0, 1], set: {stages.0.at_most: 10}, name: student}
    means:
      score: {title: Score, tasks: [tiny-glue/rte, [tiny-glue/mnli, tiny-glue/mnli-mm], tiny-glue/stsb]}
      all: {title: All, tasks: [tiny-glue/rte, glue/wnli]}
    marks: {tiny-glue/rte: entailment was seen}
    comparisons: [{row: student, against: tiny/teacher}]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nano]:
    """A study of a folder without WNLI, made by Snakemake."""
    folder = tmp_path_factory.mktemp("tiny-glue")
    write_official(folder / "glue", SIZES)
    shutil.rmtree(folder / "glue" / "WNLI")
    project = tiny(folder / "project", folder / "sources")
    tasks = project.root / "configs" / "tasks" / "tiny-glue"
    tasks.mkdir()
    for name in ("rte", "mnli", "mnli-mm", "stsb"):
        more = "model_of: tiny-glue/mnli\n" if name == "mnli-mm" else ""
        text = f"extends: ../glue/{name}\n{more}splits: {{sample: true}}\n"
        (tasks / f"{name}.yaml").write_text(text, encoding="utf-8")
    (project.root / "configs" / "studies" / "tiny-glue.yaml").write_text(STUDY, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(folder / "sources"))
        done = project.snakemake("--cores", "2", "--config", "study=tiny-glue")
        assert done.returncode == 0, done.stderr
        yield project


@pytest.mark.slow
def test_a_study_of_a_folder_is_made_whole(made):
    results = made.root / "results" / "tiny-glue"
    table = json.loads((results / "dev.json").read_text(encoding="utf-8"))
    rows = {row["name"]: row["cells"] for row in table["rows"]}
    for name in ("text/majority", "tiny/teacher", "student"):
        cells = rows[name]
        assert cells["glue/wnli"] is cells["all"] is None
        mnli = (cells["tiny-glue/mnli"]["mean"] + cells["tiny-glue/mnli-mm"]["mean"]) / 2
        score = (cells["tiny-glue/rte"]["mean"] + mnli + cells["tiny-glue/stsb"]["mean"]) / 3
        assert cells["score"]["mean"] == pytest.approx(score, abs=2e-6)
    assert rows["student"]["score"]["n_seeds"] == 2
    text = (results / "dev.md").read_text(encoding="utf-8")
    assert text.count("no data") == 6
    assert "† RTE: entailment was seen" in text
    assert "The source holds a part of the published rows: RTE" in text
    assert f"Texts cut at {LONGEST} tokens: " in text
    assert {c["column"] for c in table["comparisons"]} == {f"tiny-glue/{n}" for n in ("rte", "mnli", "mnli-mm", "stsb")}


@pytest.mark.slow
def test_it_is_found_made_and_audited_and_a_changed_file_reaches_its_task_alone(made):
    again = made.snakemake("-n", "--config", "study=tiny-glue")
    assert "Nothing to be done" in again.stdout + again.stderr
    audited = made.redistill("audit", "tiny-glue", "--column", "tiny-glue/mnli-mm", "--level", "replay")
    assert audited.returncode == 0, audited.stderr
    whole = made.redistill("audit", "tiny-glue", "--level", "recompute")
    assert whole.returncode == 0, whole.stderr + whole.stdout
    file = made.root.parent / "glue" / "RTE" / "train.tsv"
    before = file.read_bytes()
    file.write_bytes(before.replace(b"train 1", b"train one", 1))
    planned = made.redistill("plan", "tiny-glue").stdout
    file.write_bytes(before)
    to_make = [line for line in planned.splitlines() if "  to make " in line]
    assert any("tiny/student" in line and "rte" in line for line in to_make)
    assert not [line for line in to_make if "mnli" in line or "stsb" in line]


@pytest.mark.parametrize("at_most", [None, 10, 1000])
def test_at_most_so_many_examples_are_the_same_for_every_seed_and_each_comes_once_an_epoch(at_most):
    lengths = np.arange(57)
    seen = []
    for seed in (0, 1):
        batches = Batches(lengths, 4, seed, at_most)
        taken = [next(batches) for _ in range(2 * -(-min(57, at_most or 57) // 4))]
        half = len(taken) // 2
        for epoch in (taken[:half], taken[half:]):
            seen.append(np.sort(np.concatenate(epoch)).tolist())
    assert all(epoch == seen[0] for epoch in seen)
    assert len(set(seen[0])) == len(seen[0]) == min(57, at_most or 57)
    if at_most == 10:
        assert seen[0] != list(range(10))
