"""The pipeline end to end on a GPU: finished, on record, the same bytes twice and after kills, clear when it fails.

Skipped where there is no GPU; see test_cuda.py. Stores are made side by side on one GPU, which each calls by a name of
its own: by as much of its UUID as another does not say. Texts, digits and a BERT come with the tests.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from nano_study import ROOT, Nano
from test_paper_steps import CHOSEN
from tiny_project import VARIABLE, tiny

from redistill import gpus
from redistill.provenance import nvidia

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here"),
]
LONGEST = 420  # seconds of a command
STUDY = """
title: gpu
runtime: {{portable: false, device: cuda, precision: {precision}}}
checkpoints: {{steps: 2}}
tables:
  text:
    title: Texts
    tasks: [mood]
    seeds: [0]
    rows:
      - {{experiment: tiny/student}}
  image:
    title: Digits
    tasks: [nano-digits]
    seeds: [0]
    rows:
      - {{experiment: engine/stages}}
{more}
"""
MORE = """
      - {experiment: engine/related}
      - {experiment: engine/factors}
"""
PRECISIONS = ("float32", "bfloat16", "float16")


class OnGpu(Nano):
    """A project whose jobs take one GPU, which they call `name`."""

    def __init__(self, root: Path, folder: Path, name: str):
        super().__init__(root)
        self.folder, self.name = folder, name

    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(self.root / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
        return {**os.environ, "PYTHONPATH": path, VARIABLE: str(self.folder), gpus.LISTED: self.name}

    def started(self, *arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "snakemake", "--config", "study=gpu", "--cores", "6", *arguments]
        return subprocess.Popen(
            command, cwd=self.root, env=self.environment(), text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def records(self) -> list[dict[str, Any]]:
        files = (self.root / "store" / "records").glob("*.json")
        return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def project(root: Path, precision: str, place: int) -> OnGpu:
    """A project with the study, of which nothing has been made; `place` tells its name of the GPU from others'."""
    (name, *_) = nvidia.names()
    made = tiny(root / "project", root / "sources")
    text = STUDY.format(precision=precision, more=MORE if precision == "float32" else "")
    (made.root / "configs" / "studies" / "gpu.yaml").write_text(text, encoding="utf-8")
    return OnGpu(made.root, root / "sources", name[: len(name) - place])


def ended(process: "subprocess.Popen[str]") -> str:
    output, _ = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, output[-6000:]
    return output


def killed_at_a_checkpoint(nano: OnGpu, but: set[str]) -> set[str]:
    """Start the study, and SIGKILL all of it once a run, none of these, has saved a checkpoint; which run it was."""
    running = nano.started("--resources", "gpu=1")
    try:
        deadline = time.monotonic() + LONGEST
        found = set[str]()
        while not found and running.poll() is None and time.monotonic() < deadline:
            progress = (nano.root / "store" / "work").glob("*/progress/[0-9]*")
            found = {folder.parents[1].name for folder in progress} - but
            time.sleep(0.002)
        assert found, running.communicate()[0][-6000:] if running.poll() is not None else "nothing was saved"
        return found
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
        running.communicate(timeout=60)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[OnGpu, OnGpu]]:
    """By precision, filled by `both`: the study made at once, and made with kills on the way."""
    return {}


def both(made: dict[str, tuple[OnGpu, OnGpu]], precision: str, root: Path) -> tuple[OnGpu, OnGpu]:
    if precision not in made:
        place = 2 * PRECISIONS.index(precision)
        whole, broken = (project(root / f"{precision}-{i}", precision, place + i) for i in range(2))
        # without `--resources`, jobs are started that must wait for the GPU
        first = whole.started(*([] if precision == "float32" else ["--resources", "gpu=1"]))
        killed = killed_at_a_checkpoint(broken, set())
        killed |= killed_at_a_checkpoint(broken, killed)
        ended(broken.started("--resources", "gpu=1"))
        ended(first)
        broken.killed = killed  # type: ignore[attr-defined]
        made[precision] = whole, broken
    return made[precision]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gpu")


@pytest.mark.timeout(2 * LONGEST)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_study_is_made_to_the_same_bytes_whatever_was_killed(made, root: Path, precision: str) -> None:
    whole, broken = both(made, precision, root)
    resumed = {record["key"] for record in broken.records() if record["resumed"]}
    assert resumed, f"killed on the way: {broken.killed}"  # type: ignore[attr-defined]
    results = [nano.root / "results" / "gpu" for nano in (whole, broken)]
    names = sorted(file.name for file in results[0].iterdir())
    assert names == sorted(file.name for file in results[1].iterdir())
    for name in names:
        assert (results[0] / name).read_bytes() == (results[1] / name).read_bytes(), name
    audited = whole.redistill("audit", "gpu")
    assert (audited.returncode, audited.stderr) == (0, "")


