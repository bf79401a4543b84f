"""What differs between two states of a study, beside what is tried in test_stale.py: numbers, rows, git, tampering."""

import dataclasses
import json
import math
import shutil
import statistics
import subprocess

import pytest
from published_study import STUDY, PublishedStudy
from questioned import PLAIN, TAUGHT, command, data_row, edit, git, remake

from redistill.claims.reproductions import reproductions
from redistill.errors import RedistillError
from redistill.questions import shown
from redistill.questions.diff import compare
from redistill.questions.sides import between
from redistill.questions.stale import stale
from redistill.questions.state import as_published, whole
from redistill.questions.used_by import used_by
from redistill.questions.why import why


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
    assert between(study.root, "HEAD", ".", STUDY).data == {"words": "rows that differ: dev 1 of 60 (id dev-7)"}
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
        assert "2 of 7 cells are made of something else, 2 with another number" in text


def test_two_studies_are_compared_by_row_and_column_where_tables_have_other_names(study: PublishedStudy) -> None:
    shutil.copytree(study.results, study.root / "results" / "other")
    code, text = command("diff", STUDY, "other")
    assert code == 0
    assert "results/small and results/other: 7 cells, and nothing differs" in text
    old = as_published(whole(study.root, STUDY))
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
    with pytest.raises(
        RedistillError, match=r"results/small/manifests.json at [0-9a-f]{12}.*from the first commit that has"
    ):
        between(study.root, "HEAD", ".", STUDY)


def test_results_that_name_what_they_do_not_have_are_refused_in_a_sentence(study: PublishedStudy) -> None:
    file = study.results / "manifests.json"
    entries = json.loads(file.read_text(encoding="utf-8"))
    key = study.node("teacher").key
    del entries[key]
    file.write_text(json.dumps(entries), encoding="utf-8")
    for ask in (lambda: stale(study.root, STUDY), lambda: why(study.root, STUDY, "taught/marks"),
                lambda: used_by(study.root, "kd"), lambda: reproductions(study.root, STUDY)):  # fmt: skip
        with pytest.raises(RedistillError, match=f"has nothing of {key}"):
            ask()
    (study.results / "pictures.json").write_text("{}", encoding="utf-8")
    file.write_bytes(subprocess.run(["git", "show", f"HEAD:results/{STUDY}/manifests.json"], cwd=study.root,
                                    capture_output=True, check=True).stdout)  # fmt: skip
    with pytest.raises(RedistillError, match=r"results/small/pictures.json: is not what a study publishes"):
        stale(study.root, STUDY)


def test_results_of_an_older_redistill_whose_configs_had_fewer_keys_are_compared(study: PublishedStudy) -> None:
    new = as_published(whole(study.root, STUDY))
    key = new.tables["pictures"]
    config = {name: value for name, value in new.things[key].parts["config"].items() if name not in ("order", "means")}
    config["rows"] = [{name: v for name, v in row.items() if name != "fixed"} for row in config["rows"]]
    older = dataclasses.replace(new.things[key], key="0" * 16, parts={**new.things[key].parts, "config": config})
    old = dataclasses.replace(
        new, things={**new.things, older.key: older}, tables={**new.tables, "pictures": older.key}
    )
    found = compare(old, new)
    (group,) = found.groups
    assert group.tables == ("pictures",)
    assert {str(cause) for cause in group.causes} == {
        "fixed of a row: added (false)", "means: added ({})", "order.by: null -> written",
    }  # fmt: skip
