"""What changed between two states of a study, or since it was made: the causes, and only the cells that they reach."""

import dataclasses
import json
import math
import shutil
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import SOURCES
from published_study import STUDY, PublishedStudy, copied
from questioned import PLAIN, TAUGHT, TEXTS, Cells, command, committed, edit, git, remake

import redistill.plan as planner
from redistill.changes import ABSENT, changes
from redistill.errors import RedistillError
from redistill.plan import make_plan
from redistill.provenance.store import sha256_file
from redistill.questions import shown
from redistill.questions.diff import Differences, compare
from redistill.questions.sides import between
from redistill.questions.stale import stale
from redistill.questions.state import as_planned, as_published
from redistill.questions.used_by import used_by
from redistill.questions.why import why


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PublishedStudy:
    """A published study in git; not to be changed."""
    return committed(tmp_path_factory.mktemp("study") / "project")


@pytest.fixture
def study(made: PublishedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PublishedStudy:
    """A copy of it, to be changed, in which one stands."""
    study = copied(made, tmp_path / "project")
    monkeypatch.chdir(study.root)
    return study


def reached(found: Differences) -> Cells:
    return {" / ".join(place) for place in found.changed}


def beside(found: Differences) -> list[Any]:
    """What differs beside cells that have another key."""
    return [*found.appeared, *found.vanished, *found.moved, *found.unexplained, *found.edited]


def causes(found: Differences) -> dict[tuple[str, str], Cells]:
    """Kind and name of each cause, with the cells that it reaches."""
    return {
        (cause.kind, cause.name): {" / ".join(place) for place in group.cells}
        for group in found.groups
        for cause in group.causes
        if group.cells
    }


# --- one change, and the cells that it reaches -----------------------------------------------------------------------


def loss_file(study: PublishedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a line of the loss were another; a real edit is tried below."""
    before = planner.fingerprint
    other = {"redistill.distill.kd": "0123456789abcdef" * 4}
    monkeypatch.setattr(
        planner, "fingerprint", lambda modules: {m: other.get(m, d) for m, d in before(modules).items()}
    )


def data_row(study: PublishedStudy, _: pytest.MonkeyPatch) -> None:
    file = study.root / "fetched" / "words" / "dev.parquet"
    old, table = sha256_file(file), pq.read_table(file)
    texts = table["text"].to_pylist()
    texts[7] = f"{texts[7]} great"
    pq.write_table(table.set_column(0, "text", [texts]), file)
    edit(study, "sources.yaml", old, sha256_file(file))


def package(_: PublishedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    before = planner.versions
    other = {"tokenizers": "99.0"}
    monkeypatch.setattr(planner, "versions", lambda names: {n: other.get(n, v) for n, v in before(names).items()})


def seed(study: PublishedStudy, _: pytest.MonkeyPatch) -> None:
    edit(study, "studies/small.yaml", "seeds: [0, 1]", "seeds: [0, 1, 5]")


def setting(study: PublishedStudy, _: pytest.MonkeyPatch) -> None:
    edit(study, "experiments/taught.yaml", "temperature: 4.0", "temperature: 2.0")


Change = Callable[[PublishedStudy, pytest.MonkeyPatch], None]
CHANGES: list[tuple[Change, tuple[str, str], Cells]] = [
    (loss_file, ("code", "redistill.distill.kd"), {TAUGHT}),
    (data_row, ("data", "words: file dev.parquet"), TEXTS),
    (package, ("environment", "tokenizers"), {"texts / reader / words"}),
    (seed, ("seed", "seed 5"), {PLAIN, TAUGHT}),
    (setting, ("config", "stages.0.loss.soft.settings.temperature"), {TAUGHT}),
]


@pytest.mark.parametrize(("change", "cause", "cells"), CHANGES, ids=[change.__name__ for change, *_ in CHANGES])
def test_one_change_is_named_with_the_cells_that_it_reaches_and_no_other(
    study: PublishedStudy, monkeypatch: pytest.MonkeyPatch, change: Change, cause: tuple[str, str], cells: Cells
) -> None:
    assert stale(study.root, STUDY).same
    change(study, monkeypatch)
    found = stale(study.root, STUDY)
    assert reached(found) == cells
    assert causes(found) == {cause: cells}
    assert not beside(found)

    remake(study)
    assert stale(study.root, STUDY).same
    found = between(study.root, "HEAD", ".", STUDY)
    assert reached(found) == cells
    assert causes(found) == {cause: cells}
    assert not beside(found)
    assert all(cell.old and cell.new for cell in found.changed.values())
    untouched = found.old.numbers.keys() - found.changed.keys()
    assert all(found.old.numbers[place] == found.new.numbers[place] for place in untouched)


def test_a_loss_file_that_was_edited_is_named_and_a_comment_in_it_is_nothing(
    study: PublishedStudy, python: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    src = tmp_path / "src"
    shutil.copytree(SOURCES, src, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    file = src / "redistill" / "distill" / "kd.py"
    text = file.read_text(encoding="utf-8")
    file.write_text(f"# said otherwise\n{text}", encoding="utf-8")
    done = python("-m", "redistill", "stale", STUDY, cwd=study.root, src=src)
    assert done.returncode == 0, done.stdout + done.stderr
    head, separator, tail = text.rpartition("    return ")
    file.write_text(f"{head}    added = None\n{separator}{tail}", encoding="utf-8")
    done = python("-m", "redistill", "stale", STUDY, "--json", cwd=study.root, src=src)
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert set(found["changed"]) == {TAUGHT}
    (group,) = found["groups"]
    assert [(cause["kind"], cause["name"]) for cause in group["causes"]] == [("code", "redistill.distill.kd")]


def test_a_changed_value_is_told_with_its_place_and_what_would_be_made(study: PublishedStudy) -> None:
    edit(study, "experiments/taught.yaml", "temperature: 4.0", "temperature: 2.0")
    code, text = command("stale", STUDY)
    assert code == 1
    line = next(
        number
        for number, said in enumerate((study.root / "configs/experiments/taught.yaml").read_text().splitlines(), 1)
        if "temperature" in said
    )
    assert f"temperature: 4.0 -> 2.0  (taught)  configs/experiments/taught.yaml:{line}" in text
    assert "1 of 7 cells is stale; 2 runs would be made" in text
    assert TAUGHT in text
    assert PLAIN not in text


def test_nothing_stale_is_exit_code_0_and_a_store_that_is_gone_is_not_stale(study: PublishedStudy) -> None:
    shutil.rmtree(study.root / "store")
    code, text = command("stale", STUDY)
    assert code == 0
    assert "nothing is stale" in text
    code, text = command("stale", STUDY, "--json")
    assert code == 0
    assert json.loads(text)["same"] is True


def test_a_broken_config_is_said_as_everywhere(
    study: PublishedStudy, python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    edit(study, "experiments/taught.yaml", "method: kd", "method: kdd")
    done = python("-m", "redistill", "stale", STUDY, cwd=study.root)
    assert done.returncode == 2
    assert "configs/experiments/taught.yaml:" in done.stderr
    assert "no loss `kdd`; did you mean `kd`?" in done.stderr
    assert "Traceback" not in done.stderr


def test_words_of_a_table_are_stale_and_no_number_is(study: PublishedStudy) -> None:
    edit(study, "experiments/taught.yaml", "label: Taught", "label: Pupil")
    found = stale(study.root, STUDY)
    assert not found.changed
    assert not found.same
    (group,) = found.groups
    assert group.tables == ("pictures",)
    assert [cause.name for cause in group.causes] == ["rows.taught.label"]
    assert "what is written in table pictures" in shown.in_text(found)


def test_a_teacher_that_changes_reaches_what_learns_from_it(study: PublishedStudy) -> None:
    edit(study, "experiments/teacher.yaml", "stages.0.steps: 20", "stages.0.steps: 21")
    found = stale(study.root, STUDY)
    cells = {"pictures / teacher / marks", TAUGHT}
    assert causes(found) == {("config", "stages.0.steps"): cells}
    (group,) = found.groups
    assert list(group.causes.values()) == [("teacher",)]
    assert found.remade == {"cell": 2, "outputs": 2, "run": 3}


def test_another_teacher_is_an_input_and_not_the_difference_between_the_two(study: PublishedStudy) -> None:
    edit(study, "experiments/taught.yaml", "{experiment: teacher}", "{experiment: plain}")
    found = stale(study.root, STUDY)
    assert causes(found) == {("input", "teacher of taught"): {TAUGHT}}
    (cause,) = found.groups[0].causes
    assert str(cause) == "teacher of taught: run teacher -> run plain"


def test_another_point_of_a_grid_is_named_by_what_it_tries(study: PublishedStudy) -> None:
    edit(study, "studies/small.yaml", "grid: [1.0e-3, 1.0e-2]", "grid: [1.0e-3, 2.0e-2]")
    found = stale(study.root, STUDY)
    assert reached(found) == {"tuned / tuned / marks"}
    assert {kind for kind, _ in causes(found)} == {"config"}
    assert any("0.02" in cause.new for group in found.groups for cause in group.causes)
    edit(study, "studies/small.yaml", "seeds: [7]", "seeds: [7, 8]")
    assert ("seed", "seed 8") in causes(stale(study.root, STUDY))


def test_rows_that_appear_vanish_or_are_renamed(study: PublishedStudy) -> None:
    edit(study, "studies/small.yaml", "- {experiment: teacher, seeds: [0]}", "- {experiment: teacher, seeds: [1]}")
    assert causes(stale(study.root, STUDY)).keys() == {("seed", "seed 0"), ("seed", "seed 1")}
    edit(study, "studies/small.yaml", "- {experiment: teacher, seeds: [1]}", "- {experiment: floor, name: ground}")
    edit(
        study,
        "studies/small.yaml",
        "- {experiment: floor, seeds: [0]}",
        "- {experiment: floor, name: base, seeds: [0]}",
    )
    found = stale(study.root, STUDY)
    assert found.appeared == (("pictures", "ground", "marks"),)
    assert found.vanished == (("pictures", "teacher", "marks"),)
    assert found.moved == {("pictures", "floor", "marks"): ("pictures", "base", "marks")}
    assert not found.changed
    text = shown.in_text(found)
    for said in ("would appear:", "would vanish:", "pictures / floor / marks -> pictures / base / marks"):
        assert said in text


def test_columns_without_data_here_are_said_and_not_stale(study: PublishedStudy) -> None:
    planned = as_planned(make_plan(study.root, STUDY))
    left = {place: key for place, key in planned.cells.items() if place[2] != "words"}
    without = dataclasses.replace(planned, cells=left, no_data={"words": "no words/dev.tsv"})
    found = compare(as_published(study.root, STUDY), without)
    assert found.same
    assert not found.vanished
    assert {" / ".join(place) for place in found.no_data} == TEXTS
    assert "there is no data for their columns here (words: no words/dev.tsv)" in shown.in_text(found)
    lost = compare(as_published(study.root, STUDY), dataclasses.replace(planned, cells=left))
    assert {" / ".join(place) for place in lost.vanished} == TEXTS


def test_a_field_that_is_new_and_empty_is_a_change() -> None:
    old: dict[str, Any] = {"config": {"a": 1, "list": [1, 2]}}
    new: dict[str, Any] = {"config": {"a": 1.0, "list": [1], "b": None}}
    assert [(".".join(c.path), c.old, c.new) for c in changes(old, new)] == [
        ("config.a", 1, 1.0), ("config.b", ABSENT, None), ("config.list", [1, 2], [1])
    ]  # fmt: skip
    assert list(changes(old, old)) == []


# --- two states ------------------------------------------------------------------------------------------------------


def test_numbers_stand_beside_each_other_with_what_seeds_do_to_them(study: PublishedStudy) -> None:
    edit(study, "experiments/taught.yaml", "temperature: 4.0", "temperature: 2.0")
    remake(study)
    found = between(study.root, "HEAD", ".", STUDY)
    cell = found.changed["pictures", "taught", "marks"]
    assert cell.old is not None
    assert cell.new is not None
    said = shown.content(found)["changed"][TAUGHT]
    assert said["difference"] == round(cell.new.mean - cell.old.mean, 6)
    stds = [statistics.stdev(side.scores.values()) for side in (cell.old, cell.new)]
    assert said["standard_error"] == pytest.approx(math.hypot(*stds) / math.sqrt(2), abs=1e-5)
    points = f"{100 * said['difference']:+.1f} ± {100 * said['standard_error']:.1f}"
    assert f"{cell.old} -> {cell.new}  {points}" in shown.in_text(found)


def test_rows_of_a_data_set_are_counted_where_both_are_in_the_store(
    study: PublishedStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = study.folder("dataset", "words")
    data_row(study, monkeypatch)
    remake(study)
    assert between(study.root, "HEAD", ".", STUDY).data == {"words": "rows that differ: dev 1 of 60"}
    shutil.rmtree(old)
    found = between(study.root, "HEAD", ".", STUDY)
    assert found.data == {"words": "rows not compared, as one version is not in the store"}
    assert "data set words: rows not compared" in shown.in_text(found)


def test_a_number_that_changed_under_the_same_key_is_reported_with_where_it_began(study: PublishedStudy) -> None:
    plain = study.node("student", "plain · marks · seed 0")
    kinds = ("cell", "table", "study")
    for node in (plain, *(n for n in study.plan.nodes.values() if n.kind in kinds)):
        shutil.rmtree(node.folder(study.root))
    remake(study)
    found = between(study.root, "HEAD", ".", STUDY)
    assert not found.changed
    (begun,) = found.unexplained
    assert begun.thing.key == plain.key
    assert set(begun.files) == {"log.jsonl", "model.safetensors", "predictions.parquet"}
    assert [" / ".join(place) for place in begun.cells] == [PLAIN]
    assert not found.edited
    text = shown.in_text(found)
    assert f"same key     run plain · marks · seed 0 ({plain.key}) has other bytes" in text
    assert PLAIN in text


def test_a_number_that_was_edited_in_a_table_is_reported(study: PublishedStudy) -> None:
    file = study.results / "pictures.json"
    table = json.loads(file.read_text(encoding="utf-8"))
    row = next(row for row in table["rows"] if row["name"] == "taught")
    row["cells"]["marks"]["mean"] += 0.1
    file.write_text(json.dumps(table), encoding="utf-8")
    found = between(study.root, "HEAD", ".", STUDY)
    assert [" / ".join(place) for place in found.edited] == [TAUGHT]
    assert "the table was edited" in shown.in_text(found)


def test_git_alone_is_enough(study: PublishedStudy) -> None:
    edit(study, "studies/small.yaml", "seeds: [0, 1]", "seeds: [0, 1, 5]")
    remake(study)
    git(study.root, "commit", "--quiet", "--all", "--message", "A seed more")
    shutil.rmtree(study.root / "store")
    shutil.rmtree(study.root / "results")
    for sides in (
        ("HEAD~1", "HEAD"),
        (f"{STUDY}@HEAD~1", f"{STUDY}@HEAD"),
        ("HEAD~1", f"@{git(study.root, 'rev-parse', 'HEAD')}"),
    ):
        code, text = command("diff", *sides, "--study", STUDY)
        assert code == 0
        assert "seed        seed 5: added" in text
        assert "2 of 7 cells differ" in text


def test_two_studies_are_compared_by_row_and_column_where_tables_have_other_names(study: PublishedStudy) -> None:
    shutil.copytree(study.results, study.root / "results" / "other")
    code, text = command("diff", STUDY, "other")
    assert code == 0
    assert "results/small and results/other: 7 cells, and nothing differs" in text
    old = as_published(study.root, STUDY)
    places = {(f"other-{table}", row, column): key for (table, row, column), key in old.cells.items()}
    numbers = {(f"other-{table}", row, column): n for (table, row, column), n in old.numbers.items()}
    new = dataclasses.replace(old, study="other", cells=places, numbers=numbers)
    found = compare(old, new)
    assert found.same
    assert len(compare(old, dataclasses.replace(new, study=STUDY)).moved) == 7


def test_what_is_no_side_is_said(study: PublishedStudy) -> None:
    for written, words in (
        ("smal", "`smal` is neither a study with results nor a commit that git knows; did you mean `small`?"),
        ("--all", "neither a study"),
        (f"{STUDY}@nowhere", "`nowhere` is neither"),
    ):
        with pytest.raises(RedistillError, match=words):
            between(study.root, written, ".", STUDY)
    git(study.root, "rm", "-r", "--quiet", "--cached", "results")
    git(study.root, "commit", "--quiet", "--message", "None")
    with pytest.raises(RedistillError, match=r"results/small/manifests.json at [0-9a-f]{12}"):
        between(study.root, "HEAD", ".", STUDY)


def test_results_that_name_what_they_do_not_have_are_refused_in_a_sentence(study: PublishedStudy) -> None:
    file = study.results / "manifests.json"
    entries = json.loads(file.read_text(encoding="utf-8"))
    key = study.node("teacher").key
    del entries[key]
    file.write_text(json.dumps(entries), encoding="utf-8")
    for ask in (lambda: stale(study.root, STUDY), lambda: why(study.root, STUDY, "taught/marks"),
                lambda: used_by(study.root, "kd")):  # fmt: skip
        with pytest.raises(RedistillError, match=f"has nothing of {key}"):
            ask()
    (study.results / "pictures.json").write_text("{}", encoding="utf-8")
    file.write_bytes(subprocess.run(["git", "show", f"HEAD:results/{STUDY}/manifests.json"], cwd=study.root,
                                    capture_output=True, check=True).stdout)  # fmt: skip
    with pytest.raises(RedistillError, match=r"results/small/pictures.json: is not what a study publishes"):
        stale(study.root, STUDY)
