"""Several devices train one run: the numbers of one device, one sentence when one of them dies, GPUs of their own.

`make devices` kills runs of several devices again and again, and shares weights among four; without it, a run of each
kind is killed once, and two share.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Project
from engine_project import Engine, Process, in_session, planned, wait_until
from method_proofs import Case
from safetensors.torch import load_file
from test_language import STUDY, last_problem
from test_methods import CASES
from torch import Tensor, nn

from redistill import environment, registry
from redistill.config.schema.runtime import Runtime
from redistill.errors import RedistillError
from redistill.estimate import together as takes
from redistill.interruption import EXIT
from redistill.job import PORTABLE
from redistill.models import together
from redistill.models.together import Part
from redistill.training import distribution

OUTPUTS = "outputs nano/image-teacher · nano-digits · seed 0 · train"
KILLS = int(os.environ.get("REDISTILL_KILLS", "1"))
CLOSE = {"atol": 1e-5, "rtol": 1e-4}  # as in test_engine.py
ROOT = Path(__file__).parents[1]
PROBE = Path(__file__).with_name("devices_probe.py")
LONG = KILLS > 1
SOON = 30.0  # seconds in which a run of several devices ends when one of them has died


pytestmark = pytest.mark.timeout(400)  # the first one makes the runs


# --- losses ----------------------------------------------------------------------------------------------------------

BY_EXAMPLE = ("student_logits", "teacher_logits", "all_teacher_logits", "labels", "index", "mask", "student_hidden",
              "teacher_hidden")  # fmt: skip


def cut(inputs: dict, examples: int, begin: int, end: int) -> dict:
    """Some of the examples; what is of texts as long as ever."""

    def of(tensor: Tensor) -> Tensor:
        rows = len(tensor) // examples  # pixels
        return tensor[begin * rows : end * rows]

    new = dict(inputs)
    for name in BY_EXAMPLE:
        value = inputs.get(name)
        if value is not None:
            new[name] = [of(tensor) for tensor in value] if isinstance(value, list) else of(value)
    return new


def weight(over: str, inputs: dict) -> float:
    if over == "examples":
        value = next(inputs[name] for name in BY_EXAMPLE if name in inputs)
        return len(value[0] if isinstance(value, list) else value)
    if over == "tokens":
        return float(inputs["mask"].sum())
    labels = inputs["labels"]
    return float((~labels.isnan() if labels.is_floating_point() else labels >= 0).sum())


def over(case: Case) -> str:
    return registry.signature("loss", case.method).over


@pytest.mark.parametrize("case", [c for c in CASES if over(c) != "batch" and "generator" not in c.asked], ids=str)
def test_a_loss_that_says_that_it_is_a_mean_is_one(case: Case) -> None:
    """Batch norms look at what they are given, so those of what a loss learns are left as they are."""
    inputs = case.inputs(5)
    if "own" in inputs:
        inputs["own"].eval()
    if "labels" in inputs and not inputs["labels"].is_floating_point():
        inputs["labels"][1] = -1
    parts = [cut(inputs, 5, 0, 2), cut(inputs, 5, 2, 5)]
    weights = [weight(over(case), part) for part in parts]
    mean = sum(w * case.value(part).item() for w, part in zip(weights, parts, strict=True)) / sum(weights)
    assert mean == pytest.approx(case.value(inputs).item(), rel=1e-9, abs=1e-11)


def test_a_loss_whose_file_says_nothing_is_of_the_whole_batch(tmp_path: Path) -> None:
    assert registry.signature("loss", "rkd").over == "batch"
    file = tmp_path / "mine.py"
    for text, expected in (("", "batch"), ('OVER = "labels"\n', "labels")):
        file.write_text(f"{text}def mine(student_logits): ...\n")
        assert registry._signature(file, "mine", text).over == expected
    file.write_text('OVER = "pixels"\ndef mine(student_logits): ...\n')
    with pytest.raises(RedistillError, match="`OVER` must be one of 'batch', 'examples', 'labels', 'tokens'"):
        registry._signature(file, "mine", "pixels")


def probe(what: str, devices: int) -> dict[str, float]:
    pinned = {**environment.variables(PORTABLE), "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, str(PROBE), what, str(devices)], env={**os.environ, **pinned}, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("devices", [2, 4])
def test_losses_of_several_devices_are_those_of_one_and_so_are_their_gradients(devices: int) -> None:
    """With means, with relations, with what remembers; with texts of several lengths, and examples without labels."""
    apart = probe("losses", devices)
    assert len(apart) > 10
    assert {method: value for method, value in apart.items() if value > 2e-5} == {}


def test_what_is_gathered_of_texts_is_filled_up_and_what_does_not_count_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from redistill.training.across import gather

    heard = [torch.full((2, 3, 2), 1.0), torch.full((2, 3, 2), 2.0)]

    def told(into: list[Tensor], sent: Tensor) -> None:
        for place, what in zip(into, heard, strict=True):
            place.copy_(what)

    monkeypatch.setattr(torch.distributed, "all_gather", told)
    mine = torch.ones(2, 2, 2, requires_grad=True)
    whole = gather(mine, [2, 1], [3, 2], Part(0, 2))
    assert [row[0, 0].item() for row in whole] == [1.0, 1.0, 2.0]
    whole.sum().backward()
    assert mine.grad is not None
    assert torch.equal(
        mine.grad, torch.full((2, 2, 2), 2.0)
    )  # each of two devices has the whole, and the mean is taken
    idle = torch.ones(1, 2, 2, requires_grad=True)
    gather(idle, [0, 2], [3, 2], Part(0, 2)).sum().backward()
    assert idle.grad is not None
    assert not idle.grad.any()


# --- shards ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("devices", [2, 4] if LONG else [2])
def test_weights_that_devices_share_become_those_of_one_device_and_go_on_to_the_same_bytes(devices: int) -> None:
    apart = probe("shards", devices)
    assert apart["from one device"] < 1e-4
    assert apart["from itself"] == 0.0
    assert apart["when recomputed"] < 1e-6


def test_layers_are_blocks_of_lists_without_the_heads() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(2, 2), nn.ReLU())

    class Student(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.blocks = nn.Linear(2, 2), nn.ModuleList([Block(), Block()])
            self.deep = nn.ModuleList([nn.ModuleList([Block()])])
            self.end = nn.Sequential(Block(), nn.Linear(2, 2))

    learner = nn.ModuleDict({"student": Student(), "auxiliary": nn.ModuleList([Block()])})
    student = learner["student"]
    names = [name for name, _ in distribution.layers(learner, [])]
    assert names == ["student.blocks.0", "student.blocks.1", "student.deep.0.0", "student.end.0"]
    head = student.end[0].inner[0]  # type: ignore[union-attr,index]
    assert "student.end.0" not in [name for name, _ in distribution.layers(learner, [head])]


# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Small runs on digits, on one, two and four devices; nothing was interrupted. Only to be read."""
    studies = {
        "engine": ("exact", "related"), "engine-two": ("exact", "related", "stages", "factors"),
        "engine-shards": ("exact", "stages", "factors"), "engine-half-shards": ("exact",), "engine-four": ("exact",),
    }  # fmt: skip
    with planned(tmp_path_factory.mktemp("devices") / "devices", *studies) as made:
        for study, names in studies.items():
            wanted = [made.key(name, study) for name in names]
            wanted += [key for title, key in made.keys[study].items() if study == "engine" and title == OUTPUTS]
            order = list(dict.fromkeys(key for one in wanted for key in with_inputs(made, one)))
            for key in order:
                made.told(key, checkpoints={"steps": None, "seconds": 300})
            done = made.forked("make", *order)
            assert done.returncode == 0, done.stdout + done.stderr
            for key in order:
                made.told(key, checkpoints={"steps": 1, "seconds": None})
        yield made


