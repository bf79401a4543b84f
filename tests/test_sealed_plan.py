"""A plan sealed before its first run, and everything that became otherwise."""

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from published_study import PublishedStudy, copied
from questioned import git

from redistill.claims import declared, envelopes, sealed_plan
from redistill.claims.deviations import deviations
from redistill.claims.sealed_plan import PAYLOAD_TYPE, Seal, chain, place, reference, seal_plan
from redistill.errors import RedistillError
from redistill.plan import make_plan
from redistill.provenance import record, signatures
from redistill.provenance.signatures import SignatureError

STUDY = "configs/studies/small.yaml"


class Project:
    """A copy of the finished study whose runs are out of sight until they are `run`."""

    def __init__(self, study: PublishedStudy, key: Path, clock: pytest.MonkeyPatch):
        self.study, self.root, self.key, self.clock = study, study.root, key, clock
        self.aside = study.root.parent / "aside"
        for name in ("store/runs", "store/records", "results/small"):
            (self.aside / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).rename(self.aside / name)

    def run(self, names: tuple[str, ...] = ("store/runs", "store/records", "results/small")) -> None:
        for name in names:
            shutil.copytree(self.aside / name, self.root / name, dirs_exist_ok=True)

    def seal(self, year: int = 2020, key: Path | None = None) -> Seal:
        self.clock.setattr(sealed_plan.time, "time", lambda: (year - 1970) * 365.25 * 86400 + 86400)
        return seal_plan(make_plan(self.root, "small"), key or self.key)[0]

    def edit(self, old: str, new: str, file: str = STUDY) -> None:
        text = (self.root / file).read_text(encoding="utf-8")
        assert old in text, f"{file} has no {old!r}"
        (self.root / file).write_text(text.replace(old, new, 1), encoding="utf-8")

    def found(self) -> list[str]:
        return [str(one) for one in deviations(make_plan(self.root, "small"))]

    def noted(self, title: str, **change: Any) -> str:
        """Change the record of a run; returns its key."""
        node = self.study.node("student", title)
        file = record.place(self.root, node.key)
        value = json.loads(file.read_text(encoding="utf-8")) | change
        file.write_text(json.dumps(value), encoding="utf-8")
        return node.key


