"""The training engine: exact when stopped and gone on with; stages and modules, processes, precision, failures.

`make kills` kills every kind of run fifty times; without it, it is a few times.
"""

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nano_study import Nano, copy_project
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from redistill import failures, registry
from redistill.errors import RedistillError
from redistill.models import load, text
from redistill.models.auxiliary.conv import conv
from redistill.models.auxiliary.linear import linear as linear_map
from redistill.models.auxiliary.mlp import mlp
from redistill.models.auxiliary.paraphraser import paraphraser
from redistill.models.taps import tapped
from redistill.training import checkpoint, optimise
from redistill.training.hooks import Log
from redistill.training.learner import Learner, build_auxiliary, needed
from redistill.training.loss import Term
from redistill.training.sampler import Batches

PROBE = str(Path(__file__).with_name("engine_probe.py"))
STUDIES = ("engine", "engine-two", "engine-half", "engine-plugins")
KILLS = int(os.environ.get("REDISTILL_KILLS", "4"))
LIMIT = 200 + 30 * KILLS  # seconds
Seen = dict[str, Tensor]
TRUSTED = {registry.TRUST: "1"}


class Engine(Nano):
    """A project in which the studies of the engine are planned. `keys` are by study and title."""

    keys: dict[str, dict[str, str]]

    def key(self, experiment: str, study: str = "engine") -> str:
        return self.keys[study][f"engine/{experiment} seed 0"]

    def probe(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, PROBE, *arguments], cwd=self.root, env={**self.environment(), **variables},
            capture_output=True, text=True, timeout=200,
        )  # fmt: skip

    def make(self, key: str) -> subprocess.CompletedProcess[str]:
        return self.redistill("make", key)

    def run(self, key: str) -> Path:
        return self.root / "store" / "runs" / key

    def scratch(self, key: str) -> Path:
        return self.root / "store" / "work" / key

    def checkpoints(self, key: str) -> list[str]:
        return sorted(folder.name for folder in (self.scratch(key) / "progress").glob("[0-9]*"))

    def record(self, key: str) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.root / "store" / "records" / f"{key}.json").read_text())
        return record

    def told(self, key: str, **changes: Any) -> None:
        """Change what a job is told beside its key."""
        file = self.root / "store" / "work" / "plans" / f"{key}.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    def without(self, target: Path, *keys: str) -> "Engine":
        """A copy in which these runs have not been made."""
        ignore = shutil.ignore_patterns(*keys, *(f"{key}.json" for key in keys))
        shutil.copytree(
            self.root, target, ignore=lambda folder, names: ignore(folder, names) if "plans" not in folder else []
        )
        return engine_at(target, self.keys)


def engine_at(root: Path, keys: dict[str, dict[str, str]]) -> Engine:
    engine = Engine(root)
    engine.keys = keys
    return engine


def planned(root: Path, *studies: str) -> Engine:
    engine = engine_at(copy_project(root).root, {})
    done = engine.probe("plan", *studies)
    assert done.returncode == 0, done.stderr
    engine.keys = json.loads(done.stdout)
    return engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The studies on images, with every run that can be made; nothing was interrupted. Only to be read."""
    made = planned(tmp_path_factory.mktemp("engine") / "engine", *STUDIES)
    names = ("plain", "stages", "factors", "rebuilt", "two-teachers", "exact", "exact-in-passes", "continued")
    one = [*(made.key(name) for name in names), made.key("taught-module", "engine-plugins")]
    two = [made.key(name, "engine-two") for name in ("stages", "exact")]
    teacher = made.keys["engine-two"]["teacher nano/image-teacher · nano-digits · seed 0"]
    outputs = [key for title, key in made.keys["engine-two"].items() if title.startswith("outputs ")]
    for key in [*one, *two, teacher]:
        made.told(key, checkpoints={"steps": None, "seconds": 300})
    for command in (["probe", *one], ["redistill", teacher], ["probe", *outputs], *(["redistill", key] for key in two)):
        who, *keys = command
        done = made.probe("make", *keys, **TRUSTED) if who == "probe" else made.make(*keys)
        assert done.returncode == 0, done.stdout + done.stderr
    for key in [*one, *two]:
        made.told(key, checkpoints={"steps": 1, "seconds": None})
    return made


@pytest.fixture(scope="module")
def watched(engine: Engine) -> Path:
    """For each run of several stages, the learner's states before and after each stage, and what the hook saw."""
    folder = engine.root.with_name("watched")
    keys = [engine.key(name) for name in ("stages", "factors", "rebuilt", "two-teachers")]
    done = engine.probe("watch", str(folder), *keys, engine.key("taught-module", "engine-plugins"), **TRUSTED)
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