def with_inputs(engine: Engine, key: str) -> list[str]:
    """What a thing is made of, and the thing, in the order in which they are made."""
    told = json.loads((engine.root / "store" / "work" / "plans" / f"{key}.json").read_text())
    inputs = [Path(folder).name for folder in told["input_folders"].values()]
    return [*(one for each in inputs for one in with_inputs(engine, each)), key]


def weights(engine: Engine, experiment: str, study: str) -> dict[str, Tensor]:
    return load_file(engine.run(engine.key(experiment, study)) / "model.safetensors")


def logged(engine: Engine, experiment: str, study: str) -> list[dict[str, float]]:
    text = (engine.run(engine.key(experiment, study)) / "log.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("experiment", "study"),
    [("exact", "engine-two"), ("exact", "engine-four"), ("exact", "engine-shards"), ("related", "engine-two")],
)
def test_several_devices_give_the_weights_of_one_but_for_rounding(engine: Engine, experiment: str, study: str) -> None:
    """Sixty examples in batches of 16: the last of each epoch has 12."""
    one, other = weights(engine, experiment, "engine"), weights(engine, experiment, study)
    assert other.keys() == one.keys()
    for name, tensor in other.items():
        torch.testing.assert_close(
            tensor, one[name], **(CLOSE if experiment == "exact" else {"atol": 1e-3, "rtol": 0.01})
        )
    for ours, theirs in zip(logged(engine, experiment, study), logged(engine, experiment, "engine"), strict=True):
        assert ours.keys() == theirs.keys()
        assert [ours[name] for name in ours] == pytest.approx([theirs[name] for name in ours], rel=2e-3)


