"""Submissions as a study has them: planned, zipped from logits, recorded, and set beside what was published."""

import json
import zipfile
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Project
from glue_folder import write_official
from typer.testing import CliRunner

from redistill.cli import app
from redistill.config import schema
from redistill.config.check import recorded_scores
from redistill.data.pin import pin
from redistill.errors import RedistillError
from redistill.evaluation.submission import LABELS, SIZES
from redistill.evaluation.submit import record, submit
from redistill.plan import make_plan
from redistill.tables.scores import make_scores

SCORES = {
    "CoLA": 52.1, "SST-2": 93.5, "MRPC": {"f1": 88.9, "accuracy": 84.8}, "STS-B": {"pearson": 87.1, "spearman": 85.8},
    "QQP": {"f1": 71.2, "accuracy": 89.2}, "MNLI-m": 84.6, "MNLI-mm": 83.4, "QNLI": 90.5, "RTE": 66.4, "WNLI": 65.1,
    "AX": 34.2,
}  # fmt: skip


def test_the_files_of_the_language_are_those_of_a_submission():
    assert set(get_args(schema.SubmittedFile)) == set(SIZES)


# --- planned ----------------------------------------------------------------------------------------------------------


def test_the_papers_study_plans_27_runs_a_seed_and_every_test_set(project):
    plan = make_plan(project.root, "paper")
    runs = {
        run.key for run in plan.runs if run.experiment in ("glue/bert-large", "glue/bert-base", "glue/bert-base-kd")
    }
    assert len(runs) == 27
    (submission,) = [n for n in plan.nodes.values() if n.title == "submission bert-base-kd"]
    assert set(submission.config["files"]) == set(SIZES)
    ax, mm, m = (plan.nodes[submission.inputs[name]] for name in ("AX", "MNLI-mm", "MNLI-m"))
    assert ax.inputs["teacher"] == mm.inputs["teacher"] == m.inputs["teacher"]
    assert len({node.inputs["dataset"] for node in (ax, mm, m)}) == 3
    for name, said in submission.config["files"].items():
        assert set(said["labels"]) == set(LABELS.get(name, {}))


def test_a_test_set_is_in_no_run(project):
    plan = make_plan(project.root, "paper")
    tests = {n.key for n in plan.nodes.values() if n.kind == "dataset" and n.title.endswith(" · test")}
    assert len(tests) == 11
    assert not [n for n in plan.nodes.values() if n.area == "runs" and set(n.inputs.values()) & tests]


def test_checkpoints_as_published_are_evaluated_and_nothing_is_trained(project):
    plan = make_plan(project.root, "published")
    runs = [node for node in plan.nodes.values() if node.area == "runs"]
    assert len(runs) == 27
    assert all(node.config["stages"] == [] for node in runs)
    assert len({node.inputs["start"] for node in runs}) == 27


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (", glue/wnli,\n            glue/ax]\n    published: [bert-large,", "]\n    published: [bert-large,",
         "none of them is submitted as WNLI, AX: the server takes whole submissions alone"),
        ("published: [bert-base-kd]", "published: [bert-base-dk]", "no published row `bert-base-dk`"),
        ("    experiment: glue/bert-base-kd\n", "    experiment: text/majority\n", "is a baseline, whose"),
        ("glue/ax]\n    published: [bert-base-kd]", "glue/ax, movie]\n    published: [bert-base-kd]",
         "`movie` has no `test` split"),
        ("glue/ax]\n    published: [bert-base-kd]", "glue/ax, glue/wnli]\n    published: [bert-base-kd]",
         "is submitted as WNLI, like `glue/wnli`"),
    ],
)  # fmt: skip
def test_a_submission_that_the_server_would_not_take_is_refused_when_the_study_is_checked(project, old, new, said):
    project.edit("studies/paper.yaml", old, new)
    assert any(said in str(problem) for problem in project.problems("paper")), project.problems("paper")


