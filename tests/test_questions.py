"""Where a number is from, and what depends on what."""

import json
import shutil
import subprocess
from collections.abc import Callable

import pytest
from published_study import STUDY, PublishedStudy
from questioned import TAUGHT, TEXTS, Cells, command, edit, git

from redistill.errors import RedistillError
from redistill.questions import tree
from redistill.questions.used_by import used_by
from redistill.questions.why import Chain, Link, why


def link_of(chain: Chain, title: str) -> Link:
    """The runs of this title in a chain."""
    return next(link for link in chain.links.values() if link.kind == "run" and link.title == title)


# --- why -------------------------------------------------------------------------------------------------------------


def test_the_number_is_told_as_its_table_prints_it_with_all_that_is_behind_it(study: PublishedStudy) -> None:
    chain = why(study.root, STUDY, "pictures/taught/marks")
    assert chain.number is not None
    assert f"| {chain.number} |" in (study.results / "pictures.md").read_text(encoding="utf-8")
    wanted = {n.key for n in study.plan.upstream([study.node("cell", "taught").key])}
    assert {member.key for link in chain.links.values() for member in link.members} == wanted
    runs = link_of(chain, "taught · marks")
    assert [member.seed for member in runs.members] == [0, 1]
    scores = [member.score for member in runs.members if member.score is not None]
    assert chain.number.mean == pytest.approx(sum(scores) / 2, abs=1e-6)
    said = {line.what: line for line in runs.lines}
    assert said["loss soft"].words == "0.5 x kd (t_squared true, temperature 4)"
    assert any(place.startswith("configs/experiments/taught.yaml:") for place in said["loss soft"].places)
    text = tree.in_text(chain)
    for words in (
        "5 steps of 10 on train + transfer", "CC BY 4.0", "Nobody 2020, marks", "train 20, select 20, dev 60",
        "cnn (channels [2]", "run teacher · marks · seed 0", "torch ", "Python",
    ):  # fmt: skip
        assert words in text, words
    teacher = study.node("teacher").key
    assert text.count("20 steps of 10 on train") == 1  # what was shown is named only
    assert text.count(f"{teacher}  (above)") == 1
    assert json.loads(json.dumps(tree.content(chain)))["top"] == study.node("cell", "taught").key


def test_a_chain_can_be_told_from_results_alone(study: PublishedStudy) -> None:
    whole = why(study.root, STUDY, "taught/marks")
    assert whole.made
    shutil.rmtree(study.root / "store")
    chain = why(study.root, STUDY, "taught/marks")
    assert chain.links.keys() == whole.links.keys()
    assert chain.number == whole.number
    assert not chain.made
    text = tree.in_text(chain)
    count = len({member.key for link in chain.links.values() for member in link.members})
    assert f"on which machine {count} of {count} things were made is not known here" in text
    assert f"{count} of {count} things are not in the store here" in text
    edit(study, "experiments/taught.yaml", "method: kd", "method: kdd")
    chain = why(study.root, STUDY, "taught/marks")
    assert "where values stand is not said, as today's configs cannot be read" in tree.in_text(chain)
    assert not any(line.places for link in chain.links.values() for line in link.lines if line.what.startswith("loss"))


def test_values_that_have_changed_since_are_not_given_a_place(study: PublishedStudy) -> None:
    edit(study, "experiments/taught.yaml", "temperature: 4.0", "temperature: 2.0")
    chain = why(study.root, STUDY, "taught/marks")
    runs = link_of(chain, "taught · marks")
    assert not any(line.places for line in runs.lines)
    teacher = link_of(chain, "teacher · marks · seed 0")
    assert any(line.places for line in teacher.lines)
    assert any("today's configs and code give something else" in note for note in chain.notes)
    old = why(study.root, STUDY, "taught/marks", commit="HEAD")
    assert old.number == chain.number


def test_a_choice_names_its_trials(study: PublishedStudy) -> None:
    chain = why(study.root, STUDY, table="tuned")
    choice = next(link for link in chain.links.values() if link.kind == "choice")
    assert any("learning_rate=0.001; learning_rate=0.01" in line.words for line in choice.lines)
    assert len(choice.inputs["runs"]) == 2
    assert all(not chain.links[name].lines for name in choice.inputs["runs"])