@contextmanager
def started(engine: Engine, *command: str) -> Iterator[subprocess.Popen[str]]:
    """A command in a session of its own, of which nothing is left behind."""
    with subprocess.Popen(
        [sys.executable, "-m", *command], cwd=engine.root, env=engine.environment(), start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            deadline = time.monotonic() + 20
            if process.poll() is None:
                process.kill()
            while in_session(process.pid) and time.monotonic() < deadline:
                time.sleep(0.01)
            left = in_session(process.pid)
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            process.wait(timeout=20)
            assert not left, f"left running: {left}"


def in_session(session: int) -> list[int]:
    """Processes of a session that are not zombies."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = stat.read_text().rpartition(") ")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(of) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found


def wait_until(process: subprocess.Popen[str], holds: Callable[[], bool], seconds: float = 60) -> bool:
    """Wait until something holds; whether it came to hold before the process ended."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.002)
    return holds() and process.poll() is None


def attempt(engine: Engine, key: str, chance: random.Random) -> int | None:
    """Start a run and kill it soon after it wrote a checkpoint, or just at some moment. Its exit status if it ended."""
    before = engine.checkpoints(key)[-1:]
    with started(engine, "redistill", "make", key) as process:
        if chance.random() < 0.75:
            wait_until(process, lambda: engine.checkpoints(key)[-1:] != before)
            time.sleep(chance.choice([0, chance.uniform(0, 0.02), chance.uniform(0, 0.3)]))
        else:
            wait_until(process, lambda: False, chance.uniform(0, 4))
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
    kills = 0
    while kills < KILLS:
        if attempt(killed, key, chance) is None:
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
    with started(killed, "redistill", "make", key) as process:
        assert wait_until(process, lambda: len(killed.checkpoints(key)) == 2)
        process.kill()
    last = killed.checkpoints(key)[-1]
    assert killed.make(key).returncode == 0
    same_bytes(killed.run(key), engine.run(key))
    for project in (killed, engine):
        done = project.probe("make", cell)
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
    with started(killed, "redistill", "make", key) as process:
        assert wait_until(process, lambda: killed.checkpoints(key)[-1:] > ["001-000000003"])
        process.kill()
    return killed


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])


def flip(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)


@pytest.mark.parametrize(
    ("name", "spoil"), [("state.safetensors", cut), ("state.safetensors", flip), ("state.json", flip)]
)
def test_a_torn_checkpoint_is_named_and_the_one_before_is_used(
    engine: Engine, halfway: Engine, tmp_path: Path, name: str, spoil: Callable[[Path], None]
) -> None:
    key = engine.key("stages")
    shutil.copytree(halfway.root, tmp_path / "torn")
    torn = engine_at(tmp_path / "torn", engine.keys)
    progress = torn.scratch(key) / "progress"
    before, newest = torn.checkpoints(key)
    spoil(progress / newest / name)
    shutil.copytree(progress / before, progress / ".001-000000099")  # half written, when the machine went down
    (progress / ".001-000000099" / "state.json").unlink()
    done = torn.make(key)
    assert done.returncode == 0, done.stderr
    assert f"checkpoint {newest}: torn, skipped" in done.stdout
    assert f"stage 1: goes on after step {int(before[4:])} of 30" in done.stdout
    assert f"{before}: torn" not in done.stdout
    same_bytes(torn.run(key), engine.run(key))


def saved(progress: Path, step: int) -> Path:
    checkpoint.save(
        progress, f"000-{step:09d}", {"step": step, "rate": 0.1}, {"a": torch.arange(4.0), "b": torch.ones(2, 2).t()}
    )
    return progress / f"000-{step:09d}"


def test_a_checkpoint_comes_back_as_it_was_saved_and_the_last_two_are_kept(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path) is None
    for step in (1, 2, 10):
        saved(tmp_path, step)
    assert [folder.name for folder in sorted(checkpoint.found(tmp_path))] == ["000-000000002", "000-000000010"]
    found = checkpoint.newest(tmp_path)
    assert found is not None
    assert found[0] == {"step": 10, "rate": 0.1}
    assert torch.equal(found[1]["a"], torch.arange(4.0))
    assert not any(file.suffix in (".pt", ".pkl", ".bin") for file in tmp_path.rglob("*"))