@pytest.fixture
def project(published_project: PublishedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    signatures.new_key(tmp_path / "key.pem")
    return Project(copied(published_project, tmp_path / "project"), tmp_path / "key.pem", monkeypatch)


# --- the seal --------------------------------------------------------------------------------------------------------


def test_a_seal_says_what_is_planned_under_which_keys(project: Project) -> None:
    project.edit("tables:\n", "stopping: {seeds: 2, rule: no more whatever comes}\ntables:\n")
    seal = project.seal()
    assert (seal.date[:4], seal.value["previous"], seal.made_before) == ("2020", None, {})
    assert seal.key == signatures.public_key(project.key)
    table = seal.declared["tables"]["pictures"]
    assert table["rows"]["taught"] == {"tasks": ["marks"], "seeds": [0, 1]}
    assert table["comparisons"] == ["taught against plain in marks"]
    assert table["columns"] == {"marks": "accuracy"}
    assert seal.declared["stopping"] == {"seeds": 2, "rule": "no more whatever comes"}
    runs = {run.key for run in project.study.plan.runs}
    assert runs <= declared.runs_of(seal.declared).keys()
    node = project.study.node("student", "taught · marks · seed 1")
    assert declared.parts_of(seal.declared, node.key) == node.parts


def test_the_stopping_rule_changes_no_key(project: Project) -> None:
    project.edit("tables:\n", "stopping: {seeds: 2}\ntables:\n")
    assert make_plan(project.root, "small").target.key == project.study.plan.target.key


def test_the_same_plan_is_not_sealed_twice(project: Project) -> None:
    first = project.seal()
    project.run()
    assert project.seal(2021) == first
    assert chain(project.root, "small") == [first]


def test_a_plan_sealed_after_some_of_its_runs_says_so(project: Project) -> None:
    project.run(("store/runs",))
    for folder in list((project.root / "store" / "runs").iterdir())[3:]:
        shutil.rmtree(folder)
    seal = project.seal()
    assert len(seal.made_before) == 3
    project.run()
    assert project.found() == [f"seal: 3 of 13 runs were made before the plan was sealed on {seal.date}"]


def test_records_and_results_tell_too_that_a_run_was_made(project: Project) -> None:
    project.run(("results/small",))
    assert len(project.seal().made_before) == 13


# --- the chain -------------------------------------------------------------------------------------------------------


def test_seals_before_are_kept_and_named(project: Project) -> None:
    first = project.seal()
    project.edit("title: Pictures", "title: Images")
    assert project.seal(2021) == first  # a title is no part of what was declared
    project.edit("  pictures:", "  images:")
    second = project.seal(2022)
    project.edit("  images:", "  pictures:")
    third = project.seal(2023)
    assert [seal.digest for seal in chain(project.root, "small")] == [third.digest, second.digest, first.digest]
    assert second.value["previous"] == first.digest
    assert reference([third, second, first]) == third  # nothing was run: the others were drafts
    project.run()
    assert project.found() == []


def test_a_broken_chain_is_refused(project: Project) -> None:
    first = project.seal()
    project.edit("  pictures:", "  images:")
    project.seal(2021)
    kept = project.root / "results" / "small" / "signed" / "plans" / f"{first.digest}.json"
    text = kept.read_text(encoding="utf-8")
    kept.unlink()
    with pytest.raises(RedistillError, match=f"results/small/signed/plans/{first.digest}.json: cannot be read"):
        project.found()
    envelopes.write(kept, first.value | {"date": "2019-01-01T00:00:00Z"}, PAYLOAD_TYPE, project.key)
    with pytest.raises(RedistillError, match="is not the seal that the next one names"):
        project.found()
    kept.write_text(text, encoding="utf-8")
    newest = place(project.root, "small")
    envelope = json.loads(newest.read_text(encoding="utf-8"))
    payload = base64.b64decode(envelope["payload"]).replace(b"2021", b"2019")
    newest.write_text(json.dumps(envelope | {"payload": base64.b64encode(payload).decode()}), encoding="utf-8")
    with pytest.raises(SignatureError, match="results/small/signed/plan.json: the signature is wrong"):
        project.seal(2024)
    newest.unlink()
    with pytest.raises(RedistillError, match="is missing, and seals before it are there"):
        project.found()


def test_a_seal_that_was_replaced_silently_is_found_in_git(project: Project) -> None:
    first = project.seal()
    git(project.root, "add", "results")
    git(project.root, "commit", "--quiet", "--message", "sealed")
    place(project.root, "small").unlink()
    project.edit("seeds: [0, 1]", "seeds: [0, 1, 2]")
    project.seal(2021)
    (told,) = project.found()
    assert told.startswith(f"seal: git has a plan sealed on {first.date}")
    assert told.endswith("that no later seal names")


# --- deviations ------------------------------------------------------------------------------------------------------


def test_a_plan_that_was_followed_has_none(project: Project) -> None:
    with pytest.raises(RedistillError, match="redistill plan small --seal"):
        project.found()
    project.seal()
    assert project.found() == []
    project.run()
    assert project.found() == []


CHANGES = [
    (STUDY, "      - {experiment: plain}\n", "", "row: plain was dropped in table pictures"),
    (STUDY, "      - {experiment: taught}\n", "      - {experiment: taught}\n      - {experiment: plain, name: more, "
     "set: {stages.0.steps: 6}}\n", "row: more was added in table pictures"),
    (STUDY, "seeds: [0, 1]", "seeds: [0, 1, 2]", "seed: 2 was added in row taught of table pictures"),
    (STUDY, "{experiment: reader}", "{experiment: reader, seeds: [1]}",
     "seed: 0 was dropped in row reader of table texts"),
    (STUDY, "{row: taught, against: plain}", "{row: taught, against: teacher}",
     "comparison: taught against teacher in marks was added in table pictures"),
    (STUDY, "    comparisons:\n      - {row: taught, against: plain}\n", "",
     "comparison: taught against plain in marks was dropped in table pictures"),
    (STUDY, "tasks: [words]", "tasks: [words, more-words]", "column: more-words was added in table texts"),
    (STUDY, "  texts:\n", "  sentences:\n", "row: table texts was dropped, with its rows floor, reader"),
    (STUDY, "runtime: {portable: true}", "runtime: {portable: true, threads: 2}",
     "setting: config.runtime.threads: 1 -> 2, in floor · marks, floor · words, plain · marks and 6 more"),
    (STUDY, "tables:\n", "stopping: {seeds: 1}\ntables:\n",
     "seed: row taught of table pictures has 2, and the stopping rule says 1"),
    (STUDY, "choose: {trials: 2, seeds: [7]}", "choose: {trials: 2, seeds: [8]}",
     "setting: tables.tuned.choose.seeds.0: 7 -> 8"),
    ("configs/tasks/words.yaml", "metric: accuracy", "metric: f1",
     "metric: words in table texts: accuracy -> f1"),
    ("configs/tasks/marks.yaml", "splits: {train: 20", "splits: {train: 30",
     "setting: config.splits.train: 20 -> 30, in marks"),
    ("configs/experiments/taught.yaml", "temperature: 4.0", "temperature: 2.0",
     "setting: config.stages.0.loss.soft.settings.temperature: 4.0 -> 2.0, in taught · marks"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "told"), CHANGES, ids=[told[:40] for *_, told in CHANGES])
def test_what_is_changed_after_the_seal_is_named(project: Project, file: str, old: str, new: str, told: str) -> None:
    if old.startswith("      - {experiment: plain}"):  # with the comparison that needs it
        project.edit("    comparisons:\n      - {row: taught, against: plain}\n", "")
    (project.root / "configs" / "tasks" / "more-words.yaml").write_text("extends: words\n", encoding="utf-8")
    project.seal()
    project.run()
    assert project.found() == []
    project.edit(old, new, file)
    assert told in project.found()


def test_a_change_names_what_it_is_and_nothing_that_follows_from_it(project: Project) -> None:
    project.seal()
    project.run()
    project.edit("temperature: 4.0", "temperature: 2.0", "configs/experiments/taught.yaml")
    assert len(project.found()) == 1
    project.edit("stages.0.steps: 20", "stages.0.steps: 21", "configs/experiments/teacher.yaml")
    assert project.found()[1:] == ["setting: config.stages.0.steps: 20 -> 21, in teacher · marks"]


def test_what_is_sealed_anew_after_results_is_still_told_and_said_to_be_sealed(project: Project) -> None:
    project.seal()
    project.run()
    project.edit("{experiment: reader}", "{experiment: reader, seeds: [1]}")
    second = project.seal(2030)
    assert len(second.made_before) == 13
    assert project.found() == [
        f"seal: the plan was sealed anew on {second.date}, after 13 runs",
        f"seed: 0 was dropped in row reader of table texts (sealed on {second.date}, after results)",
    ]


def test_a_seal_by_another_key_is_told(project: Project, tmp_path: Path) -> None:
    project.seal()
    project.run()
    other = signatures.new_key(tmp_path / "other.pem")
    project.edit("{experiment: reader}", "{experiment: reader, seeds: [1]}")
    project.seal(2030, tmp_path / "other.pem")
    assert f"by another key ({other})" in project.found()[0]


def test_runs_that_were_made_again_or_failed_are_named(project: Project) -> None:
    project.seal()
    project.run()
    when = {"start": "2027-01-01T00:00:00Z", "end": "2027-01-01T00:01:00Z"}
    before = [{**when, "manifest": "0" * 64, "commit": None}]
    attempt = {**when, "seconds": 60.0, "outcome": "failed", "said": "the loss is nan"}
    stopped = {**when, "seconds": 60.0, "outcome": "stopped", "said": "asked to stop"}
    key = project.noted("plain · marks · seed 1", made_before=before)
    other = project.noted("taught · marks · seed 0", attempts=[stopped, attempt])
    assert project.found() == [
        f"rerun: plain · marks · seed 1 ({key}) was made again after {when['end']}; it had other bytes then",
        f"rerun: taught · marks · seed 0 ({other}) failed on {when['end']}: the loss is nan",
    ]
    project.noted("plain · marks · seed 1", made_before=[{**before[0], "end": "2001-01-01T00:00:00Z"}])
    assert len(project.found()) == 1  # it was made again before the plan was sealed


def test_a_run_beside_the_plan_is_named_and_one_of_another_study_is_not(project: Project) -> None:
    project.seal()
    project.run()
    key = project.study.node("student", "plain · marks · seed 1").key
    noted = json.loads(record.place(project.root, key).read_text(encoding="utf-8"))
    parts = noted["key_parts"] | {"config": noted["key_parts"]["config"] | {"seed": 5}}
    beside = {**noted, "key": record.key_of(parts), "key_parts": parts, "what": "plain · marks · seed 5"}
    record.place(project.root, beside["key"]).write_text(json.dumps(beside), encoding="utf-8")
    assert project.found() == [
        f"run: plain · marks · seed 5 ({beside['key']}) was made on {noted['end']} and is in no sealed plan"
    ]
    text = (project.root / STUDY).read_text(encoding="utf-8").replace("seeds: [0, 1]", "seeds: [0, 5]", 1)
    (project.root / "configs" / "studies" / "large.yaml").write_text(text, encoding="utf-8")
    assert project.found() == []


def test_the_commands_seal_and_tell(project: Project, python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    project.run(("store/runs",))
    done = python("-m", "redistill", "plan", "small", "--seal", "--key", str(project.key), cwd=project.root)
    assert done.returncode == 0, done.stderr
    assert "results/small/signed/plan.json: sealed; 7 rows, 13 runs, stopping: no rule is declared" in done.stdout
    assert "BEWARE: 13 of the 13 runs were made before" in done.stdout
    again = python("-m", "redistill", "plan", "small", "--seal", "--key", str(project.key), cwd=project.root)
    assert "as it was sealed on" in again.stdout
    nobody = python("-m", "redistill", "plan", "small", "--seal", cwd=project.root)
    assert (nobody.returncode, "redistill keygen" in nobody.stderr) == (1, True)
    project.run()
    told = python("-m", "redistill", "plan", "small", "--deviations", cwd=project.root)
    assert (told.returncode, told.stdout.splitlines()[-1]) == (1, "1 deviation from the sealed plan")
    judged = python("-m", "redistill", "verdict", "small", cwd=project.root)
    assert "1 deviation from the sealed plan: `redistill plan small --deviations`" in judged.stdout