# --- made -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Path]]:
    """What models say of every test set, at full size."""
    folder, generator = tmp_path_factory.mktemp("outputs"), np.random.Generator(np.random.PCG64(0))
    inputs, files = dict[str, Path](), dict[str, Any]()
    for name, size in SIZES.items():
        labels = list(LABELS.get(name, {}))
        files[name] = {"labels": labels}
        for part in (name, f"{name} examples"):
            inputs[part] = folder / part
            inputs[part].mkdir()
        logits = generator.normal(size=(size, max(1, len(labels)))).astype(np.float32)
        np.save(inputs[name] / "logits.npy", logits * (1 if labels else 4))
        ids = [f"test-{i}" for i in range(size)]
        pq.write_table(pa.table({"id": ids}), inputs[f"{name} examples"] / "test.parquet")
    return {"files": files}, inputs


def test_every_line_is_the_class_of_the_largest_logit_of_that_example(outputs, tmp_path):
    config, inputs = outputs
    counted = submit(config, inputs, tmp_path)
    assert counted == SIZES
    with zipfile.ZipFile(tmp_path / "submission.zip") as archive:
        for name in ("MNLI-mm", "QNLI", "STS-B"):
            said = [line.split("\t") for line in archive.read(f"{name}.tsv").decode().splitlines()[1:]]
            logits = np.load(inputs[name] / "logits.npy")
            assert [int(index) for index, _ in said] == list(range(SIZES[name]))
            if name == "STS-B":
                assert [float(score) for _, score in said] == pytest.approx(logits[:, 0].clip(0, 5).tolist(), abs=6e-4)
            else:
                assert [word for _, word in said] == [config["files"][name]["labels"][i] for i in logits.argmax(1)]