def test_every_byte_of_a_checkpoint_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = {f.name: f.read_bytes() for f in saved(tmp_path, 5).iterdir()}
    saved(tmp_path, 6)
    for name, raw in whole.items():
        file = tmp_path / "000-000000006" / name
        good = file.read_bytes()
        for position in range(0, len(raw), 7):
            file.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
            found = checkpoint.newest(tmp_path)
            assert found is not None
            assert found[0]["step"] == 5, f"{name}: byte {position}"
            assert "000-000000006: torn, skipped" in capsys.readouterr().out
        file.write_bytes(good)
    for name in whole:
        (tmp_path / "000-000000006" / name).unlink()
        assert (checkpoint.newest(tmp_path) or [{}])[0]["step"] == 5


def test_what_was_torn_makes_room_for_what_is_whole(tmp_path: Path) -> None:
    for step in (40, 50):
        saved(tmp_path, step)
    flip(tmp_path / "000-000000050" / "state.safetensors")
    saved(tmp_path, 45)
    assert [folder.name for folder in sorted(checkpoint.found(tmp_path))] == ["000-000000040", "000-000000045"]


@pytest.mark.parametrize("method", ["adamw", "adam", "sgd"])
def test_an_optimiser_goes_on_from_its_saved_state_as_if_nothing_had_happened(tmp_path: Path, method: str) -> None:
    def steps(model: nn.Module, built: torch.optim.Optimizer, count: int) -> None:
        for i in range(count):
            (model(torch.full((2, 3), float(i + 1))) ** 2).sum().backward()
            built.step()
            built.zero_grad()

    def built_for(model: nn.Module) -> torch.optim.Optimizer:
        groups = [{"params": list(model.parameters()), "lr": 0.01, "weight_decay": 0.1, "peak": 0.01}]
        settings = {"momentum": 0.9} if method == "sgd" else {}
        built: torch.optim.Optimizer = registry.get("optimiser", method)(groups, **settings)
        return built

    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    built = built_for(model)
    steps(model, built, 3)
    plain, tensors = checkpoint.optimiser_state(built)
    save_file({k: t.clone() for k, t in tensors.items()}, tmp_path / "state")
    again = nn.Linear(3, 2)
    again.load_state_dict(model.state_dict())
    restored = built_for(again)
    checkpoint.restore_optimiser(restored, json.loads(json.dumps(plain)), load_file(tmp_path / "state"))
    steps(model, built, 2)
    steps(again, restored, 2)
    assert torch.equal(model.weight, again.weight)


def test_batches_go_on_where_they_stood_across_epochs() -> None:
    lengths = np.array([3, 1, 2, 5, 4, 9, 7, 8, 6, 10, 11])
    whole, batches = Batches(lengths, 4, seed=1), Batches(lengths, 4, seed=1)
    expected = [next(whole).tolist() for _ in range(10)]
    for taken in range(10):
        again = Batches(lengths, 4, seed=2)
        again.restore(json.loads(json.dumps(batches.state())))
        assert [next(again).tolist() for _ in range(10 - taken)] == expected[taken:]
        next(batches)
    assert sorted(i for batch in expected[:3] for i in batch) == list(range(11))
    assert sorted(len(batch) for batch in expected[:3]) == [3, 4, 4]


def test_a_log_that_goes_back_forgets_what_came_later(tmp_path: Path) -> None:
    log = Log(tmp_path / "progress" / "log.jsonl", writes=True)
    log.write({"step": 0})
    there = log.position()
    log.write({"step": 1})
    log.close()
    again = Log(tmp_path / "progress" / "log.jsonl", writes=True)
    again.go_back(there)
    again.write({"step": 2})
    again.close()
    assert (tmp_path / "progress" / "log.jsonl").read_text() == '{"step": 0}\n{"step": 2}\n'


# --- asked to stop ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("study", ["engine", "engine-two"])
def test_asked_to_stop_a_run_is_saved_ends_with_75_and_goes_on_to_the_same_bytes(
    engine: Engine, tmp_path: Path, study: str
) -> None:
    key = engine.key("stages", study)
    stopped = engine.without(tmp_path / "stopped", key)
    stopped.told(key, checkpoints={"steps": None, "seconds": 300})  # so that none is due
    log = stopped.scratch(key) / "progress" / "log.jsonl"
    with started(stopped, "redistill", "make", key) as process:
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


