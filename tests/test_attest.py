"""Attestations: what is drawn, what is signed, what counts, and where two machines part."""

import base64
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nano_study import Nano, copy_project
from published_study import PublishedStudy

from redistill.audit.sample import drawn
from redistill.claims import attest, envelopes, parted, traces
from redistill.claims.attest import DIFFERS, NOT_MADE, SAME, runs_behind
from redistill.claims.reproductions import attestations, reproductions
from redistill.claims.steps import Traced
from redistill.claims.traces import Parted, first_difference
from redistill.errors import RedistillError
from redistill.provenance import published, signatures, store
from redistill.provenance.published import Published, Thing
from redistill.provenance.signatures import SignatureError


@pytest.fixture
def key(tmp_path: Path) -> Path:
    signatures.new_key(tmp_path / "key.pem")
    return tmp_path / "key.pem"


@pytest.fixture
def rerun(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stands for making a run again: by key, the files that differ, or why it could not be made."""
    outcomes: dict[str, Any] = {}

    def again(root: Path, thing: Thing, folder: Path) -> list[str]:
        said = outcomes.get(thing.key, [])
        if isinstance(said, str):
            raise RedistillError(said)
        shutil.copytree(thing.folder(root), folder, dirs_exist_ok=True)
        return list(said)

    def none(root: Path, thing: Thing, stage: int = 0, step: int | None = None) -> Traced:
        raise RedistillError(f"{thing.title} has no steps")

    monkeypatch.setattr(attest.making, "again", again)
    monkeypatch.setattr(attest, "traced", none)
    monkeypatch.setattr(parted, "traced", none)
    return outcomes


def results(study: PublishedStudy) -> Published:
    return published.read(study.root, "small")


def attested(study: PublishedStudy, key: Path, runs: list[Thing] | None = None, **more: Any) -> Path:
    found = results(study)
    chosen = runs_behind(found) if runs is None else runs
    return attest.attest(found, key, chosen, "100%", **more)


def said(file: Path) -> dict[str, Any]:
    return envelopes.read(file, attest.PAYLOAD_TYPE)[0]


# --- which runs ------------------------------------------------------------------------------------------------------


def test_the_runs_behind_a_cell_are_its_teachers_too(published_project: PublishedStudy) -> None:
    found = results(published_project)
    cell = found.cells["pictures", "taught", "marks"]
    assert sorted(run.title for run in runs_behind(found, [cell.key])) == [
        "taught · marks · seed 0", "taught · marks · seed 1", "teacher · marks · seed 0"
    ]  # fmt: skip


def test_a_sample_is_drawn_by_its_seed_and_the_studys_root(
    study: PublishedStudy, key: Path, rerun: dict[str, Any]
) -> None:
    found = results(study)
    runs = runs_behind(found)
    value = said(attest.attest(found, key, runs, "3", 7))
    assert value["sample"] == {"asked": "3", "seed": 7, "of": 13}
    assert [run["key"] for run in value["runs"]] == [run.key for run in drawn(runs, "3", 7, found.digest)]
    with pytest.raises(RedistillError, match="`half` is no sample"):
        attest.attest(found, key, runs, "half")


def test_a_run_is_named_by_its_key_or_how_that_begins(published_project: PublishedStudy) -> None:
    found, run = results(published_project), published_project.node("teacher")
    assert parted.run_of(found, run.key[:8]).key == run.key
    for named, words in (
        ("abc", "has no run abc"),
        (published_project.node("dataset", "words").key, "it is the dataset words"),
    ):
        with pytest.raises(RedistillError, match=rf"{words}.*results/small/runs.tsv"):
            parted.run_of(found, named)


# --- what is signed --------------------------------------------------------------------------------------------------


def test_an_attestation_says_what_came_of_each_run_and_on_what_kind_of_machine(
    study: PublishedStudy, key: Path, rerun: dict[str, Any]
) -> None:
    run, broken = study.node("student", "taught · marks · seed 1"), study.node("student", "plain")
    rerun |= {run.key: ["model.safetensors", "predictions.parquet"], broken.key: f"{study.root}/x: the disk is full"}
    value = said(attested(study, key))
    by_key = {one["key"]: one for one in value["runs"]}
    assert value["root"] == results(study).digest
    assert by_key[run.key]["outcome"] == DIFFERS
    assert by_key[run.key]["files"] == ["model.safetensors", "predictions.parquet"]
    scores = by_key[run.key]["metrics"]["accuracy"]
    assert scores["published"] == scores["again"]
    assert "has no steps" in by_key[run.key]["parted"]["words"][0]
    assert (by_key[broken.key]["outcome"], by_key[broken.key]["said"]) == (NOT_MADE, "x: the disk is full")
    assert sum(one["outcome"] == SAME for one in value["runs"]) == 11
    assert value["machine"]["features"] is not None
    written = json.dumps(value)
    assert os.uname().nodename not in written or os.uname().nodename in ("localhost", "")
    assert str(study.root) not in written


def test_a_baseline_is_really_made_again(study: PublishedStudy, key: Path) -> None:
    baseline = results(study).things[study.node("baseline", "floor · words").key]
    (one,) = said(attested(study, key, [baseline]))["runs"]
    assert one["outcome"] == SAME
    assert not (study.root / "store" / "work" / "audit").exists()


def test_a_run_of_other_code_is_not_made_and_nothing_is_signed(
    study: PublishedStudy, key: Path, rerun: dict[str, Any]
) -> None:
    thing = runs_behind(results(study))[0]
    old = dataclasses.replace(thing, parts=thing.parts | {"packages": {"numpy": "0.1"}})
    with pytest.raises(RedistillError, match="nothing was signed: it was made by other code or packages: numpy is"):
        attested(study, key, [old])
    assert not (study.results / "signed").exists()


def test_without_a_key_nothing_is_trained(
    study: PublishedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attest.making, "again", lambda *_: pytest.fail("it was made"))
    with pytest.raises(SignatureError):
        attested(study, tmp_path / "nowhere.pem")


# --- what counts -----------------------------------------------------------------------------------------------------

CELL = "pictures / taught / marks"


def on_another_machine(monkeypatch: pytest.MonkeyPatch, **change: str) -> None:
    here = attest.machine()
    monkeypatch.setattr(attest, "machine", lambda: here | change)


def test_a_cell_is_reproduced_where_all_runs_behind_it_are(
    study: PublishedStudy, key: Path, rerun: dict[str, Any]
) -> None:
    found = results(study)
    behind = runs_behind(found, [found.cells["pictures", "taught", "marks"].key])
    assert tuple(reproductions(study.root, "small")[CELL]) == (0, 0, 0, 3, 0)
    attested(study, key, behind[:2])
    assert tuple(reproductions(study.root, "small")[CELL]) == (0, 0, 2, 3, 0)
    attested(study, key, behind[2:])  # what one machine attests is put together
    machines, families, *_ = reproductions(study.root, "small")[CELL]
    assert (machines, families) == (1, 1)
    attested(study, key, behind)  # and counts once
    assert tuple(reproductions(study.root, "small")[CELL]) == (1, 1, 3, 3, 0)
    assert str(reproductions(study.root, "small")[CELL]) == (
        "1 machine, 1 processor family; 3 of 3 runs made again somewhere"
    )


def test_machines_and_families_are_told_apart(
    study: PublishedStudy, key: Path, rerun: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = signatures.new_key(tmp_path / "other.pem")
    attested(study, key)
    on_another_machine(monkeypatch, model="another")
    attested(study, key)
    on_another_machine(monkeypatch, vendor="Nobody", family="7")
    attested(study, tmp_path / "other.pem")
    whole = reproductions(study.root, "small")
    assert {cell[:2] for cell in whole.values()} == {(3, 2)}
    assert {cell[:2] for cell in reproductions(study.root, "small", {other}).values()} == {(1, 1)}
    assert {cell[:2] for cell in reproductions(study.root, "small", ()).values()} == {(0, 0)}


def test_a_run_that_came_out_different_contradicts(study: PublishedStudy, key: Path, rerun: dict[str, Any]) -> None:
    attested(study, key)
    run = study.node("teacher")
    rerun[run.key] = ["model.safetensors"]
    attested(study, key, [results(study).things[run.key]])
    cell = reproductions(study.root, "small")[CELL]
    assert (cell.machines, cell.contradicted) == (0, 1)  # the same machine has said both
    assert "other bytes on 1 machine" in str(cell)
    assert reproductions(study.root, "small")["pictures / plain / marks"].machines == 1


def test_what_has_changed_since_is_not_counted(study: PublishedStudy, key: Path, rerun: dict[str, Any]) -> None:
    attested(study, key)
    file = study.results / "manifests.json"
    manifests = json.loads(file.read_text(encoding="utf-8"))
    manifests[study.node("student", "taught · marks · seed 0").key]["digest"] = "0" * 64
    file.write_text(json.dumps(manifests), encoding="utf-8")
    cells = reproductions(study.root, "small")
    assert tuple(cells[CELL]) == (0, 0, 2, 3, 0)
    assert cells["pictures / plain / marks"].machines == 1  # the root is another, and this run is not


def test_a_forged_attestation_does_not_count_and_is_named(
    study: PublishedStudy, key: Path, rerun: dict[str, Any], python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    file = attested(study, key)
    envelope = json.loads(file.read_text(encoding="utf-8"))
    payload = base64.b64decode(envelope["payload"]).replace(b"AuthenticAMD", b"GenuineIntel") + b" "
    envelope["payload"] = base64.b64encode(payload).decode()
    file.write_text(json.dumps(envelope), encoding="utf-8")
    (file.parent / "empty.json").write_text("{}", encoding="utf-8")
    (file.parent / "torn.json").write_text("{", encoding="utf-8")
    found, problems = attestations(study.root, "small")
    assert found == []
    assert [problem.partition(": ")[0] for problem in problems] == [
        f"results/small/signed/attestations/{name}" for name in sorted([file.name, "empty.json", "torn.json"])
    ]
    assert "the signature is wrong" in " ".join(problems)
    assert reproductions(study.root, "small")[CELL].runs == 0
    done = python("-m", "redistill", "reproductions", "small", cwd=study.root)
    assert done.returncode == 1
    assert f"WRONG: results/small/signed/attestations/{file.name}" in done.stderr


def test_an_attestation_of_another_study_is_refused(study: PublishedStudy, key: Path, rerun: dict[str, Any]) -> None:
    file = attested(study, key)
    envelopes.write(file, said(file) | {"study": "large"}, attest.PAYLOAD_TYPE, key)
    envelopes.write(file.with_name("x.json"), {"study": "small"}, attest.PAYLOAD_TYPE, key)
    envelopes.write(file.with_name("y.json"), {"study": "small"}, "text/plain", key)
    found, problems = attestations(study.root, "small")
    assert (found, len(problems)) == ([], 3)
    assert "is an attestation of large" in " ".join(problems)


def test_the_command_attests_a_cell_and_shows_it(
    study: PublishedStudy, key: Path, python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    cell = ("--table", "texts", "--row", "floor", "--column", "words")
    done = python("-m", "redistill", "attest", "small", "--key", str(key), *cell, cwd=study.root)
    assert done.returncode == 0, done.stderr
    assert "same bytes  floor · words · seed 0" in done.stdout
    assert "signed: results/small/signed/attestations/" in done.stdout
    trusted = signatures.public_key(key)
    shown = python("-m", "redistill", "reproductions", "small", "--key", trusted, "--json", cwd=study.root)
    told = json.loads(shown.stdout)
    assert told["cells"]["texts / floor / words"]["machines"] == 1
    assert told["attestations"][0]["trusted"]
    plain = python("-m", "redistill", "reproductions", "small", cwd=study.root)
    assert "texts / floor / words: 1 machine, 1 processor family; 1 of 1 runs" in plain.stdout
    assert trusted in plain.stdout
    nobody = python("-m", "redistill", "attest", "small", cwd=study.root)
    assert (nobody.returncode, "redistill keygen" in nobody.stderr) == (1, True)


# --- where two part --------------------------------------------------------------------------------------------------


def lines(steps: int, names: tuple[str, ...] = ("a", "b"), parts: int = 99, tensor: str = "b") -> list[dict[str, Any]]:
    """A trace as training writes it, in which a tensor is another from a step on."""
    made: list[dict[str, Any]] = [{"stage": 0, "weights": dict.fromkeys(names, "0")}]
    for step in range(steps):
        weights = {name: f"{name} {step}{' other' * (step >= parts and name == tensor)}" for name in names}
        made.append({"stage": 0, "step": step, "loss": 0.5, "weights": weights})
    return made


def compact(trace: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return json.loads(json.dumps(list(traces._compact(trace))))


def test_two_traces_part_at_the_first_step_and_in_the_tensors_that_differ_there() -> None:
    whole = compact(lines(8))
    assert first_difference(whole, compact(lines(8))) is None
    assert first_difference(whole, compact(lines(5))) is None  # as far as both go
    assert first_difference(whole, compact(lines(8, parts=3))) == Parted(0, 3, ("b",), 2)
    start = lines(2)
    start[0]["weights"]["a"] = "1"
    assert str(first_difference(compact(start), whole)) == (
        "stage 0, before its first step: 1 of 2 tensors differ: a"
    )  # fmt: skip
    loss = lines(8)
    loss[3]["loss"] = 0.6
    assert str(first_difference(compact(loss), whole)) == "stage 0, step 2: the losses differ, and no tensor"
    with pytest.raises(RedistillError, match="different models"):
        first_difference(whole, compact(lines(8, names=("a", "c"))))


def test_a_published_trace_is_small(tmp_path: Path) -> None:
    names = tuple(f"bert.encoder.layer.{i}.weight" for i in range(100))
    file = traces.write_steps(tmp_path, "small", "k", Traced(lines(100, names), "w"))
    assert file.stat().st_size < 100 * 600
    assert traces.write_steps(tmp_path, "small", "k", Traced(lines(100, names), "w")) == file
    ((found, head, read),) = traces.published(tmp_path, "small", "k")
    assert (found, head["weights"], len(read)) == (file, "w", 101)
    file.write_text("{}\n", encoding="utf-8")
    with pytest.raises(RedistillError, match="no trace"):
        list(traces.published(tmp_path, "small", "k"))


def test_where_nobody_has_published_a_trace_the_command_for_the_other_side_is_named(
    study: PublishedStudy, key: Path, rerun: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = study.node("teacher")
    rerun[run.key] = ["model.safetensors"]
    monkeypatch.setattr(parted, "traced", lambda *_: Traced(lines(5, parts=2), "other weights"))
    (one,) = said(attested(study, key, [results(study).things[run.key]]))["runs"]
    assert f"`redistill parted {run.key} small` writes one" in one["parted"]["words"][0]
    ((name, digest),) = one["traces"].items()
    assert store.sha256_file(traces.folder(study.root, "small") / name) == digest


# --- the whole loop, with real training ------------------------------------------------------------------------------

STUDY = """
title: Parts
runtime: {portable: true}
tables:
  image:
    title: Digits
    tasks: [nano-digits]
    seeds: [0]
    rows: [{experiment: nano/image-finetuned}]
"""
# A module that no key counts: what it does to the optimiser stands for a processor that computes otherwise.
OTHER_MACHINE = """

import torch as _torch

_step, _calls = _torch.optim.AdamW.step, [0]


def _other(self, *arguments, **more):
    found = _step(self, *arguments, **more)
    if _calls[0] == 3:
        with _torch.no_grad():
            self.param_groups[0]["params"][0].add_(1e-3)
    _calls[0] += 1
    return found


_torch.optim.AdamW.step = _other
"""


@pytest.mark.slow
def test_two_machines_find_the_step_the_tensor_and_the_operation_where_they_part(tmp_path: Path) -> None:
    here = copy_project(tmp_path / "here")
    (here.root / "configs" / "studies" / "parts.yaml").write_text(STUDY, encoding="utf-8")
    script = "from redistill.plan import make_plan; from redistill.jobs import make_all; from pathlib import Path; "
    script += "plan = make_plan(Path.cwd(), 'parts'); make_all(plan, [plan.target.key])"
    done = here.command(sys.executable, "-c", script)
    assert done.returncode == 0, done.stdout + done.stderr
    here.redistill("keygen", "a.pem")
    first = here.redistill("attest", "parts", "--key", "a.pem", "--sample", "1", "--trace")
    assert first.returncode == 0, first.stdout + first.stderr

    there = Nano(tmp_path / "there")
    shutil.copytree(here.root, there.root, ignore=shutil.ignore_patterns("work", "*.pem"))
    with (there.root / "src" / "redistill" / "progress.py").open("a", encoding="utf-8") as stream:
        stream.write(OTHER_MACHINE)
    there.redistill("keygen", "b.pem")
    second = there.redistill("attest", "parts", "--key", "b.pem", "--sample", "1")
    assert second.returncode == 1, second.stdout + second.stderr
    assert "differs" in second.stdout
    assert "stage 0, step 3: 1 of " in second.stdout
    cell = reproductions(there.root, "parts")["image / nano/image-finetuned / nano-digits"]
    assert (cell.machines, cell.contradicted) == (1, 1)
    (value,) = [one.value for one in attestations(there.root, "parts")[0] if one.value["runs"][0]["outcome"] == DIFFERS]
    at = value["runs"][0]["parted"]
    assert (at["stage"], at["step"], len(at["tensors"])) == (0, 3, 1)
    assert at["tensors"][0] in second.stdout

    key = value["runs"][0]["key"]
    command = ["parted", key, "parts", "--stage", "0", "--step", "3"]
    assert f"redistill {' '.join(command)}" in second.stdout
    folder = Path("results") / "parts" / "signed" / "traces"
    shutil.copytree(there.root / folder, here.root / folder, dirs_exist_ok=True)
    last = here.redistill(*command)
    assert last.returncode == 0, last.stderr
    assert "aten.add_.Tensor" in last.stdout, last.stdout
    whole = here.redistill("parted", key, "parts")  # and the other way round
    assert "stage 0, step 3: 1 of " in whole.stdout