def test_a_cell_is_found_by_its_names_or_by_a_key(study: PublishedStudy) -> None:
    cell = study.node("cell", "taught")
    for asked in ("pictures/taught/marks", "pictures / taught / marks", "taught/marks", cell.key, cell.key[:8]):
        assert why(study.root, STUDY, asked).place == ("pictures", "taught", "marks")
    assert why(study.root, STUDY, row="taught").place == ("pictures", "taught", "marks")
    data = why(study.root, STUDY, study.node("dataset", "words").key)
    assert data.place is None
    assert "data set words" in tree.in_text(data)
    for asked, words in (
        ("pictures/taugt/marks", "did you mean `pictures/taught/marks`"), ("ffffffffff", "nothing whose key begins so"),
    ):  # fmt: skip
        with pytest.raises(RedistillError, match=words):
            why(study.root, STUDY, asked)
    with pytest.raises(RedistillError, match="4 cells are meant"):
        why(study.root, STUDY, table="pictures")
    with pytest.raises(RedistillError, match="has no row `taugt`; did you mean `taught`"):
        why(study.root, STUDY, row="taugt")


# --- used by ---------------------------------------------------------------------------------------------------------


def using(study: PublishedStudy, what: str) -> Cells:
    return {" / ".join(place) for use in used_by(study.root, what).uses for place in use.cells}


PICTURES = {f"pictures / {row} / marks" for row in ("floor", "teacher", "plain", "taught")}
TRAINED = PICTURES - {"pictures / floor / marks"} | {"tuned / tuned / marks", "texts / reader / words"}


@pytest.mark.parametrize(
    ("what", "cells"),
    [
        ("kd", {TAUGHT}), ("redistill.distill.kd", {TAUGHT}), ("src/redistill/distill/kd.py", {TAUGHT}),
        ("teacher", {TAUGHT, "pictures / teacher / marks"}), ("words", TEXTS), ("little", {"texts / reader / words"}),
        ("fetched/words/dev.parquet", TEXTS), ("tokenizers", {"texts / reader / words"}), ("torch", TRAINED),
        ("configs/experiments/teacher.yaml", {TAUGHT, "pictures / teacher / marks"}),
        ("configs/experiments/plain.yaml", TRAINED - {"texts / reader / words"}),
        ("configs/tasks/words.yaml", TEXTS), ("configs/sources.yaml", PICTURES | TEXTS | {"tuned / tuned / marks"}),
        ("configs/studies/small.yaml", PICTURES | TEXTS | {"tuned / tuned / marks"}),
        ("majority", {"pictures / floor / marks", "texts / floor / words"}),
        ("results/small/pictures.md", set()), ("src/redistill/cli/asking.py", set()), ("torch==0.1", set()),
    ],
)  # fmt: skip
def test_what_depends_on_something_is_told_and_nothing_else(study: PublishedStudy, what: str, cells: Cells) -> None:
    file = study.root / "src" / "redistill" / "cli" / "asking.py"
    file.parent.mkdir(parents=True)
    file.write_text("", encoding="utf-8")
    assert using(study, what) == cells
    assert bool(used_by(study.root, what).hint) or cells


def test_a_version_a_key_a_file_of_the_store_and_a_commit_are_known(study: PublishedStudy) -> None:
    teacher = study.node("teacher")
    version = teacher.parts["packages"]["torch"]
    assert using(study, f"torch=={version}") == TRAINED
    both = {TAUGHT, "pictures / teacher / marks"}
    folder = f"store/runs/{teacher.key}"
    for what in (teacher.key, teacher.key[:9], f"{folder}/model.safetensors", str(study.root / folder / "log.jsonl")):
        assert using(study, what) == both
    assert using(study, f"store/records/{teacher.key}.json") == set()
    noted = json.loads(study.record(teacher.key).read_text(encoding="utf-8"))
    noted["code"]["commit"] = "c0ffee" + "0" * 34
    study.record(teacher.key).write_text(json.dumps(noted), encoding="utf-8")
    assert using(study, "c0ffee0") == both
    answer = used_by(study.root, "HEAD")
    assert not answer.uses
    assert "none says that something was made at it" in answer.hint
    assert answer.meanings == (f"the commit {git(study.root, 'rev-parse', '--short=12', 'HEAD')}",)


def test_what_nobody_knows_is_said_with_what_is_near(study: PublishedStudy) -> None:
    with pytest.raises(RedistillError, match="`tokenizer` is no file, data set, package.*did you mean `tokenizers`"):
        used_by(study.root, "tokenizer")
    code, text = command("used-by", "taugth")
    assert code == 1
    assert "did you mean `taught`?" in text
    code, text = command("used-by", "kd", "--json")
    assert code == 0
    assert json.loads(text)["uses"][0]["cells"] == [TAUGHT]
    shutil.rmtree(study.results)
    with pytest.raises(RedistillError, match="no study has results"):
        used_by(study.root, "kd")


def test_questions_import_nothing_heavy(python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    asked = "import redistill.questions.why, redistill.questions.shown, redistill.questions.used_by, sys"
    heavy = "print([name for name in ('torch', 'numpy', 'pandas', 'pyarrow', 'scipy') if name in sys.modules])"
    done = python("-c", f"{asked}; {heavy}")
    assert done.stdout.strip() == "[]", done.stderr