def test_asked_to_stop_before_it_trains_a_job_ends_with_75_too(engine: Engine, tmp_path: Path) -> None:
    key = engine.key("exact")
    stopped = engine.without(tmp_path / "stopped", key)
    with started(stopped, "redistill", "make", key) as process:
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
    assert torch.equal(auxiliary["regressor.0.weight"], seen.state(1, "after")["auxiliary.regressor.0.weight"])


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
    from redistill.evaluation.evaluate import score

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
    words = planned(tmp_path / "words", "engine-words")
    key = words.keys["engine-words"]["engine/words seed 0"]
    done = words.probe("make", key)
    assert done.returncode == 0, done.stderr
    assert "stage 0: 5 steps, loss = 1.0 * hidden (hidden_mse)" in done.stdout
    written = lines(words.run(key))
    hidden, soft = ([line[name] for line in written if name in line] for name in ("hidden", "soft"))
    assert len(hidden) == len(soft) == 2
    assert hidden[-1] < hidden[0]
    auxiliary = load_file(words.run(key) / "auxiliary.safetensors")
    assert {name: tuple(t.shape) for name, t in auxiliary.items() if "weight" in name} == {
        "embeddings.weight": (384, 32), "hidden.weight": (384, 32),
    }  # fmt: skip
    folder = words.root / "store" / "models" / words.keys["engine-words"]["model minilm"]
    of_task = {"type": "classification", "input": "text", "labels": ["no", "yes"], "image_shape": None}
    runtime = {"portable": False, "device": "cpu"}
    pretrained = load_file(folder / "model.safetensors")
    weight = "encoder.layer.{}.output.dense.weight"
    for layers, random_start in (([4, 1], False), ([4, 1], True)):
        start = {"layers": layers, "random": random_start, "fresh": []}
        model = load.build({"architecture": None, "start": start}, of_task, runtime, folder, seed=0)
        state = model.bert.state_dict()  # type: ignore[union-attr]
        assert weight.format(2) not in state
        for place, layer in enumerate(layers):
            assert torch.equal(state[weight.format(place)], pretrained[weight.format(layer)]) is not random_start
    with pytest.raises(RedistillError, match="there is no layer 6: the model has 6, counted from 0"):
        text.start(folder, {"layers": [6], "random": False}, of_task, 0)


# --- taps ------------------------------------------------------------------------------------------------------------


class Several(nn.Module):
    def forward(self, x: Tensor, *, scale: float = 1.0) -> tuple[Tensor, dict[str, Tensor], None]:
        return x * 2, {"inner": x * 3}, None


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.several, self.named = nn.Linear(2, 2), Several(), Named()

    def forward(self, x: Tensor) -> Tensor:
        self.named(x=self.several(x)[0])
        return self.first(x)  # type: ignore[no-any-return]


