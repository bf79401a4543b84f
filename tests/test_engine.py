"""The training engine: exact when stopped and gone on with; stages and modules, processes, precision, failures.

`make kills` kills every kind of run fifty times; without it, it is a few times.
"""

import json
import math
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_project import Engine, planned, wait_until
from safetensors.torch import load_file
from torch import Tensor

from redistill import registry
from redistill.errors import RedistillError
from redistill.evaluation.evaluate import score
from redistill.models import load, text

STUDIES = ("engine", "engine-two", "engine-half", "engine-plugins")
KILLS = int(os.environ.get("REDISTILL_KILLS", "4"))
LIMIT = 200 + 30 * KILLS  # seconds
Seen = dict[str, Tensor]
TRUSTED = {registry.TRUST: "1"}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The studies on images, with every run that can be made; nothing was interrupted. Only to be read."""
    with planned(tmp_path_factory.mktemp("engine") / "engine", *STUDIES) as made:
        names = ("plain", "stages", "factors", "rebuilt", "two-teachers", "exact", "exact-in-passes", "continued")
        one = [*(made.key(name) for name in names), made.key("taught-module", "engine-plugins")]
        two = [made.key(name, "engine-two") for name in ("stages", "exact")]
        teacher = made.keys["engine-two"]["teacher nano/image-teacher · nano-digits · seed 0"]
        outputs = [key for title, key in made.keys["engine-two"].items() if title.startswith("outputs ")]
        for key in [*one, *two, teacher]:
            made.told(key, checkpoints={"steps": None, "seconds": 300})
        for keys in (one, [teacher], outputs, *([key] for key in two)):
            done = made.forked("make", *keys, **TRUSTED)
            assert done.returncode == 0, done.stdout + done.stderr
        for key in [*one, *two]:
            made.told(key, checkpoints={"steps": 1, "seconds": None})
        yield made


@pytest.fixture(scope="module")
def watched(engine: Engine) -> Path:
    """For each run of several stages, the learner's states before and after each stage, and what the hook saw."""
    folder = engine.root.with_name("watched")
    keys = [engine.key(name) for name in ("stages", "factors", "rebuilt", "two-teachers")]
    done = engine.forked("watch", str(folder), *keys, engine.key("taught-module", "engine-plugins"), **TRUSTED)
    assert done.returncode == 0, done.stderr
    return folder


