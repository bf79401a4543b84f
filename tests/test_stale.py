"""What changed between two states of a study, or since it was made: the causes, and only the cells that they reach."""

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SOURCES, Project
from glue_folder import write_official
from published_study import STUDY, PublishedStudy
from questioned import (
    PLAIN,
    TAUGHT,
    TEXTS,
    Cells,
    command,
    data_row,
    edit,
    loss_file,
    package,
    remake,
    seed,
    setting,
)  # fmt: skip

from redistill.changes import ABSENT, changes
from redistill.errors import ConfigError
from redistill.plan import make_plan
from redistill.questions import shown
from redistill.questions.diff import Differences, compare
from redistill.questions.sides import between
from redistill.questions.stale import stale
from redistill.questions.state import as_planned, as_published, whole


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
    assert {cause.name: where for cause, where in group.causes.items()} == {"label of a row": ("taught",)}
    text = shown.in_text(found)
    assert "what is written in table pictures" in text
    line = (
        (study.root / "configs/experiments/taught.yaml").read_text(encoding="utf-8").splitlines().index("label: Pupil")
    )
    assert f"label of a row: Taught -> Pupil  (taught)  configs/experiments/taught.yaml:{line + 1}" in text
    edit(study, "studies/small.yaml", "- {experiment: taught}", "- {experiment: taught, label: Scholar}")
    text = shown.in_text(stale(study.root, STUDY))
    assert "label of a row: Taught -> Scholar  (taught)" in text
    assert "taught.yaml" not in text  # which says another one


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
    published = as_published(whole(study.root, STUDY))
    found = compare(published, without)
    assert found.same
    assert not found.vanished
    assert {" / ".join(place) for place in found.no_data} == TEXTS
    assert "there is no data for them here (no words/dev.tsv)" in shown.in_text(found)
    lost = compare(published, dataclasses.replace(planned, cells=left))
    assert {" / ".join(place) for place in lost.vanished} == TEXTS


def test_what_a_folder_of_glue_lacks_is_said_and_the_rest_is_compared(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    glue = tmp_path / "glue"
    write_official(glue, {"train": 50, "dev": 20, "test": 8})
    monkeypatch.setenv("GLUE_DIR", str(glue))
    published = dataclasses.replace(as_planned(make_plan(project.root, "glue-small")), plan=None)
    (glue / "WNLI" / "train.tsv").unlink()
    found = compare(published, as_planned(make_plan(project.root, "glue-small")))
    assert found.same
    from_pool = ("dev", "glue-small/student-hidden-kd", "glue/rte")  # starts from what learnt from texts of all tasks
    assert found.no_data[from_pool] == found.no_data["dev", "glue-small/teacher", "glue/wnli"] == "no WNLI/train.tsv"
    assert ("dev", "glue-small/teacher", "glue/rte") not in found.no_data
    project.edit(
        "experiments/glue-small/teacher.yaml", "extends: base\n", "extends: base\nset: {stages.0.batch_size: 8}\n"
    )
    found = compare(published, as_planned(make_plan(project.root, "glue-small")))
    assert ("dev", "glue-small/teacher", "glue/rte") in found.changed
    assert from_pool in found.changed
    monkeypatch.delenv("GLUE_DIR")
    with pytest.raises(ConfigError, match="GLUE_DIR is not set: let it name the folder `glue`"):
        stale(project.root, "glue-small")


def test_a_field_that_is_new_and_empty_is_a_change() -> None:
    old: dict[str, Any] = {"config": {"a": 1, "list": [1, 2]}}
    new: dict[str, Any] = {"config": {"a": 1.0, "list": [1], "b": None}}
    assert [(".".join(c.path), c.old, c.new) for c in changes(old, new)] == [
        ("config.a", 1, 1.0), ("config.b", ABSENT, None), ("config.list", [1, 2], [1])
    ]  # fmt: skip
    assert list(changes(old, old)) == []