class Named(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": x, "half": x / 2}


def capture(taps: list[str]) -> Seen:
    model = Model()
    with tapped(model, taps, "student") as captured:
        model(torch.ones(1, 2))
    model(torch.zeros(1, 2))  # no hook is left
    return captured


def test_taps_take_inputs_outputs_and_entries_of_tuples_and_mappings() -> None:
    taps = ["first:input", "first", "several", "several:output.0", "named:output.half", "named:input"]
    seen = capture(taps)
    assert set(seen) == set(taps)
    assert torch.equal(seen["first:input"], torch.ones(1, 2))
    assert torch.equal(seen["several"], seen["several:output.0"])
    assert torch.equal(seen["named:output.half"], torch.ones(1, 2))
    assert torch.equal(seen["named:input"], torch.full((1, 2), 2.0))


@pytest.mark.parametrize(
    ("tap", "words"),
    [
        ("several:output.1", "the tap `several:output.1` is no tensor: the module gives 3 values"),
        ("several:output.7", "the module gives 3 values"),
        ("named:output.third", "the module gives a mapping of out, half"),
        ("first:outputs", "ends in neither `:input`, `:output` nor `:output.INDEX`"),
        ("second", "the student has no module `second`; there are `first`, `several`, `named`"),
        ("", "the student has no module ``; there are `first`, `several`, `named`"),
    ],
)
def test_a_tap_that_leads_nowhere_says_what_there_is(tap: str, words: str) -> None:
    with pytest.raises(RedistillError) as caught:
        capture([tap])
    assert words in str(caught.value)


def small_bert(layers: int = 6) -> nn.Module:
    torch.manual_seed(0)
    config = text.config_of(
        {"model_type": "bert", "hidden_size": 8, "num_hidden_layers": layers, "num_attention_heads": 2,
         "intermediate_size": 16, "vocab_size": 20}
    )  # fmt: skip
    return text.from_config(config, {"type": "classification", "labels": ["a", "b"]})


def test_a_layer_that_a_transformer_does_not_have_is_answered_with_those_that_it_has() -> None:
    with pytest.raises(RedistillError) as caught, tapped(small_bert(), ["bert.encoder.layer.7"], "teacher"):
        pass
    listed = ", ".join(f"`bert.encoder.layer.{i}`" for i in range(6))
    assert str(caught.value) == f"the teacher has no module `bert.encoder.layer.7`; there are {listed}"


def said(method: str, of: str, tap: str, like: str | None = None, **settings: Any) -> dict[str, Any]:
    return {"method": method, "of": of, "input": tap, "like": like, "settings": settings}


def test_auxiliary_modules_are_tapped_from_outside_and_inside_and_feed_each_other() -> None:
    modules = {
        "one": said("linear", "student", "first", outputs=3),
        "two": said("mlp", "student", "modules.one", hidden=5, outputs=4),
    }
    student, batch = Model(), {"image": torch.ones(2, 2), "index": torch.arange(2)}
    learner = Learner(student, build_auxiliary(modules, student, {}, batch, seed=0), modules)
    wanted = ["modules.two", "modules.two:input", "modules.two.1", "modules.two.1:output", "modules.one:output"]
    term = {"teacher": None, "taps": {"student": wanted, "teacher": []}}
    taps = needed(modules, [term], [])
    assert set(taps["student"]) == {*wanted, "modules.one", "first"}
    learner.listen(taps, full_precision=False)
    seen = learner(batch, {}, True)["student"]
    assert [tuple(seen[tap].shape) for tap in wanted] == [(2, 4), (2, 3), (2, 5), (2, 5), (2, 3)]
    assert torch.equal(seen["modules.two:input"], seen["modules.one"])


def test_shapes_of_auxiliary_modules_follow_from_their_taps() -> None:
    assert conv((12, 8, 8), (64, 4, 4))(torch.zeros(2, 12, 8, 8)).shape == (2, 64, 4, 4)
    assert conv((12, 8, 8), None, channels=5, kernel=3, norm=True, relu=True)(torch.zeros(2, 12, 8, 8)).shape == (
        2,
        5,
        8,
        8,
    )
    assert linear_map((7, 32), (7, 384))(torch.zeros(2, 9, 32)).shape == (2, 9, 384)
    assert mlp((4, 2, 2), (10,))(torch.zeros(2, 4, 2, 2)).shape == (2, 10)
    assert paraphraser((64, 4, 4), None)(torch.zeros(2, 64, 4, 4)).shape == (2, 64, 4, 4)
    assert paraphraser((32, 4, 4), (64, 4, 4), decode=False)(torch.zeros(2, 32, 4, 4)).shape == (2, 32, 4, 4)
    with pytest.raises(RedistillError, match="no feature maps|maps .C, H, W."):
        conv((12,), (64, 4, 4))
    with pytest.raises(RedistillError, match="8 rows are no multiple of 3"):
        conv((12, 8, 8), (64, 3, 3))


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        ({"one": said("linear", "student", "third")}, "modules.one: the student has no module `third`"),
        (
            {"one": said("linear", "student", "modules.two")},
            "modules.one: `modules.two` must be an auxiliary module that is",
        ),
        ({"one": said("conv", "student", "first")}, "modules.one: `conv` maps (C, H, W)"),
    ],
)
def test_a_module_that_cannot_be_built_is_named(modules: dict[str, Any], words: str) -> None:
    with pytest.raises(RedistillError) as caught:
        build_auxiliary(modules, Model(), {}, {"image": torch.ones(1, 2)}, seed=0)
    assert words in str(caught.value)


# --- weights, groups and schedules -----------------------------------------------------------------------------------