def test_what_a_teacher_says_is_the_same_bytes_however_many_devices_ask_it(engine: Engine, tmp_path: Path) -> None:
    """The teacher of the one, asked by the many."""
    one, two = (engine.keys[study][OUTPUTS] for study in ("engine", "engine-two"))
    expected = engine.root / "store" / "outputs" / one
    file = engine.root / "store" / "work" / "plans" / f"{two}.json"
    teacher = json.loads(file.with_name(f"{one}.json").read_text())["input_folders"]["teacher"]
    asked = engine.without(tmp_path / "asked", two)
    asked.told(two, input_folders=json.loads(file.read_text())["input_folders"] | {"teacher": teacher})
    done = asked.make(two)
    assert done.returncode == 0, done.stderr
    made = asked.root / "store" / "outputs" / two
    for name in ("logits.npy", "counts.json"):
        assert (made / name).read_bytes() == (expected / name).read_bytes(), name
    assert np.load(made / "logits.npy").any(axis=-1).all()


def test_a_run_whose_weights_are_shared_ends_in_one_file_and_its_record_counts_all_memory(engine: Engine) -> None:
    key = engine.key("stages", "engine-shards")
    names = {file.name for file in engine.run(key).iterdir()}
    assert names == {file.name for file in engine.run(engine.key("stages", "engine-two")).iterdir()}
    assert not any(name.startswith("rank") for name in names)
    assert engine.record(key)["peak_memory_mib"] > 1.5 * engine.record(engine.key("exact"))["peak_memory_mib"]


@pytest.mark.parametrize("study", ["engine-two", "engine-shards"])
def test_predictions_are_those_of_the_model_that_was_saved_whose_norms_are_the_first_devices(
    engine: Engine, tmp_path: Path, study: str
) -> None:
    key = engine.key("factors", study)
    done = engine.forked("predict", str(tmp_path / "again"), key)
    assert done.returncode == 0, done.stderr
    again = (tmp_path / "again" / "predictions.parquet").read_bytes()
    assert again == (engine.run(key) / "predictions.parquet").read_bytes()


def test_shares_are_trained_in_mixed_precision_too(engine: Engine) -> None:
    half, exact = weights(engine, "exact", "engine-half-shards"), weights(engine, "exact", "engine")
    assert {tensor.dtype for tensor in half.values()} == {torch.float32}
    assert any(not torch.allclose(tensor, exact[name], **CLOSE) for name, tensor in half.items())
    assert all((tensor - exact[name]).abs().max() < 0.05 for name, tensor in half.items())


# --- one of them dies ------------------------------------------------------------------------------------------------

SHARED = [("stages", "engine-two"), ("stages", "engine-shards")]


def of_job(process: Process) -> list[int]:
    """The processes that a job has started."""
    return sorted(pid for pid in in_session(process.pid) if pid != process.pid)


def same_files(made: Path, expected: Path) -> None:
    names = {file.name for file in expected.iterdir()}
    assert {file.name for file in made.iterdir()} == names
    for name in sorted(names):
        assert (made / name).read_bytes() == (expected / name).read_bytes(), f"{name} differs"


@pytest.mark.timeout(300 + 60 * KILLS)
@pytest.mark.parametrize(("experiment", "study"), SHARED)
def test_when_one_process_is_killed_the_run_ends_soon_with_one_sentence_and_goes_on_to_the_same_bytes(
    engine: Engine, tmp_path: Path, experiment: str, study: str
) -> None:
    key, chance = engine.key(experiment, study), random.Random(study)
    broken = engine.without(tmp_path / "broken", key)
    for _ in range(KILLS):
        before = broken.checkpoints(key)[-1:]
        with broken.started("redistill", "make", key) as process:
            assert wait_until(process, lambda: broken.checkpoints(key)[-1:] > before)  # noqa: B023
            killed = chance.randrange(2)
            os.kill(of_job(process)[killed], signal.SIGKILL)
            began = time.monotonic()
            _, errors = process.communicate(timeout=60)
            assert time.monotonic() - began < SOON
        assert process.returncode == 1, errors
        said = [line for line in errors.splitlines() if line.startswith("redistill: ")]
        assert len(said) == 1, errors
        assert f"redistill: rank {killed} of 2 was killed by SIGKILL" in said[0]
        assert "the same command goes on from the last checkpoint" in said[0]
        assert "Traceback" not in errors
        assert broken.checkpoints(key)
    done = broken.make(key)
    assert done.returncode == 0, done.stderr
    assert "goes on after step" in done.stdout
    same_files(broken.run(key), engine.run(key))
    assert broken.record(key)["resumed"]


