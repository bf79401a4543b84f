"""Tuning: what is measured, what is proposed and in which words; and one real measurement."""

import json
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Project
from nano_study import copy_project
from rich.console import Console

from redistill.errors import RedistillError
from redistill.performance import tune
from redistill.performance.tune import Choice
from redistill.plan import make_plan

NOW = Choice("float32", True, "cpu", 1, 1, 4)
AVX512 = ["avx512_bf16"]


def result(*measured: tuple[Choice, float], now: Choice = NOW, cores: int = 4, load: float = 0.0) -> dict[str, Any]:
    """What `tune` would return, with these speeds in all."""
    lines = [
        {"choice": tune.asdict(choice), "steps_a_second": speed / choice.runs, "steps_a_second_in_all": speed,
         "memory_mib": 1000} for choice, speed in measured
    ]  # fmt: skip
    return {
        "study": "embedded", "run": "a run", "cores": cores, "load": load, "now": tune.asdict(now), "measured": lines,
        "products": [], "left_out": [],
    }  # fmt: skip


def varied(**changes: Any) -> Choice:
    return tune.replace(NOW, **changes)


def test_the_studys_own_runtime_is_measured_first_and_nothing_twice() -> None:
    found = tune.choices(NOW, 4, AVX512)
    assert found[0] == NOW
    assert len(found) == len(set(found))
    assert varied(threads=4, runs=1) in found
    assert varied(devices=4, runs=1) in found
    assert {choice.precision for choice in found} == {"float32", "bfloat16"}
    assert all(choice.precision == "float32" or not choice.portable for choice in found)


def test_bfloat16_is_measured_where_the_processor_has_it_or_the_study_asks() -> None:
    assert {choice.precision for choice in tune.choices(NOW, 2, ["avx2"])} == {"float32"}
    asked = varied(precision="bfloat16", portable=False)
    assert tune.choices(asked, 2, ["avx2"])[0] == asked


def test_on_one_core_and_on_a_gpu_there_is_less_to_choose() -> None:
    assert {(c.threads, c.devices, c.runs) for c in tune.choices(varied(runs=1), 1, [])} == {(1, 1, 1)}
    gpu = Choice("float32", False, "cuda", 4, 1, 1)
    assert {c.precision for c in tune.choices(gpu, 8, [])} == {"float32", "bfloat16", "float16"}


def test_now_is_as_many_runs_at_once_as_there_is_room_for(project: Project) -> None:
    assert tune.now(project.plan(), 4) == NOW
    project.edit("studies/embedded.yaml", "threads: 1", "threads: 3")
    assert tune.now(project.plan(), 4).runs == 1


def test_the_commonest_run_is_one_for_which_nothing_must_be_trained(project: Project) -> None:
    node = tune.commonest(project.plan())
    assert node.title.startswith("text/student-finetuned")


def test_a_study_that_trains_nothing_is_a_sentence(tmp_path: Path) -> None:
    nano = copy_project(tmp_path / "nano")
    study = "title: t\ntables:\n  t: {title: T, tasks: [nano-digits], seeds: [0], rows: [{experiment: image/linear}]}\n"
    (nano.root / "configs" / "studies" / "floor.yaml").write_text(study)
    with pytest.raises(RedistillError, match="the study `floor` trains nothing"):
        tune.commonest(make_plan(nano.root, "floor"))


# --- proposals -------------------------------------------------------------------------------------------------------


def test_what_keeps_the_bytes_reach_and_what_is_fastest_of_all_are_proposed_apart() -> None:
    found = tune.proposals(result((NOW, 4.0), (varied(threads=4, runs=1), 6.0), (varied(portable=False), 8.0)))
    assert found[tune.KEEPS] == {"choice": 1, "factor": 1.5, "runtime": {"threads": 4}}
    assert found["fastest of all"] == {"choice": 2, "factor": 2.0, "runtime": {"portable": False}}


@pytest.mark.parametrize(
    "other",
    [
        (varied(threads=4, runs=1), 4.1),  # noise
        (varied(runs=1, portable=False), 9.0),  # leaves three cores idle, which Snakemake would not
    ],
)
def test_what_is_no_better_is_not_proposed(other: tuple[Choice, float]) -> None:
    assert tune.proposals(result((NOW, 4.0), other)) == {}


def test_the_report_says_the_edit_what_it_means_and_when_not_to_believe_it(project: Project) -> None:
    plan = project.plan()
    console = Console(file=StringIO(), width=200, markup=False)
    console.print(tune.report(result((NOW, 4.0), (varied(portable=False), 8.0), load=9.0), plan))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "-  portable: true" in said
    assert "+  portable: false" in said
    assert "the same bytes on this kind of processor only" in said
    assert "changes the keys of every run" in said
    assert "portable costs 50% of the speed" in said
    assert "The machine was busy before (load 9.0 on 4 cores)" in said
    assert "Nothing that keeps precision" in said


@pytest.mark.parametrize(
    "text",
    [
        "title: t\nruntime:\n  threads: 1  # a constant\n\ntables: {}\n",
        "title: t\nruntime: {threads: 1, device: cpu}\ntables: {}\n",
        "title: t\nruntime: {}\ntables: {}\n",
        "title: t\ntables: {}\n",
        "runtime:\n  portable: true\n  threads: 8\ntitle: t\n",
    ],
)
def test_the_edit_is_a_diff_that_gives_a_file_with_those_values(text: str) -> None:
    changes = {"threads": 2, "portable": False}
    diff = tune.edit(text, changes, "s.yaml").splitlines()[3:]
    after = yaml.safe_load("\n".join(line[1:] for line in diff if line[0] in " +"))
    before = yaml.safe_load(text)
    assert after == {**before, "runtime": {**(before.get("runtime") or {}), **changes}}


def test_every_part_of_a_runtime_has_a_meaning() -> None:
    for key in ("threads", "devices", "strategy", "precision", "portable"):
        assert len(tune.meaning({key: True})) == 1


# --- measuring -------------------------------------------------------------------------------------------------------


def test_two_runs_side_by_side_and_a_wrong_one(tmp_path: Path) -> None:
    nano = copy_project(tmp_path / "nano")
    made = nano.redistill("run", "nano/image-teacher", "--study", "nano", "--seed", "0")
    assert made.returncode == 0, made.stderr
    code = (
        "import json, sys; from dataclasses import replace; from pathlib import Path; "
        "from redistill.performance import tune; from redistill.plan import make_plan; "
        "plan = make_plan(Path('.'), 'nano'); "
        "node = next(n for n in plan.nodes.values() if n.title == 'nano/image-teacher · nano-digits · seed 0'); "
        "two = tune.Choice('float32', True, 'cpu', 1, 1, 2); one = replace(two, runs=1); "
        "print(json.dumps([tune.measure(plan, node, c, 0.01) for c in (one, two)])); "
        "tune.measure(plan, node, replace(one, device='cuda'), 0.01)"
    )
    done = nano.command(sys.executable, "-c", code)
    (alone, products), (both, none) = json.loads(done.stdout)
    assert alone["steps_a_second"] == alone["steps_a_second_in_all"] > 0
    assert both["steps_a_second_in_all"] == pytest.approx(2 * both["steps_a_second"])
    assert both["memory_mib"] > alone["memory_mib"]
    assert products
    assert all(product["gflops"] > 0 and product["precision"] == "float32" for product in products)
    assert none == []
    assert "a measurement failed: runtime.device is `cuda`" in done.stderr
    assert not list((nano.root / "store").glob("runs/*/result"))