def test_a_ramp_is_flat_straight_and_flat() -> None:
    ramp = {"first": 2.0, "last": 0.0, "begin": 0.25, "end": 0.75}
    term = Term("a", {"method": "hard", "weight": ramp, "settings": {}}, "")
    assert [term.weight(share) for share in (0, 0.25, 0.5, 0.75, 1)] == [2, 2, 1, 0, 0]
    assert str(term) == "2.0..0.0 * a (hard)"
    assert Term("a", {"method": "hard", "weight": 0.0, "settings": {}}, "").weight(0.5) == 0


def optimiser_of(learner: Learner, **changes: Any) -> dict[str, dict[str, float]]:
    """Rate and decay of every trained parameter, by its name."""
    config = {"method": "adamw", "learning_rate": 1.0, "weight_decay": 0.1, "decay": "weights", "layer_decay": 1.0,
              "groups": [], "settings": {}}  # fmt: skip
    built = optimise.optimiser(learner, config | changes)
    names = {id(parameter): name for name, parameter in learner.named_parameters()}
    return {names[id(p)]: {"lr": g["lr"], "decay": g["weight_decay"]} for g in built.param_groups for p in g["params"]}


def bert_learner() -> Learner:
    return Learner(small_bert(), {"map": nn.Linear(8, 8)}, {})


def test_biases_and_norms_are_not_decayed_unless_all_is_said() -> None:
    found = optimiser_of(bert_learner())
    assert len(found) == len(list(bert_learner().parameters()))
    for name, group in found.items():
        plain = name.endswith("bias") or "LayerNorm" in name
        assert group["decay"] == (0.0 if plain else 0.1), name
    assert {group["decay"] for group in optimiser_of(bert_learner(), decay="all").values()} == {0.1}


def test_rates_fall_layer_by_layer_and_embeddings_learn_slowest() -> None:
    found = optimiser_of(bert_learner(), layer_decay=0.5)
    for name, group in found.items():
        below = (
            7 if "embeddings" in name else 6 - int(name.split("layer.")[1].split(".")[0]) if ".layer." in name else 0
        )
        assert group["lr"] == 0.5**below, name
    assert found["student.classifier.weight"]["lr"] == found["student.bert.pooler.dense.weight"]["lr"] == 1.0
    assert found["auxiliary.map.weight"]["lr"] == 1.0
    assert min(found.values(), key=lambda g: g["lr"]) == found["student.bert.embeddings.word_embeddings.weight"] | {
        "decay": 0.1
    }


def test_groups_have_their_own_rate_and_decay_the_first_that_fits_and_a_rate_of_zero_stays() -> None:
    learner = bert_learner()
    groups = [
        {"modules": ["bert.embeddings", "modules.map"], "rate": 0.0, "weight_decay": None},
        {"modules": ["classifier"], "rate": 10.0, "weight_decay": 0.5},
        {"modules": ["bert"], "rate": 2.0, "weight_decay": None},
    ]
    found = optimiser_of(learner, groups=groups)
    assert found["auxiliary.map.weight"] == {"lr": 0.0, "decay": 0.1}
    assert found["student.classifier.bias"] == {"lr": 10.0, "decay": 0.5}
    assert found["student.bert.pooler.dense.bias"] == {"lr": 2.0, "decay": 0.0}
    config = {"method": "adamw", "learning_rate": 0.1, "weight_decay": 0.1, "decay": "all", "layer_decay": 1.0,
              "groups": groups, "settings": {}}  # fmt: skip
    built = optimise.optimiser(learner, config)
    before = {name: p.detach().clone() for name, p in learner.named_parameters()}
    rate = optimise.set_rate(built, {"schedule": constant_schedule(), "optimiser": config}, 0, 10)
    learner.student(input_ids=torch.arange(6).reshape(2, 3)).logits.sum().backward()
    learner.auxiliary["map"](torch.ones(1, 8)).sum().backward()
    built.step()
    stayed = {name for name, p in learner.named_parameters() if torch.equal(p, before[name])}
    assert {n for n in before if "embeddings" in n or n.startswith("auxiliary")} <= stayed
    assert "student.classifier.weight" not in stayed
    assert rate == 0.1  # the stage's own, whatever the first group is


def constant_schedule() -> dict[str, Any]:
    return {"method": "constant", "settings": {"warmup": 0.0}}


