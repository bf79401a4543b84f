"""Audits: what can be asked, what is said of it, exit codes, and what is never written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from published_study import STUDY, PublishedStudy, copied, publish_study

from redistill.audit import LEVELS, Report, audit, comparable, listed
from redistill.audit.again import Answer, again, folder_of, make_again, scratch, task_of
from redistill.audit.sample import drawn
from redistill.audit.tolerance import judge, why_not_bytes
from redistill.config.schema import Reproduction
from redistill.errors import RedistillError
from redistill.exits import Exit
from redistill.plan import make_plan
from redistill.provenance import published, seal, store
from redistill.provenance.machine import machine
from redistill.provenance.published import Published, Thing
from redistill.provenance.signatures import new_key
from redistill.questions.state import as_planned

Python = Callable[..., Any]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> PublishedStudy:
    return publish_study(tmp_path_factory.mktemp("audit") / "project")


@pytest.fixture
def made(original: PublishedStudy, tmp_path: Path) -> PublishedStudy:
    """A copy of a published study, to be changed."""
    return copied(original, tmp_path / "project")


def thing(made: PublishedStudy, kind: str, title: str = "") -> Thing:
    found = published.read(made.root, STUDY).things
    return found[made.node(kind, title).key]


def said(report: Report) -> list[str]:
    return [str(finding) for finding in (*report.wrong, *report.stale, *report.unchecked)]


def content(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = [f for f in folder.rglob("*") if f.is_file()]
    return {f.relative_to(folder).as_posix(): (f.stat().st_mtime_ns, f.read_bytes()) for f in files}


# --- what can be asked -----------------------------------------------------------------------------------------------


def test_a_level_has_those_before_and_says_how_many_of_how_many(original: PublishedStudy) -> None:
    report = audit(original.root, STUDY, "recompute")
    assert said(report) == []
    assert report.status == Exit.RIGHT
    assert list(report.counts) == ["trace", "integrity", "recompute"]
    counts = {what: (n.checked, n.of) for what, n in report.counts["recompute"].items()}
    assert counts["cells"] == (7, 7)
    assert counts["tables"] == (3, 3)
    assert counts["choices"] == (1, 1)
    assert counts["files of results/"][0] == len(list(original.results.glob("*.*")))
    assert report.counts["trace"]["sources with a licence"].of == 3
    assert report.root == published.read(original.root, STUDY).digest


def test_a_part_is_audited_alone_and_its_chain_is_shown(made: PublishedStudy) -> None:
    report = audit(made.root, STUDY, table="pictures", row="taught", column="marks")
    assert said(report) == []
    for link in ("cell taught · marks", "outputs teacher", "data marks", "CC BY 4.0: Nobody 2020, marks", "(above)"):
        assert any(link in line for line in report.chain), link
    assert not any("words" in line for line in report.chain)
    file = made.folder("student", "reader · words · seed 0") / "log.jsonl"
    file.write_text("{}\n")
    assert audit(made.root, STUDY, table="pictures").status == Exit.RIGHT
    assert audit(made.root, STUDY, row="reader").status == Exit.WRONG


def test_a_key_and_a_file_are_audited_as_what_they_belong_to(made: PublishedStudy, monkeypatch: Any) -> None:
    run = made.node("student", "plain · marks · seed 1")
    file = made.folder("student", "plain · marks · seed 1") / "predictions.parquet"
    record = made.record(run.key)
    for what in (run.key, str(file), f"store/runs/{run.key}", record.relative_to(made.root).as_posix()):
        report = audit(made.root, what)
        assert report.chain[0].startswith("run plain · marks · seed 1"), what
        assert report.status == Exit.RIGHT
        assert report.study == STUDY
    table = audit(made.root, "results/small/pictures.md", "trace")
    assert table.chain[0].startswith("table pictures")
    assert audit(made.root, "results/small/runs.tsv", "trace").chain == []
    monkeypatch.chdir(made.results)
    assert audit(made.root, "texts.csv", "trace").chain[0].startswith("table texts")
    file.write_bytes(file.read_bytes() + b"0")
    for what in (run.key, str(file)):
        assert audit(made.root, what).wrong[0].file.endswith(f"{run.key}/predictions.parquet")
    assert audit(made.root, made.node("student", "plain · marks · seed 0").key).status == Exit.RIGHT


def test_a_thing_that_no_results_know_is_compared_with_its_own_manifest(made: PublishedStudy) -> None:
    shutil.rmtree(made.results)
    run = made.node("student", "taught · marks · seed 0")
    report = audit(made.root, run.key)
    assert report.status == Exit.NOT_CHECKED
    assert said(report) == ["no results name it, so nothing but the store says what it should be"]
    assert report.counts["trace"]["things in the store"].of == 6
    (run.folder(made.root) / "log.jsonl").write_text("")
    assert f"{run.key}/log.jsonl" in said(audit(made.root, run.key))[-2]
    shutil.rmtree(made.folder("outputs"))
    assert any("has nothing of" in one for one in said(audit(made.root, run.key, "trace")))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"what": "smal"}, "there is no study `smal`. Studies with results: small"),
        *(({"what": what}, f"`{what}`: nothing here is audited as that") for what in ("", ".", "results", "store")),
        ({"what": "0123456789abcdef"}, "no results and nothing in the store have the key 0123456789abcdef"),
        ({"what": "configs/tasks/marks.yaml"}, "nothing here is audited as that; give a study, a key, or a file"),
        ({"what": STUDY, "level": "recomputed"}, "no level `recomputed`; did you mean `recompute`?"),
        ({"what": STUDY, "table": "picture"}, "no table `picture`; did you mean `pictures`?"),
        ({"what": "results/other/pictures.md"}, "there is no study `other`"),
        ({"what": STUDY, "row": "taught", "column": "words"}, "no cell in table None, row taught and column words"),
        ({"what": STUDY, "sample": "half"}, "`half` is no sample: give a number of runs, or a share such as 5%"),
        ({"what": STUDY, "sample": "0"}, "`0` is no sample"),
        ({"what": STUDY, "sample": "101%"}, "`101%` is no sample"),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(
    original: PublishedStudy, arguments: dict[str, str], words: str
) -> None:
    with pytest.raises(RedistillError) as caught:
        audit(original.root, **arguments)  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_a_study_without_cells_has_no_table_either(tmp_path: Path) -> None:
    with pytest.raises(RedistillError, match="small has no table `texts`; there are none"):
        Published(tmp_path, STUDY, None, {}, {}, ()).find_cells("texts", None, None)


# --- what is said ----------------------------------------------------------------------------------------------------


def test_what_is_not_in_the_store_is_not_wrong_and_is_named_with_how_to_get_it(made: PublishedStudy) -> None:
    run = made.node("student", "plain · marks · seed 0")
    shutil.rmtree(run.folder(made.root))
    report = audit(made.root, STUDY, "replay")
    assert report.wrong == report.stale == []
    assert report.status == Exit.NOT_CHECKED
    assert f"is not in the store: `redistill pull {run.key}` brings it" in said(report)[0]
    later = [finding for finding in report.unchecked if finding.level == "recompute"]
    titles = [finding.message.partition(":")[0] for finding in later]
    assert titles[:2] == ["table pictures", "cell plain · marks"]
    assert all(run.key in finding.message for finding in later[:2])
    assert (report.counts["recompute"]["tables"].checked, report.counts["recompute"]["tables"].of) == (2, 3)
    assert [f.thing for f in report.unchecked if f.level == "replay"].count(run.key) == 1


def test_a_clone_without_a_store_is_audited_as_far_as_it_goes(made: PublishedStudy) -> None:
    shutil.rmtree(made.root / "store")
    report = audit(made.root, STUDY)
    assert report.wrong == report.stale == []
    assert report.status == Exit.NOT_CHECKED
    assert report.counts["trace"]["files of results/"].checked == report.counts["trace"]["files of results/"].of
    assert report.counts["integrity"]["files in the store"].checked == 0


def test_a_record_that_is_missing_is_not_wrong(made: PublishedStudy) -> None:
    file = made.record(made.node("cell", "taught").key)
    file.unlink()
    report = audit(made.root, STUDY)
    assert said(report) == [f"store/records/{file.name}: cell taught · marks has no record"]
    assert report.status == Exit.NOT_CHECKED


def test_a_config_that_was_changed_is_named_with_its_line_and_values_and_the_rest_is_audited(
    made: PublishedStudy,
) -> None:
    file = made.root / "configs" / "experiments" / "taught.yaml"
    file.write_text(file.read_text().replace("temperature: 4.0", "temperature: 2.0"))
    report = audit(made.root, STUDY, "recompute")
    assert report.wrong == report.unchecked == []
    assert report.status == Exit.WRONG
    (found,) = report.stale
    assert found.file == "configs/experiments/taught.yaml:9"
    assert "stages.0.loss.soft.settings.temperature: 4.0 -> 2.0" in found.message
    assert "pictures / taught / marks" in found.message
    assert report.counts["recompute"]["cells"].checked == 7
    assert audit(made.root, STUDY, row="plain").status == Exit.RIGHT
    assert audit(made.root, STUDY, row="taught").status == Exit.WRONG


def test_a_config_with_a_mistake_is_stale_and_what_was_published_is_audited(made: PublishedStudy) -> None:
    file = made.root / "configs" / "experiments" / "plain.yaml"
    file.write_text(file.read_text().replace("steps: 5", "steps: few"))
    report = audit(made.root, STUDY)
    assert report.wrong == []
    assert {finding.file for finding in report.stale} == {"configs/experiments/plain.yaml:6"}
    assert report.counts["integrity"]["files in the store"].checked > 100


def test_a_study_without_a_config_is_audited_by_its_results(made: PublishedStudy) -> None:
    (made.root / "configs" / "studies" / "small.yaml").unlink()
    report = audit(made.root, STUDY)
    assert [finding.file for finding in report.unchecked] == ["configs/studies/small.yaml"]
    assert report.wrong == report.stale == []


def test_a_source_without_a_licence_and_one_that_nobody_knows_any_more(made: PublishedStudy) -> None:
    file = made.root / "configs" / "sources.yaml"
    text = file.read_text()
    file.write_text(text.replace('"MIT"', '" "'))
    assert "words has no licence" in said(audit(made.root, STUDY, "trace"))[0]
    before, words, after = text.partition("words:")
    file.write_text(before + words + after.replace("FETCHED", "ELSEWHERE", 1))
    found = audit(made.root, STUDY, "trace").unchecked
    assert any("no source is data words" in str(one) and "its licence is not known" in str(one) for one in found)


def test_a_result_that_differs_under_other_code_says_nothing(
    made: PublishedStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = thing(made, "cell", "plain")
    monkeypatch.setattr("redistill.audit.remade.make_again", lambda root, tasks, n=1: [
        Answer(["metrics.json"] if task.kind == "cell" else []) for task in tasks])  # fmt: skip
    assert f"results/{cell.key}/metrics.json" in said(audit(made.root, cell.key, "recompute"))[0]
    monkeypatch.setattr(comparable, "differences", lambda parts: ["redistill.evaluation.metrics has changed"])
    report = audit(made.root, cell.key, "recompute")
    assert report.wrong == []
    assert "other code or packages made it, so that says nothing" in said(report)[0]
    rerun = audit(made.root, made.node("student", "plain").key, "rerun").unchecked[-1]
    assert "a rerun would say nothing: redistill.evaluation.metrics has changed" in rerun.message


def test_code_and_packages_are_compared_with_those_of_the_key(original: PublishedStudy) -> None:
    parts = thing(original, "cell").parts
    assert comparable.differences(parts) == []
    other = {**parts, "code": parts["code"] | {"redistill.gone": "0" * 16, "redistill.errors": "0" * 16},
             "packages": parts["packages"] | {"numpy": "1.0", "nothing-of-this-name": "2.0"}}  # fmt: skip
    found = comparable.differences(other)
    assert "redistill.gone has changed" in found
    assert any("numpy is" in one and "and was 1.0" in one for one in found)
    assert "nothing-of-this-name is not installed and was 2.0" in found


def test_plugins_are_found_in_the_studies_that_name_them(made: PublishedStudy) -> None:
    file = made.root / "mine.py"
    file.write_text("def mine():\n    pass\n")
    digest = store.sha256_file(file)
    study = made.root / "configs" / "studies" / "other.yaml"
    study.write_text(f"plugins: {{mine: {{kind: loss, file: mine.py, sha256: {digest}}}}}\n")
    code = {"plugin:loss:mine": digest[:16], "redistill.distill.kd": "0" * 16}
    expected = [{"kind": "loss", "name": "mine", "file": str(file), "sha256": digest}]
    assert comparable.plugins_of(made.root, code) == expected
    assert comparable.plugins_of(made.root, {"plugin:loss:mine": "0" * 16}) == []


# --- seals -----------------------------------------------------------------------------------------------------------


def test_a_seal_is_believed_for_the_key_that_was_named_alone(made: PublishedStudy, tmp_path: Path) -> None:
    key, other = new_key(tmp_path / "key.pem"), new_key(tmp_path / "other.pem")
    assert any("there is no seal" in one for one in said(audit(made.root, STUDY, trusted=key)))
    seal.seal(made.root, STUDY, tmp_path / "key.pem")
    report = audit(made.root, STUDY, trusted=key)
    assert said(report) == []
    assert f"sealed by {key}, the key that was named" in report.notes
    assert report.counts["integrity"]["sealed records"].checked == 32
    assert any("nobody has named as trusted" in note for note in audit(made.root, STUDY).notes)
    refused = audit(made.root, STUDY, trusted=other)
    assert refused.wrong[0].file == "results/small/signed/seal.json"
    assert "not by the trusted key" in refused.wrong[0].message


# --- samples and other machines --------------------------------------------------------------------------------------


def test_a_sample_is_drawn_by_its_seed_and_a_larger_one_has_the_smaller_in_it(original: PublishedStudy) -> None:
    things = list(published.read(original.root, STUDY).things.values())
    few = [t.key for t in drawn(things, "4", 0, "root")]
    assert few == [t.key for t in drawn(things[::-1], "4", 0, "root")]
    assert [t.key for t in drawn(things, "50%", 0, "root")][:4] == few
    assert len(drawn(things, "50%", 0, "root")) == 16
    assert few != [t.key for t in drawn(things, "4", 1, "root")]
    assert few != [t.key for t in drawn(things, "4", 0, "another")]
    assert len(drawn(things, "1%", 0, "root")) == 1
    assert drawn(things, "1", 0, "root", [things[-1].key]) == [things[-1]]


def test_replay_says_how_many_of_how_many_it_took(original: PublishedStudy) -> None:
    report = audit(original.root, STUDY, "replay", sample="20%", seed=3)
    assert report.sample == {"asked": "20%", "seed": 3}
    counts = report.counts["replay"].values()
    assert sum(counted.of for counted in counts) == 18
    taken = sum(counted.checked for counted in counts) + sum(f.level == "replay" for f in report.unchecked)
    assert taken == 4


def test_elsewhere_other_bytes_are_judged_by_the_metric_and_the_rule_is_said(made: PublishedStudy) -> None:
    run = thing(made, "student", "plain · marks · seed 0")
    here = machine()
    answer = Answer(["model.safetensors"], scores={"accuracy": [0.5, 0.515]}, machine_here=here)
    assert why_not_bytes(made.root, run, answer) is None  # it is portable
    config = run.parts["config"] | {"runtime": run.parts["config"]["runtime"] | {"portable": False}}
    other = Thing(**{**run.__dict__, "parts": run.parts | {"config": config}})
    assert why_not_bytes(made.root, other, answer) is None  # the same kind of machine
    record = made.record(run.key)
    record.write_text(record.read_text().replace(here["vendor"], "AnotherVendor"))
    why = why_not_bytes(made.root, other, answer)
    assert why is not None
    assert "vendor are AnotherVendor" in why
    report = Report("", "rerun")
    judge("rerun", other, answer, why, Reproduction(tolerance=0.02), report)
    assert report.status == Exit.RIGHT
    assert "accuracy 0.500000, now 0.515000; within 0.02 counts as the same, as it was made on" in report.notes[0]
    judge("rerun", other, answer, why, Reproduction(), report)
    assert "within 0.01 counts as the same" in report.wrong[0].message
    record.unlink()
    assert why_not_bytes(made.root, other, answer) == "no record says on what machine it was made"
    unscored = Report("", "rerun")
    judge("rerun", other, Answer(["logits.npy"]), why, Reproduction(), unscored)
    assert unscored.status == Exit.NOT_CHECKED


# --- again -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dataset", "tokens", "baseline", "choice", "cell", "table"])
def test_a_thing_is_made_again_to_the_same_bytes(original: PublishedStudy, tmp_path: Path, kind: str) -> None:
    one = thing(original, kind)
    assert again(original.root, one, tmp_path / "again") == []
    assert {f.name for f in (tmp_path / "again").iterdir()} == set(one.files)


def test_what_differs_is_named(made: PublishedStudy, tmp_path: Path) -> None:
    cell = thing(made, "cell", "plain")
    with_another = Thing(**{**cell.__dict__, "inputs": cell.inputs | {"seed 0": cell.inputs["seed 1"]}})
    assert again(made.root, with_another, tmp_path / "again") == ["metrics.json"]


def test_what_cannot_be_made_again_says_why(made: PublishedStudy, tmp_path: Path) -> None:
    with pytest.raises(RedistillError, match="is fetched and not made"):
        again(made.root, thing(made, "data"), tmp_path / "a")
    cell = thing(made, "cell", "taught")
    run = made.folder("student", "taught · marks · seed 1")
    file = run / "predictions.parquet"
    content_before = file.read_bytes()
    file.write_bytes(b"nothing")
    with pytest.raises(RedistillError, match="predictions.parquet: SHA-256 is"):
        again(made.root, cell, tmp_path / "b")
    file.write_bytes(content_before)
    unknown = Thing(**{**cell.__dict__, "parts": cell.parts | {"config": {"metric": "nothing"}}})
    with pytest.raises(RedistillError, match="taught · marks: could not be made again: KeyError"):
        again(made.root, unknown, tmp_path / "c")
    shutil.rmtree(run)
    with pytest.raises(RedistillError, match=f"its seed 1 is not in the store: `redistill pull {run.name}`"):
        again(made.root, cell, tmp_path / "d")


def test_a_process_that_dies_is_replaced(made: PublishedStudy, tmp_path: Path) -> None:
    tasks = [task_of(made.root, thing(made, "choice"), tmp_path / str(i)) for i in range(2)]
    deadly = made.root / "configs" / "studies" / "deadly.py"
    deadly.write_text("import os\n\n\ndef deadly(folder):\n    os._exit(3)\n")
    digest = store.sha256_file(deadly)
    plugin = {"kind": "reader", "name": "deadly", "file": str(deadly), "sha256": digest}
    dataset = task_of(made.root, thing(made, "dataset", "marks"), tmp_path / "deadly")
    config = dataset.config | {"reader": {"method": "deadly", "settings": {}}}
    killed = type(dataset)(**{**dataset.__dict__, "config": config, "plugins": [plugin]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDISTILL_TRUST_PLUGINS", "1")
        first, second, third = make_again(made.root, [tasks[0], killed, tasks[1]])
    assert first.differ == third.differ == []
    assert first.error is third.error is None
    assert second.error is not None
    assert "its process has ended (status 3" in second.error
    assert second.machine


def test_scratch_of_an_audit_that_was_killed_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "store" / "work" / "audit" / "999999999.abc"
    left.mkdir(parents=True)
    with scratch(tmp_path) as folder:
        assert folder.is_dir()
        assert not left.exists()
    assert not (tmp_path / "store" / "work" / "audit").exists()
    assert folder_of(tmp_path, "0" * 16) is None


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_says_it_all_and_ends_by_outcome(made: PublishedStudy, python: Python) -> None:
    before = {name: content(made.root / name) for name in ("store", "results", "configs")}
    done = python("-m", "redistill", "audit", STUDY, "--level", "recompute", cwd=made.root)
    assert (done.returncode, done.stderr) == (Exit.RIGHT, "")
    assert "recompute 3 of 3 tables, 1 of 1 choices, 7 of 7 cells" in done.stdout
    assert {name: content(made.root / name) for name in before} == before
    run = made.node("student", "plain · marks · seed 0")
    (run.folder(made.root) / "log.jsonl").write_text("{}\n")
    wrong = python("-m", "redistill", "audit", STUDY, cwd=made.root)
    assert wrong.returncode == Exit.WRONG
    assert f"WRONG: store/runs/{run.key}/log.jsonl: SHA-256 is" in wrong.stderr
    shutil.rmtree(run.folder(made.root))
    absent = python("-m", "redistill", "audit", run.key, "-l", "trace", cwd=made.root)
    assert absent.returncode == Exit.NOT_CHECKED
    assert f"redistill pull {run.key}" in absent.stdout
    unknown = python("-m", "redistill", "audit", "nothing", cwd=made.root)
    assert unknown.returncode == 1
    assert "Traceback" not in unknown.stderr


def test_the_report_for_programs_has_a_stable_layout(made: PublishedStudy, python: Python) -> None:
    (made.results / "pictures.md").write_text("### Pictures\n")
    made.record(made.node("table", "texts").key).unlink()
    done = python("-m", "redistill", "audit", STUDY, "--json", "--sample", "5%", cwd=made.root)
    held = json.loads(done.stdout)
    assert sorted(held) == sorted((
        "schema", "what", "study", "root", "level", "outcome", "sample", "counts", "wrong", "stale", "unchecked",
        "notes",
    ))  # fmt: skip
    assert held["schema"] == 1
    assert held["outcome"] == "wrong"
    assert held["sample"] == {"asked": "5%", "seed": 0}
    assert held["level"] == "integrity"
    assert set(held["counts"]) <= set(LEVELS)
    assert held["counts"]["integrity"]["files in the store"] == {"checked": 121, "of": 121}
    assert {tuple(sorted(finding)) for finding in (*held["wrong"], *held["unchecked"])} == {
        ("file", "level", "message", "thing")
    }
    assert {finding["file"] for finding in held["wrong"]} == {"results/small/pictures.md"}


# --- files of results/, when nothing else tells ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("plain\tmarks\t0", "plain\tmarks\t5", "lacks the run"),
        ("pictures\ttaught\tmarks\t0", "texts\ttaught\tmarks\t0", "lacks the run"),
        ("texts\treader\twords\t0", "texts\treader\twords\t1", "the seed of"),
        ("tuned\ttuned\tmarks\t1", "tuned\tother\tmarks\t1", "lacks the run"),
        ("taught\tmarks\t1", "plain\tmarks\t1", "lacks the run"),
        ("pictures\tfloor\tmarks", "pictures\tplain\tmarks", "is not its run with seed 0"),
    ],
)
def test_a_line_of_runs_tsv_that_is_not_so_is_found_without_configs(
    made: PublishedStudy, old: str, new: str, words: str
) -> None:
    (made.root / "configs" / "studies" / "small.yaml").unlink()
    file = made.results / "runs.tsv"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    found = [str(one) for one in audit(made.root, STUDY, "trace").wrong if one.file == "results/small/runs.tsv"]
    assert any(words in one for one in found), found


def test_a_space_that_changes_no_value_is_found_in_every_file(made: PublishedStudy) -> None:
    files = [*made.results.glob("*.json"), made.folder("cell") / "manifest.json", made.folder("cell") / "done.json",
             made.record(made.node("cell").key)]  # fmt: skip
    for file in files:
        before = file.read_text(encoding="utf-8")
        file.write_text(before.replace(":", ": ", 1), encoding="utf-8")
        level = "integrity" if file.parent.parent.name == "results" and "store" in file.parts else "trace"
        found = {finding.file for finding in audit(made.root, STUDY, level).wrong}
        assert file.relative_to(made.root).as_posix() in found, file
        file.write_text(before, encoding="utf-8")
    assert audit(made.root, STUDY).status == Exit.RIGHT


@pytest.mark.parametrize("study", ["embedded", "methods", "paper", "published"])
def test_the_lines_of_every_study_here_agree_with_its_cells(study: str) -> None:
    """Grids, choices, tasks that other tasks' runs are read on: nothing of that is taken for a mistake."""
    plan = make_plan(REPOSITORY, study)
    planned = as_planned(plan)
    places: dict[str, list[str]] = {}
    for place, key in planned.cells.items():
        places.setdefault(key, []).append(" / ".join(place))
    things = {
        key: Thing(**{**one.__dict__, "cells": tuple(places.get(key, ()))}) for key, one in planned.things.items()
    }
    runs = tuple(published.Run(r.table, r.experiment, r.task, r.seed, r.key) for r in plan.runs)
    lines = ["\t".join(listed.COLUMNS), *(f"{r.table}\t{r.experiment}\t{r.task}\t{r.seed}\t{r.key}" for r in runs)]
    read = Published(plan.root, study, None, {}, things, runs)
    assert list(listed.disagreements(read, "\n".join(lines) + "\n")) == []
    assert len(runs) > 10