@pytest.mark.parametrize(("experiment", "study"), SHARED)
def test_asked_to_stop_all_save_one_checkpoint_and_go_on_to_the_same_bytes(
    engine: Engine, tmp_path: Path, experiment: str, study: str
) -> None:
    key = engine.key(experiment, study)
    stopped = engine.without(tmp_path / "stopped", key)
    stopped.told(key, checkpoints={"steps": 4, "seconds": None})
    with stopped.started("redistill", "make", key) as process:
        assert wait_until(process, lambda: len(stopped.checkpoints(key)) > 0)
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == EXIT, errors
    assert errors.count("asked to stop: saved after step") == 1
    assert stopped.checkpoints(key)
    assert not list(stopped.root.glob("store/work/failed/*"))
    done = stopped.make(key)
    assert done.returncode == 0, done.stderr
    same_files(stopped.run(key), engine.run(key))


def test_when_the_job_is_killed_its_processes_end_too(engine: Engine, tmp_path: Path) -> None:
    key = engine.key("stages", "engine-two")
    killed = engine.without(tmp_path / "killed", key)
    with killed.started("redistill", "make", key) as process:
        assert wait_until(process, lambda: len(killed.checkpoints(key)) > 0)
        assert len(of_job(process)) == 2
        process.kill()
        deadline = time.monotonic() + 20
        while of_job(process) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert of_job(process) == []


def test_processes_of_their_own_do_the_same_as_forks(engine: Engine, tmp_path: Path) -> None:
    key = engine.key("exact", "engine-two")
    real = engine.without(tmp_path / "real", key)
    done = real.make(key, REAL_RANKS="1")
    assert done.returncode == 0, done.stderr
    same_files(real.run(key), engine.run(key))


def test_what_fails_on_one_device_is_said_once_and_noted(engine: Engine, tmp_path: Path) -> None:
    key = engine.key("exact", "engine-two")
    failing = engine.without(tmp_path / "failing", key)
    done = failing.forked("fail", key, "disk")
    assert done.returncode == 1
    assert done.stderr.count("redistill: ") == 1, done.stderr
    assert "the disk is full" in done.stderr
    assert "(rank 0 of 2)" in done.stderr
    assert "Traceback" not in done.stderr
    noted = json.loads((failing.root / "store" / "work" / "failed" / f"{key}.json").read_text())
    assert "No space left on device" in noted["traceback"]


# --- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "key", "words"),
    [
        ("strategy: fsdp", "runtime.strategy", "shards a model over several `devices`, and there is one"),
        ("devices: 0", "runtime.devices", "greater than 0"),
        ("devices: auto", "runtime.devices", "integer"),
        ("devices: 2\n  strategy: zero", "runtime.strategy", "'ddp' or 'fsdp'"),
        ("processes: 2", "runtime.processes", "unknown key"),
    ],
)
def test_a_runtime_of_devices_that_cannot_be_is_refused(project: Project, said: str, key: str, words: str) -> None:
    project.edit(STUDY, "portable: true", f"portable: true\n  {said}")
    problem = last_problem(project)
    assert problem.key == key
    assert words in problem.message


def test_shards_do_not_scale_losses(project: Project) -> None:
    project.edit(STUDY, "precision: float32\n  device: cpu", "precision: float16\n  device: cuda")
    project.edit(STUDY, "portable: true", "portable: false\n  devices: 2\n  strategy: fsdp")
    problem = last_problem(project)
    assert (problem.key, "`bfloat16`" in problem.message) == ("runtime.precision", True)


def test_the_plan_says_what_each_run_takes() -> None:
    assert takes(Runtime()) is None
    assert takes(Runtime(devices=2, threads=3)) == "each run takes 2 processes together (ddp) and 6 threads"
    said = takes(Runtime(device="cuda", devices=4, strategy="fsdp"))
    assert said == (
        "each run takes 4 GPUs together (fsdp) and 4 threads; `snakemake --resources gpu=N` shares out N GPUs"
    )


def test_fewer_gpus_than_the_study_says_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WORLD_SIZE", "3"), ("RANK", "0"), ("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "3")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(RedistillError, match="runtime.devices is 3 .* torch finds 2 GPUs here"):
        together.meet({"device": "cuda", "devices": 3})
    with pytest.raises(RedistillError, match="3 processes were started, and the study says runtime.devices: 1"):
        together.meet({"device": "cpu", "devices": 1})