class Watched:
    """What a hook saw of a run."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.seen: dict[str, Any] = json.loads((folder / "seen.json").read_text())

    def changed(self, stage: int) -> set[str]:
        """Names of the tensors that a stage changed."""
        before, after = self.state(stage, "before"), self.state(stage, "after")
        return {name for name in before if not torch.equal(before[name], after[name])}

    def state(self, stage: int, moment: str) -> Seen:
        return load_file(self.folder / f"{stage} {moment}.safetensors")


# --- stopped and gone on with ----------------------------------------------------------------------------------------


def attempt(engine: Engine, key: str, chance: random.Random, longest: float) -> int | None:
    """Start a run and kill it soon after it wrote a checkpoint, or just at some moment. Its exit status if it ended."""
    before = engine.checkpoints(key)[-1:]
    with engine.started("redistill", "make", key) as process:
        if chance.random() < 0.75:
            wait_until(process, lambda: engine.checkpoints(key)[-1:] != before)
            time.sleep(chance.choice([0, chance.uniform(0, 0.02), chance.uniform(0, 0.3)]))
        else:
            wait_until(process, lambda: False, chance.uniform(0, longest))
        if process.poll() is not None:
            assert process.returncode == 0, process.communicate()[1]
            return process.returncode
        process.kill()
    return None


def same_bytes(made: Path, expected: Path) -> None:
    names = {file.name for file in expected.iterdir()}
    assert {file.name for file in made.iterdir()} == names
    assert {"model.safetensors", "log.jsonl", "predictions.parquet", "manifest.json"} <= names
    for name in sorted(names):
        assert (made / name).read_bytes() == (expected / name).read_bytes(), f"{name} differs"


@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize(
    ("experiment", "study"), [("plain", "engine"), ("stages", "engine"), ("stages", "engine-two")],
    ids=["one stage", "stages, module, passes, best", "two processes"],
)  # fmt: skip
def test_a_run_that_is_killed_and_gone_on_with_has_the_bytes_of_one_that_was_not(
    engine: Engine, tmp_path: Path, experiment: str, study: str
) -> None:
    key, chance = engine.key(experiment, study), random.Random(f"{experiment} {study}")
    killed = engine.without(tmp_path / "killed", key)
    kills, wanted = 0, KILLS if KILLS > 4 or study == "engine" else 2
    while kills < wanted:
        if attempt(killed, key, chance, longest=0.6 if study == "engine" else 6) is None:
            kills += 1
        else:  # it ended before it could be killed
            same_bytes(killed.run(key), engine.run(key))
            shutil.rmtree(killed.run(key))
    done = killed.make(key)
    assert done.returncode == 0, done.stderr
    same_bytes(killed.run(key), engine.run(key))
    assert not killed.scratch(key).exists()


def test_metrics_of_a_killed_run_are_the_same_and_the_record_alone_says_that_it_was_killed(
    engine: Engine, tmp_path: Path
) -> None:
    key = engine.key("plain")
    cell = next(k for title, k in engine.keys["engine"].items() if title == "cell engine/plain · nano-digits")
    killed = engine.without(tmp_path / "killed", key)
    with killed.started("redistill", "make", key, forked=False) as process:
        assert wait_until(process, lambda: len(killed.checkpoints(key)) >= 2)
        process.kill()
    last = killed.checkpoints(key)[-1]
    assert killed.redistill("make", key).returncode == 0
    same_bytes(killed.run(key), engine.run(key))
    for project in (killed, engine):
        done = project.forked("make", cell)
        assert done.returncode == 0, done.stderr
    metrics = [p.root / "store" / "results" / cell / "metrics.json" for p in (killed, engine)]
    assert metrics[0].read_bytes() == metrics[1].read_bytes()
    assert killed.record(key)["resumed"] == [{"stage": 0, "step": int(last[4:])}]
    assert engine.record(key)["resumed"] == []


@pytest.fixture(scope="module")
def halfway(engine: Engine) -> Engine:
    """A run of several stages that was killed in its second stage."""
    key = engine.key("stages")
    killed = engine.without(engine.root.with_name("halfway"), key)
    with killed.started("redistill", "make", key) as process:
        assert wait_until(process, lambda: killed.checkpoints(key)[-1:] > ["001-000000003"])
        process.kill()
    return killed


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])


def flip(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)


@pytest.mark.parametrize(("name", "spoil"), [("state.safetensors", cut), ("state.json", flip)])
def test_a_torn_checkpoint_is_named_and_the_one_before_is_used(
    engine: Engine, halfway: Engine, tmp_path: Path, name: str, spoil: Callable[[Path], None]
) -> None:
    key = engine.key("stages")
    shutil.copytree(halfway.root, tmp_path / "torn")
    torn = Engine(tmp_path / "torn", engine.keys, engine.forge)
    progress = torn.scratch(key) / "progress"
    before, newest = torn.checkpoints(key)[-2:]  # a third one, if it was killed before that was dropped
    spoil(progress / newest / name)
    shutil.copytree(progress / before, progress / ".001-000000099")  # half written, when the machine went down
    (progress / ".001-000000099" / "state.json").unlink()
    done = torn.make(key)
    assert done.returncode == 0, done.stderr
    assert f"checkpoint {newest}: torn, skipped" in done.stdout
    assert f"stage 1: goes on after step {int(before[4:])} of 30" in done.stdout
    assert f"{before}: torn" not in done.stdout
    same_bytes(torn.run(key), engine.run(key))


@pytest.mark.parametrize("done", [True, False])
def test_what_was_half_cleaned_away_does_no_harm(engine: Engine, halfway: Engine, tmp_path: Path, done: bool) -> None:
    """Killed while its scratch folder was being removed: checkpoints are left, and the log is gone."""
    key = engine.key("stages")
    shutil.copytree((engine if done else halfway).root, tmp_path / "left")
    left = Engine(tmp_path / "left", engine.keys, engine.forge)
    shutil.copytree(halfway.scratch(key), left.scratch(key), dirs_exist_ok=True)
    (left.scratch(key) / "progress" / "log.jsonl").unlink()
    made = left.make(key)
    assert made.returncode == 0, made.stderr
    assert ("log.jsonl: torn, so the run begins anew" in made.stdout) is not done
    same_bytes(left.run(key), engine.run(key))
    assert not left.scratch(key).exists()


# --- asked to stop ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("study", ["engine", "engine-two"])
def test_asked_to_stop_a_run_is_saved_ends_with_75_and_goes_on_to_the_same_bytes(
    engine: Engine, tmp_path: Path, study: str
) -> None:
    key = engine.key("stages", study)
    stopped = engine.without(tmp_path / "stopped", key)
    stopped.told(key, checkpoints={"steps": None, "seconds": 300})  # so that none is due
    log = stopped.scratch(key) / "progress" / "log.jsonl"
    with stopped.started("redistill", "make", key) as process:
        assert wait_until(process, lambda: log.is_file() and log.stat().st_size > 0)
        process.terminate()
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert "redistill: asked to stop: saved after step" in errors
    assert "Traceback" not in errors
    (newest,) = stopped.checkpoints(key)
    assert not stopped.run(key).exists()
    done = stopped.make(key)
    assert done.returncode == 0, done.stderr
    assert "goes on after step" in done.stdout
    same_bytes(stopped.run(key), engine.run(key))
    assert stopped.record(key)["resumed"] == [{"stage": int(newest[:3]), "step": int(newest[4:])}]


def test_a_command_that_is_asked_to_stop_lets_its_job_save_first(engine: Engine, tmp_path: Path) -> None:
    key = engine.key("stages")
    stopped = engine.without(tmp_path / "stopped", key)
    log = stopped.scratch(key) / "progress" / "log.jsonl"
    with stopped.started("redistill", "run", "engine/stages", "--study", "engine") as process:
        assert wait_until(process, lambda: log.is_file() and log.stat().st_size > 0)
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert "stopped; the same command goes on" in errors
    assert stopped.checkpoints(key)
    assert stopped.make(key).returncode == 0
    same_bytes(stopped.run(key), engine.run(key))


def test_asked_to_stop_before_it_trains_a_job_ends_with_75_too(engine: Engine, tmp_path: Path) -> None:
    key = engine.key("exact")
    stopped = engine.without(tmp_path / "stopped", key)
    with stopped.started("redistill", "make", key, forked=False) as process:
        assert wait_until(process, lambda: (stopped.root / "store" / "work" / f"{key}.lock").is_file())
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert "Traceback" not in errors
    assert not (stopped.root / "store" / "work" / "failed" / f"{key}.json").exists()
    assert stopped.make(key).returncode == 0
    same_bytes(stopped.run(key), engine.run(key))


# --- stages and auxiliary modules ------------------------------------------------------------------------------------


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_a_hint_trains_the_student_up_to_its_layer_and_the_next_stage_goes_on_with_both(
    engine: Engine, watched: Path
) -> None:
    key = engine.key("stages")
    seen = Watched(watched / key)
    up_to = {f"student.{i}.{what}" for i in (0, 2) for what in ("weight", "bias")}
    regressor = {f"auxiliary.regressor.0.{what}" for what in ("weight", "bias")}
    assert seen.changed(0) == up_to | regressor
    assert seen.state(0, "after").keys() == seen.state(1, "before").keys()
    assert all(torch.equal(t, seen.state(1, "before")[name]) for name, t in seen.state(0, "after").items())
    assert seen.state(0, "before")["auxiliary.regressor.0.weight"].shape == (64, 12, 1, 1)
    assert not {"student.0.weight", "student.0.bias"} & seen.changed(1)
    assert {"student.2.weight", "student.9.weight", "student.6.bias"} <= seen.changed(1)
    auxiliary = load_file(engine.run(key) / "auxiliary.safetensors")
    assert torch.equal(auxiliary["modules.regressor.0.weight"], seen.state(1, "after")["auxiliary.regressor.0.weight"])


def test_terms_are_logged_one_by_one_with_their_ramped_weights(engine: Engine) -> None:
    steps = [line for line in lines(engine.run(engine.key("stages"))) if "loss" in line]
    assert [line["step"] for line in steps] == [0, 10, 20, 23, 0, 10, 20, 29]
    for line in steps[4:]:
        weight = 1.0 - 0.5 * min(line["step"] / 30 / 0.5, 1.0)
        assert line["weight hard"] == pytest.approx(weight)
        assert line["loss"] == pytest.approx(weight * line["hard"] + 0.5 * line["soft"], rel=1e-5)
        assert line["hint"] > 0  # weighs nothing, and is logged
    assert steps[0]["loss"] == steps[0]["hint"] > steps[3]["hint"]
    chosen = [line for line in lines(engine.run(engine.key("stages"))) if "select" in line]
    assert [line["step"] for line in chosen] == [7, 15, 23, 7, 15, 23, 29]


def test_the_best_epoch_is_the_one_that_a_stage_ends_with(engine: Engine, watched: Path) -> None:
    key = engine.key("stages")
    scores = [line["select"] for line in lines(engine.run(key)) if "select" in line and line["stage"] == 1]
    ended = load_file(engine.run(key) / "model.safetensors")
    after = Watched(watched / key).state(1, "after")
    assert all(torch.equal(t, after[f"student.{name}"]) for name, t in ended.items())
    assert score(engine.run(key), "accuracy", "select")["value"] == max(scores)


def test_a_paraphraser_is_trained_alone_and_then_left_as_it_is_statistics_and_all(
    engine: Engine, watched: Path
) -> None:
    seen = Watched(watched / engine.key("factors"))
    first, second = seen.changed(0), seen.changed(1)
    assert {name.split(".")[1] for name in first} == {"paraphraser"}
    assert any("running_mean" in name for name in first)
    assert any("decoder" in name for name in first)
    assert not any(name.startswith(("auxiliary.paraphraser.", "student.bn1.")) for name in second)
    assert {"student.conv1.weight", "student.layer1.0.bn1.running_mean", "student.fc.bias"} <= second
    assert any(name.startswith("auxiliary.translator.encoder.") for name in second)
    shapes = {name: tuple(t.shape) for name, t in seen.state(0, "before").items()}
    assert shapes["auxiliary.paraphraser.encoder.3.weight"] == (32, 64, 3, 3)
    assert shapes["auxiliary.translator.encoder.3.weight"] == (32, 32, 3, 3)
    assert not any("translator.decoder" in name for name in shapes)


def test_a_stage_without_the_student_is_not_judged_by_it(engine: Engine) -> None:
    written = lines(engine.run(engine.key("factors")))
    assert {line["stage"] for line in written if "select" in line} == {1}
    decoded = [line["decoded"] for line in written if "decoded" in line]
    assert decoded[-1] < decoded[0]


def test_a_stage_that_rebuilds_keeps_what_it_says_and_draws_the_rest_anew(engine: Engine, watched: Path) -> None:
    seen = Watched(watched / engine.key("rebuilt"))
    before, after = seen.state(0, "after"), seen.state(1, "before")
    for name in ("student.0.weight", "student.0.bias", "student.2.weight", "student.2.bias"):
        assert torch.equal(before[name], after[name])
    assert before["student.6.weight"].shape == (24, 192)
    assert after["student.6.weight"].shape == (32, 192)
    assert "student.0.weight" not in seen.changed(1)
    ended = load_file(engine.run(engine.key("rebuilt")) / "model.safetensors")
    assert torch.equal(ended["0.weight"], before["student.0.weight"])
    assert ended["9.weight"].shape == (10, 32)


def test_a_module_on_the_teacher_learns_from_labels_alone_and_the_student_from_it(
    engine: Engine, watched: Path
) -> None:
    seen = Watched(watched / engine.key("taught-module", "engine-plugins"))
    assert {name.split(".")[1] for name in seen.changed(0)} == {"classifier"}
    assert {name.split(".")[0] for name in seen.changed(1)} == {"student"}
    assert seen.state(0, "before")["auxiliary.classifier.1.weight"].shape == (16, 64 * 4 * 4)
    labels = [values["labels"] for values in seen.seen["values"][:6]]
    assert labels[-1] < labels[0]


def test_two_teachers_by_name_weigh_in_one_loss_whose_formula_is_said(engine: Engine, watched: Path) -> None:
    seen = Watched(watched / engine.key("two-teachers"))
    assert seen.seen["formula"]["0"] == (
        "0.0..1.0 * large (kd, t_squared=True, temperature=4.0) + 0.5 * small (kd, t_squared=True, temperature=2.0)"
    )
    for step, values in enumerate(seen.seen["values"]):
        assert values["large"] != values["small"]
        assert values["loss"] == pytest.approx(step / 11 * values["large"] + 0.5 * values["small"], rel=1e-5)


def test_hidden_states_then_logits_on_texts_with_a_transformer_of_another_size(tmp_path: Path) -> None:
    with planned(tmp_path / "words", "engine-words") as words:
        key = words.key("words", "engine-words")
        done = words.forked("make", key)
    assert done.returncode == 0, done.stderr
    assert "stage 0: 5 steps, loss = 1.0 * hidden (tinybert_hidden)" in done.stdout
    written = lines(words.run(key))
    hidden, soft = ([line[name] for line in written if name in line] for name in ("hidden", "soft"))
    assert len(hidden) == len(soft) == 2
    assert hidden[-1] < hidden[0]
    auxiliary = load_file(words.run(key) / "auxiliary.safetensors")
    assert {name: tuple(t.shape) for name, t in auxiliary.items() if "weight" in name} == {
        "modules.embeddings.weight": (384, 32), "modules.hidden.weight": (384, 32),
    }  # fmt: skip
    folder = words.root / "store" / "models" / words.keys["engine-words"]["model minilm"]
    of_task = {"type": "classification", "input": "text", "labels": ["no", "yes"], "image_shape": None}
    runtime = {"portable": False, "device": "cpu"}
    pretrained = load_file(folder / "model.safetensors")
    weight = "encoder.layer.{}.output.dense.weight"
    for layers, random_start in (([4, 1], False), ([4, 1], True)):
        start = {"layers": layers, "head": False, "random": random_start, "fresh": []}
        model = load.build({"architecture": None, "start": start}, of_task, runtime, folder, seed=0)
        state = model.bert.state_dict()  # type: ignore[union-attr]
        assert weight.format(2) not in state
        for place, layer in enumerate(layers):
            assert torch.equal(state[weight.format(place)], pretrained[weight.format(layer)]) is not random_start
    with pytest.raises(RedistillError, match="there is no layer 6: the model has 6, counted from 0"):
        text.start(folder, {"layers": [6], "head": False, "random": False}, of_task, 0)


def test_the_rate_of_every_logged_step_is_the_schedule_s(engine: Engine) -> None:
    expected = [registry.get("schedule", "linear")(step, 60, warmup=0.1) for step in range(60)]
    written = lines(engine.run(engine.key("plain")))
    assert [line["step"] for line in written] == [0, 10, 20, 30, 40, 50, 59]
    for line in written:
        assert line["rate"] == pytest.approx(3e-3 * expected[line["step"]])


# --- passes, processes and precision ---------------------------------------------------------------------------------

# Sums in another order differ in the last bits, 6e-8 of each value; eight steps of momentum make it some 1e-6.
CLOSE = {"atol": 1e-5, "rtol": 1e-4}


def weights(engine: Engine, experiment: str, study: str = "engine") -> Seen:
    return load_file(engine.run(engine.key(experiment, study)) / "model.safetensors")


def test_four_passes_or_two_processes_give_the_weights_of_one_but_for_rounding(engine: Engine) -> None:
    """Sixty examples in batches of 16: the last of each epoch has 12."""
    one = weights(engine, "exact")
    for other in (weights(engine, "exact-in-passes"), weights(engine, "exact", "engine-two")):
        assert other.keys() == one.keys()
        assert any(not torch.equal(t, one[name]) for name, t in other.items())
        for name, tensor in other.items():
            torch.testing.assert_close(tensor, one[name], **CLOSE)
    logs = [lines(engine.run(engine.key(n, s))) for n, s in (("exact", "engine"), ("exact", "engine-two"))]
    assert [line["loss"] for line in logs[0]] == pytest.approx([line["loss"] for line in logs[1]], rel=1e-4)


TORCHRUN = ("torch.distributed.run", "--nproc-per-node", "2", "-m", "redistill", "make")
ACCELERATE = ("accelerate.commands.launch", "--cpu", "--num_processes", "2", "-m", "redistill", "make")


@pytest.mark.parametrize("launcher", [TORCHRUN, ACCELERATE], ids=["torchrun", "accelerate"])
def test_started_by_a_launcher_a_run_has_the_same_bytes(
    engine: Engine, tmp_path: Path, launcher: tuple[str, ...]
) -> None:
    key = engine.key("exact", "engine-two")
    launched = engine.without(tmp_path / "launched", key)
    with launched.started(*launcher, key, forked=False) as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    same_bytes(launched.run(key), engine.run(key))


def test_started_as_too_many_a_run_is_refused_and_one_that_is_there_is_left(engine: Engine, tmp_path: Path) -> None:
    there, alone = engine.key("exact", "engine-two"), engine.key("exact")
    project = engine.without(tmp_path / "launched", alone)
    with project.started(*TORCHRUN, there, forked=False) as process:
        process.communicate(timeout=60)
    assert process.returncode == 0
    with project.started(*TORCHRUN, alone, forked=False) as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "2 processes were started, and the study says runtime.devices: 1" in errors


def test_bfloat16_trains_with_weights_in_float32_and_a_stage_may_have_full_precision(
    engine: Engine, tmp_path: Path
) -> None:
    half, exact = (engine.key(name, "engine-half") for name in ("half", "exact"))
    project = engine.without(tmp_path / "half")
    inputs = [k for title, k in engine.keys["engine-half"].items() if title.startswith(("data ", "dataset "))]
    for arguments in (["make", *inputs], ["watch", str(tmp_path / "watched"), half, exact]):
        done = project.forked(*arguments)
        assert done.returncode == 0, done.stderr
    seen = {key: Watched(tmp_path / "watched" / key) for key in (half, exact)}
    assert set(seen[exact].seen["types"]["0"]) == {"torch.bfloat16"}
    assert set(seen[half].seen["types"]["0"]) == {"torch.float32"}
    for key in (half, exact):
        assert {t.dtype for t in seen[key].state(0, "after").values()} == {torch.float32}
        assert all(math.isfinite(value["loss"]) for value in seen[key].seen["values"])
    reference = weights(engine, "exact")
    rounded = seen[exact].state(0, "after")
    assert max((rounded[f"student.{name}"] - t).abs().max() for name, t in reference.items()) < 0.05


# --- failures --------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_is_said_noted_and_tried_again_by_a_new_command_only(
    engine: Engine, tmp_path: Path
) -> None:
    key = engine.key("diverging")
    project = engine.without(tmp_path / "diverging")
    first, again = project.make(key), project.make(key)
    for done in (first, again):
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        for words in ("stage 0, step ", "the loss is nan", "from hard", "stages.0.optimiser.learning_rate"):
            assert words in done.stderr
    assert "has failed already, and trying again would not help: " in again.stderr
    assert "has failed already" not in first.stderr
    anew = project.redistill("run", "engine/diverging", "--study", "engine")
    assert anew.returncode == 1
    assert "the loss is nan" in anew.stderr
    assert "has failed already" not in anew.stderr


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("memory", "memory is not enough: raise `accumulate`"),
        ("disk", "the disk is full: make room"),
        ("other", "ValueError: what nobody expected (all of it: store/work/failed/"),
    ],
)
def test_what_goes_wrong_in_a_run_is_a_sentence(engine: Engine, tmp_path: Path, kind: str, words: str) -> None:
    key = engine.key("exact")
    project = engine.without(tmp_path / "broken", key)
    done = project.forked("fail", key, kind)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not project.run(key).exists()


# --- starts ----------------------------------------------------------------------------------------------------------


def test_a_student_goes_on_from_another_run_but_for_what_is_fresh(engine: Engine) -> None:
    before, after = weights(engine, "exact"), weights(engine, "continued")  # one step, at a rate of next to nothing
    for name in before:
        if name.startswith("9."):
            assert (after[name] - before[name]).abs().max() > 1e-3
        else:
            torch.testing.assert_close(after[name], before[name])


def test_a_start_that_does_not_fit_says_which_tensor_and_what_to_do(engine: Engine, tmp_path: Path) -> None:
    done = engine.without(tmp_path / "mismatch").make(engine.key("mismatch"))
    assert done.returncode == 1
    assert "`6.weight` is (32, 192) in the student and (24, 192) in what it starts from" in done.stderr
    assert "start.fresh" in done.stderr


# --- a loss of the user's --------------------------------------------------------------------------------------------


def test_a_loss_in_one_file_outside_is_used_with_the_user_s_word_and_refused_without_or_when_it_changed(
    engine: Engine, tmp_path: Path
) -> None:
    key = engine.key("taught-module", "engine-plugins")
    project = engine.without(tmp_path / "plugins", key)
    refused = project.make(key)
    assert refused.returncode == 1
    assert "is code from outside: read it, and say --trust-plugins" in refused.stderr
    (project.root / "store" / "work" / "failed" / f"{key}.json").unlink()
    file = project.root / "configs" / "plugins" / "labelled_features.py"
    before = file.read_text()
    file.write_text(before + "\n# changed\n")
    changed = project.make(key)
    assert changed.returncode == 1
    assert "labelled_features.py: SHA-256 is " in changed.stderr
    assert "Traceback" not in changed.stderr
    file.write_text(before)
    done = project.make(key, **TRUSTED)
    assert done.returncode == 0, done.stderr
    same_bytes(project.run(key), engine.run(key))