def test_a_submission_without_a_file_is_not_written(outputs, tmp_path):
    config, inputs = outputs
    files = {name: said for name, said in config["files"].items() if name != "QQP"}
    with pytest.raises(RedistillError, match="QQP: there are no predictions"):
        submit({"files": files}, inputs, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_examples_in_another_order_than_the_official_files_are_refused(outputs, tmp_path):
    config, inputs = outputs
    ids = [f"test-{i}" for i in reversed(range(SIZES["RTE"]))]
    pq.write_table(pa.table({"id": ids}), tmp_path / "test.parquet")
    with pytest.raises(RedistillError, match="RTE: its test examples are not in the order of the official file"):
        submit(config, inputs | {"RTE examples": tmp_path}, tmp_path)


# --- recorded ---------------------------------------------------------------------------------------------------------


def the_row(project: Project) -> dict[str, Any]:
    plan = make_plan(project.root, "paper")
    (node,) = [n for n in plan.nodes.values() if n.kind == "scores"]
    return next(row for row in node.config["rows"] if row["name"] == "bert-base-kd")


def recorded(project: Project, key: str, tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text(json.dumps(SCORES), encoding="utf-8")
    record(recorded_scores(project.root, "paper", "bert-base-kd"), tmp_path / "scores.json", key)


def test_scores_stand_in_the_table_once_they_are_recorded_and_only_for_that_submission(project, tmp_path):
    plan = make_plan(project.root, "paper")
    (submission,) = [n for n in plan.nodes.values() if n.title == "submission bert-base-kd"]
    assert the_row(project)["recorded"] is None
    recorded(project, "0" * 16, tmp_path)  # of a submission that other runs made
    assert the_row(project)["recorded"] is None
    recorded(project, submission.key, tmp_path)
    assert the_row(project)["recorded"] == SCORES


def test_a_test_column_is_empty_until_then_and_published_numbers_are_marked(project, tmp_path):
    plan = make_plan(project.root, "paper")
    (node,) = [n for n in plan.nodes.values() if n.kind == "scores"]
    made = []
    for rows in (node.config["rows"], [{**row, "recorded": SCORES} for row in node.config["rows"]]):
        work = tmp_path / str(len(made))
        work.mkdir()
        make_scores({**node.config, "rows": rows}, dict.fromkeys(node.inputs, tmp_path), work)
        made.append((work / "submissions.md").read_text(encoding="utf-8").splitlines())
        assert (work / "submissions.tex").is_file()
    empty, full = ([line for line in lines if "BERT-Base distilled" in line] for lines in made)
    assert set(empty[0].split("|")[2:-1]) == {"  "}
    assert empty[1] == full[1]
    assert empty[1].startswith("| published: BERT-Base distilled, Matsubara 2023 | 57.0 | 93.7 |")
    assert "| 52.1 | 93.5 | 88.9 / 84.8 | 87.1 / 85.8 | 71.2 / 89.2 | 84.6 |" in full[0]
    score = (52.1 + 93.5 + 86.85 + 86.45 + 80.2 + 84.0 + 90.5 + 66.4 + 65.1) / 9
    assert full[0].rstrip(" |").split("| ")[-2].strip() == f"{score:.1f}"
    assert "its STS-B is P-S Corr." in made[0][-1]


def test_the_command_names_what_there_is(project, monkeypatch, tmp_path):
    monkeypatch.chdir(project.root)
    runner = CliRunner()
    for arguments, said in (
        (["submit", "embedded"], "the study `embedded` has no `submissions`"),
        (
            ["submit", "paper", "bert-small"],
            "no submission `bert-small`; there are bert-large, bert-base, bert-base-kd",
        ),
        (["submit", "paper", "--record", "scores.json"], "say of which submission these are the scores"),
        (["submit", "paper", "bert-base", "--record", "scores.json"], "scores.json: cannot be read"),
    ):
        found = runner.invoke(app, arguments)
        assert isinstance(found.exception, RedistillError)
        assert said in str(found.exception)
    (tmp_path / "scores.json").write_text(json.dumps(SCORES), encoding="utf-8")
    found = runner.invoke(app, ["submit", "paper", "bert-base", "--record", str(tmp_path / "scores.json")])
    assert found.exit_code == 0
    assert "configs/recorded/paper/bert-base.json" in found.stdout


# --- pinned -----------------------------------------------------------------------------------------------------------


def test_pinning_writes_the_commit_where_it_was_missing_and_nothing_else(project, monkeypatch):
    asked = []
    monkeypatch.setattr("redistill.data.pin._newest", lambda repository, form: asked.append(repository) or "a" * 40)
    before = project.file("sources.yaml").read_text(encoding="utf-8")
    found = pin(project.root, ["published-bert-base-rte", "bert-base-uncased"])
    after = project.file("sources.yaml").read_text(encoding="utf-8")
    assert asked == ["yoshitomo-matsubara/bert-base-uncased-rte"]
    assert found == {"published-bert-base-rte": "a" * 40}
    changed = [(x, y) for x, y in zip(before.splitlines(), after.splitlines(), strict=True) if x != y]
    assert changed == [("    revision: unpinned", f"    revision: {'a' * 40}")]
    assert len(pin(project.root, [])) == 26
    assert "revision: unpinned" not in project.file("sources.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "said"), [("nobody", "there is no source `nobody`"), ("vader", "is not of the hub")])
def test_what_cannot_be_pinned_is_said(project, name, said):
    with pytest.raises(RedistillError, match=said):
        pin(project.root, [name])


def test_a_source_that_nobody_has_pinned_is_not_fetched(project, tmp_path):
    from redistill.data.fetch import fetch

    plan = make_plan(project.root, "published")
    (node,) = [n for n in plan.nodes.values() if n.title == "published-bert-large-rte"]
    with pytest.raises(RedistillError, match="`redistill pin` asks the hub"):
        fetch(node.config, {}, tmp_path)


def test_a_test_set_that_the_folder_lacks_is_said_when_the_study_is_checked(project, tmp_path, monkeypatch):
    write_official(tmp_path / "glue", {"train": 30, "dev": 12, "test": 8})
    monkeypatch.setenv("GLUE_DIR", str(tmp_path / "glue"))
    project.edit("studies/paper.yaml", "tables:", "folders: {glue: {variable: GLUE_DIR}}\ntables:")
    assert project.problems("paper") == []
    (tmp_path / "glue" / "QQP" / "test.tsv").unlink()
    problems = {str(problem).partition(": ")[2] for problem in project.problems("paper")}
    assert {problem.partition(": ")[2] for problem in problems} == {
        "the folder that the study names has no QQP/test.tsv"
    }


@pytest.mark.parametrize("written", ["paper", "configs/studies/paper.yaml", "./configs/studies/paper.yaml"])
def test_a_study_may_be_named_by_its_file(project, monkeypatch, written):
    monkeypatch.chdir(project.root)
    found = CliRunner().invoke(app, ["submit", written, "bert-small"])
    assert "the study has no submission `bert-small`" in str(found.exception)