@pytest.mark.parametrize(
    "use",
    [
        lambda learner, path: optimise.freeze(learner, [path], None),
        lambda learner, path: optimise.freeze(learner, [], [path]),
        lambda learner, path: optimiser_of(learner, groups=[{"modules": [path], "rate": 1.0, "weight_decay": None}]),
    ],
    ids=["frozen", "trained", "groups"],
)
def test_a_path_that_is_no_module_is_answered_with_those_that_are(use: Callable[[Learner, str], Any]) -> None:
    path = "bert.encoder.layer.7"
    with pytest.raises(RedistillError) as caught:
        use(bert_learner(), path)
    assert f"the student has no module `{path}`; there are `bert.encoder.layer.0`" in str(caught.value)


def test_a_stage_that_would_train_nothing_is_refused() -> None:
    with pytest.raises(RedistillError, match="has no module `mep`; there are `map`"):
        optimise.freeze(bert_learner(), ["modules.mep"], None)
    with pytest.raises(RedistillError, match="nothing is left to train"):
        optimise.freeze(bert_learner(), ["bert", "classifier", "modules.map"], None)


def factors(method: str, steps: int, **settings: Any) -> list[float]:
    return [registry.get("schedule", method)(step, steps, **settings) for step in range(steps)]


@pytest.mark.parametrize(("steps", "warmup"), [(20, 0.1), (20, 0.0), (7, 0.5), (1, 0.1), (4, 0.75)])
def test_linear_is_that_of_transformers_with_a_warmup_that_begins_one_step_further(steps: int, warmup: float) -> None:
    """Theirs gives the first step a rate of zero, which trains nothing; ours the first rung. The fall is the same."""
    from transformers import get_linear_schedule_with_warmup

    warm = round(steps * warmup)
    built = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_linear_schedule_with_warmup(built, warm, steps)
    expected = []
    for _ in range(steps + 1):
        expected.append(built.param_groups[0]["lr"])
        built.step()
        theirs.step()
    ours = factors("linear", steps, warmup=warmup)
    assert ours[warm:] == pytest.approx(expected[warm:steps])
    assert ours[:warm] == pytest.approx(expected[1 : warm + 1])


def test_cosine_constant_and_multistep_against_a_plain_computation() -> None:
    cosine = factors("cosine", 12, warmup=0.25, floor=0.1)
    assert cosine[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert cosine[3:] == pytest.approx([0.1 + 0.9 * (1 + math.cos(math.pi * i / 9)) / 2 for i in range(9)])
    assert factors("constant", 4, warmup=0.5) == [0.5, 1, 1, 1]
    # 182 epochs of 3 steps, a tenth after 91 and after 136: torch's MultiStepLR, which counts epochs
    built = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.MultiStepLR(built, [91, 136], gamma=0.1)
    expected = []
    for _ in range(182):
        expected += [built.param_groups[0]["lr"]] * 3
        built.step()
        theirs.step()
    assert factors("multistep", 546, milestones=[0.5, 136 / 182], gamma=0.1) == pytest.approx(expected)


def test_the_rate_of_every_logged_step_is_the_schedule_s(engine: Engine) -> None:
    expected = factors("linear", 60, warmup=0.1)
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


@pytest.mark.parametrize(
    "launcher",
    [("torch.distributed.run", "--nproc-per-node"), ("accelerate.commands.launch", "--cpu", "--num_processes")],
)
def test_started_by_a_launcher_a_run_has_the_same_bytes_and_a_wrong_number_is_refused(
    engine: Engine, tmp_path: Path, launcher: tuple[str, ...]
) -> None:
    key, alone = engine.key("exact", "engine-two"), engine.key("exact")
    launched = engine.without(tmp_path / "launched", key, alone)
    with started(launched, *launcher, "2", "-m", "redistill", "make", key) as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    same_bytes(launched.run(key), engine.run(key))
    with started(launched, *launcher, "2", "-m", "redistill", "make", key) as process:  # it is there already
        process.communicate(timeout=60)
    assert process.returncode == 0
    with started(launched, *launcher, "2", "-m", "redistill", "make", alone) as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "2 processes were started, and the study says runtime.processes: 1" in errors


def test_when_one_of_two_processes_dies_the_other_ends_with_a_sentence(engine: Engine, tmp_path: Path) -> None:
    key = engine.key("stages", "engine-two")
    broken = engine.without(tmp_path / "broken", key)
    with started(broken, "redistill", "make", key) as process:
        assert wait_until(process, lambda: len(broken.checkpoints(key)) > 0)
        (other,) = (pid for pid in in_session(process.pid) if pid != process.pid)
        os.kill(other, signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    assert "Traceback" not in errors
    assert "redistill:" in errors


def test_bfloat16_trains_with_weights_in_float32_and_a_stage_may_have_full_precision(
    engine: Engine, tmp_path: Path
) -> None:
    half, exact = (engine.key(name, "engine-half") for name in ("half", "exact"))
    project = engine.without(tmp_path / "half")
    inputs = [k for title, k in engine.keys["engine-half"].items() if title.startswith(("data ", "dataset "))]
    for arguments in (["make", *inputs], ["watch", str(tmp_path / "watched"), half, exact]):
        done = project.probe(*arguments)
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
    done = project.probe("fail", key, kind)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not project.run(key).exists()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "memory is not enough"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "memory is not enough"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "memory is not enough"),
        (OSError(28, "No space left on device", "file"), "the disk is full"),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), "the disk is full"),
        (FileNotFoundError(2, "No such file or directory", "a.npy"), "a.npy: No such file or directory"),
        (RedistillError("as it is"), "as it is"),
    ],
)
def test_failures_are_explained(error: Exception, words: str) -> None:
    assert failures.explained(error).startswith(words)
    assert "\n" not in failures.explained(error)