@pytest.mark.timeout(2 * LONGEST)
def test_records_say_on_which_gpu_with_what_and_what_it_used(made, root: Path) -> None:
    whole, _ = both(made, "float32", root)
    heavy = [record for record in whole.records() if record["key_parts"]["kind"] in ("run", "outputs")]
    assert len(heavy) >= 8
    for record in heavy:
        assert record["machine"]["devices"] == [torch.cuda.get_device_name()]
        said = record["environment"]["cuda"]
        assert said["runtime"] == torch.version.cuda
        assert said["cudnn"] == str(torch.backends.cudnn.version())
        assert said["driver"] == nvidia.driver()
        assert said["driver"]
        if nvidia.millijoules():
            assert record["energy_joules"]["devices"] > 0
    logs = [file.read_text() for file in (whole.root / "store" / "work" / "logs").glob("*.log")]
    assert any("waits for 1 of the GPUs" in log for log in logs)


@pytest.mark.timeout(2 * LONGEST)
def test_runs_are_predicted_and_trained_again_to_the_same_bytes(made, root: Path) -> None:
    whole, _ = both(made, "float32", root)
    again = whole.redistill("audit", "gpu", "--level", "replay")
    assert (again.returncode, again.stderr) == (0, "")


def test_more_gpus_than_there_are_is_a_sentence(root: Path) -> None:
    nano, there = project(root / "more", "float32", 0), len(nvidia.names())
    nano.edit("configs/studies/gpu.yaml", "device: cuda", f"device: cuda, devices: {there + 1}")
    nano.name = ",".join(nvidia.names())
    said = nano.redistill("run", "nano/image-teacher", "--task", "nano-digits", "--study", "gpu")
    assert said.returncode == 1
    assert f"runtime.devices is {there + 1}, and there " in said.stderr
    assert "Traceback" not in said.stderr


def test_a_gpu_without_memory_is_a_sentence(root: Path) -> None:
    """Somebody else has nearly all of it."""
    nano = project(root / "memory", "float32", 0)
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(free - 700 * 2**20, dtype=torch.uint8, device="cuda")
    wide = ("--set", "student.architecture.hidden=300000")  # 300 MB of weights, as many of gradients and moments each
    said = nano.redistill("run", "nano/image-teacher", "--task", "nano-digits", "--study", "gpu", *wide)
    del taken
    torch.cuda.empty_cache()
    print(said.stderr)
    assert said.returncode == 1
    assert "memory is not enough: raise `accumulate`" in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.timeout(2 * LONGEST)
def test_a_run_is_profiled(made, root: Path) -> None:
    whole, _ = both(made, "bfloat16", root)
    runs = [record for record in whole.records() if record["key_parts"]["kind"] == "run"]
    key = next(run["key"] for run in runs if run["what"].startswith("engine/stages"))
    said = whole.redistill("profile", key, "--steps", "4", "--json", "p.json")
    assert said.returncode == 0, said.stderr
    found = json.loads((whole.root / "p.json").read_text())
    assert found["peak_device_memory_mib"] > 0
    assert found["machine"]["devices"] == [torch.cuda.get_device_name()]


@pytest.mark.timeout(3000)
def test_published_experiments_take_a_step_to_the_same_bytes_near_the_cpus(tmp_path: Path) -> None:
    """A few of them, or all with REDISTILL_PAPER_STEPS=all. Convolutions are in TF32, as torch has it."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(ROOT / "src"), str(here), *filter(None, [os.environ.get("PYTHONPATH")])])
    probe = [sys.executable, str(here / "paper_probe.py"), str(ROOT)]
    started = [
        subprocess.Popen(
            [*probe, str(tmp_path / name), "--device", device, *CHOSEN],
            env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True,
        )
        for name, device in (("cpu", "cpu"), ("first", "cuda"), ("again", "cuda"))
    ]  # fmt: skip
    cpu, first, again = (json.loads(process.communicate()[0].splitlines()[-1]) for process in started)
    assert first == again
    assert set(first) == set(CHOSEN)
    for name, came in first.items():
        losses, expected = ([loss for stage in one["losses"] for loss in stage] for one in (came, cpu[name]))
        assert losses == pytest.approx(expected, rel=5e-3), name