def test_of_several_processes_the_first_that_fails_says_why(tmp_path: Path) -> None:
    for message in ("the cause", "the connection was closed"):
        with pytest.raises(RedistillError), failures.noted(tmp_path, "key"):
            raise RuntimeError(message)
    with pytest.raises(RedistillError, match="what it is has failed already.*the cause"):
        failures.refuse(tmp_path, "key", "what it is")
    failures.forget(tmp_path, ["key"])
    failures.refuse(tmp_path, "key", "what it is")


# --- starts ----------------------------------------------------------------------------------------------------------


def test_a_student_goes_on_from_another_run_but_for_what_is_fresh(engine: Engine) -> None:
    before, after = weights(engine, "exact"), weights(engine, "continued")
    distance = {name: float((after[name] - before[name]).abs().max()) for name in before}
    assert max(d for name, d in distance.items() if not name.startswith("9.")) < 0.02  # one step
    assert distance["9.weight"] > 0.1


def test_a_start_that_does_not_fit_says_which_tensor_and_what_to_do(engine: Engine, tmp_path: Path) -> None:
    done = engine.without(tmp_path / "mismatch").make(engine.key("mismatch"))
    assert done.returncode == 1
    assert "`6.weight` is (32, 192) in the student and (24, 192) in what it starts from" in done.stderr
    assert "start.fresh" in done.stderr


IMAGES = {"type": "classification", "input": "image", "labels": ["a", "b"], "image_shape": [3, 8, 8]}
RUNTIME = {"portable": False, "device": "cpu"}


def test_a_random_start_takes_the_shape_alone(tmp_path: Path) -> None:
    student = {"architecture": {"method": "cnn", "settings": {"channels": [2, 2]}}, "start": None}
    model = load.build(student, IMAGES, RUNTIME, None, seed=0)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    for random_start in (True, False):
        start = {"layers": None, "random": random_start, "fresh": []}
        other = load.build(student | {"start": start}, IMAGES, RUNTIME, tmp_path, seed=1)
        assert torch.equal(other.state_dict()["0.weight"], model.state_dict()["0.weight"]) is not random_start


@pytest.mark.parametrize("method", ["torchvision", "timm"])
def test_networks_of_other_packages_have_the_task_s_outputs(method: str) -> None:
    student = {"architecture": {"method": method, "settings": {"name": "resnet18"}}, "start": None}
    model = load.build(student, IMAGES, RUNTIME, None, seed=0).eval()
    with tapped(model, ["layer1"], "student") as captured:
        assert load.logits_of(model, {"image": torch.zeros(2, 3, 32, 32)}).shape == (2, 2)
    assert captured["layer1"].shape[:2] == (2, 64)


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
    done = project.command("env", f"{registry.TRUST}=1", sys.executable, "-m", "redistill", "make", key)
    assert done.returncode == 0, done.stderr
    same_bytes(project.run(key), engine.run(key))
