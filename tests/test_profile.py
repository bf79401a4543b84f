"""Where time goes: parts of a run's steps, times of a study, and their picture."""

import io
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from conftest import Project
from nano_study import Nano, copy_project
from rich.console import Console

from redistill.errors import RedistillError
from redistill.performance import gantt, times
from redistill.performance.profile import report
from redistill.plan import Plan
from redistill.provenance import store

KD = "nano/image-kd"
PARTS = {"data", "teachers", "forward", "loss", "backward", "optimiser", "hooks", "rest"}


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Nano:
    return copy_project(tmp_path_factory.mktemp("profile") / "nano")


@pytest.fixture(scope="module")
def teacher(nano: Nano) -> str:
    """Key of an image teacher that has been made."""
    made = nano.redistill("run", "nano/image-teacher", "--study", "nano", "--seed", "0")
    assert made.returncode == 0, made.stderr
    return next(iter(nano.things("runs")))


def in_store(nano: Nano) -> dict[str, float]:
    """Every file of the store outside the scratch folder, with its time."""
    files = (file for file in (nano.root / "store").rglob("*") if file.is_file())
    return {str(f): f.stat().st_mtime for f in files if "work" not in f.relative_to(nano.root / "store").parts}


# --- a run -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("planned", [True, False], ids=["planned", "known by its record alone"])
def test_a_run_is_profiled_by_its_key_beside_the_store(nano: Nano, teacher: str, planned: bool) -> None:
    plans = nano.root / "store" / "work" / "plans" / f"{teacher}.json"
    if not planned:
        plans.unlink()
    before = in_store(nano)
    said = nano.redistill("profile", teacher, "--steps", "4", "--json", "--trace", "t.json")
    assert said.returncode == 0, said.stderr
    assert in_store(nano) == before
    found = json.loads(said.stdout)
    assert found["key"] == teacher
    assert found["peak_memory_mib"] > 0
    assert set(found["start"]) == {"imports", "loading"}
    assert set(found["end"]) == {"saving", "predicting"}
    (stage,) = found["stages"]
    assert stage["steps_timed"] == 4
    assert stage["steps"] == 20, "the steps of the run itself, not of the profile"
    assert set(stage["milliseconds"]) == PARTS
    assert all(stage["milliseconds"][part] > 0 for part in PARTS - {"teachers"})
    assert sum(stage["milliseconds"].values()) == pytest.approx(stage["milliseconds_a_step"], rel=1e-3)
    assert found["whole"]["backward"] == pytest.approx(stage["milliseconds"]["backward"] * 20 / 1000, rel=1e-3)
    assert 0 < sum(operator["share"] for operator in stage["operators"]) <= 1.001
    trace = json.loads((nano.root / "t.json").read_text())
    assert {f"redistill: {part}" for part in ("forward", "backward")} <= {e.get("name") for e in trace["traceEvents"]}
    screen = io.StringIO()
    Console(file=screen, width=120).print(report(found))
    for said_part in ("imports", "backward", "operator", "examples/s", "Peak of memory"):
        assert said_part in screen.getvalue()


def test_a_run_of_an_experiment_is_profiled_with_changed_values_and_every_evaluation_told_apart(nano: Nano) -> None:
    said = nano.redistill(
        "profile", KD, "--study", "nano", "--steps", "3", "--json", "--set", "evaluation.checkpoint=best",
        "--set", "stages.0.steps=null", "--set", "stages.0.epochs=2",
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout)
    (stage,) = found["stages"]
    assert stage["steps"] == 2 * stage["steps_an_epoch"]
    assert stage["seconds_an_evaluation"] > 0
    assert found["whole"]["evaluation"] == pytest.approx(2 * stage["seconds_an_evaluation"], rel=1e-3)
    assert f"{KD} · nano-digits · seed 0" not in {json.loads(f.read_text())["what"] for f in records(nano)}


def records(nano: Nano) -> list[Path]:
    return list((nano.root / "store" / "records").glob("*.json"))


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("nano/image-keyd", "image-kd"),
        ("0123456789abcdef", "nothing with the key 0123456789abcdef was planned or made here"),
        ("image/linear", "is a baseline: it has no steps that could be timed"),
    ],
)
def test_what_has_no_steps_is_a_sentence(nano: Nano, named: str, message: str) -> None:
    said = nano.redistill("profile", named, "--study", "nano", "--task", "nano-digits")
    assert said.returncode != 0
    assert message in said.stderr
    assert "Traceback" not in said.stderr


def test_a_key_of_something_else_than_a_run_and_of_a_run_without_its_inputs_is_a_sentence(
    nano: Nano, teacher: str, tmp_path: Path
) -> None:
    other = next(key for key in nano.things("results"))
    said = nano.redistill("profile", other)
    assert "only runs have steps to be timed" in said.stderr
    alone = copy_project(tmp_path / "alone")
    record = alone.root / "store" / "records" / f"{teacher}.json"
    store.write_atomically(record, (nano.root / "store" / "records" / record.name).read_text())
    said = alone.redistill("profile", teacher)
    assert "its dataset is not there" in said.stderr


# --- a study ---------------------------------------------------------------------------------------------------------


def write_records(plan: Plan, starts: dict[str, str], **values: Any) -> None:
    """Records of some things of a plan, by kind: `HH:MM:SS` at which each was begun."""
    for node in plan.nodes.values():
        if node.kind in starts:
            record = {
                "what": node.title, "key_parts": node.parts, "start": f"2026-01-01T{starts[node.kind]}Z",
                "end": f"2026-01-01T{starts[node.kind]}Z", "seconds": 10.0, "core_seconds": 8.0,
                "peak_memory_mib": 100, "machine": {}, **values,
            }  # fmt: skip
            store.write_atomically(plan.root / "store" / "records" / f"{node.key}.json", store.pretty(record))


def bar(begin: float, end: float, kind: str = "student", title: str = "a") -> times.Bar:
    return times.Bar(kind, title, begin, end, end - begin, 100)


def test_times_of_a_study_that_was_not_made_are_a_sentence(project: Project) -> None:
    with pytest.raises(RedistillError, match="the study `embedded` has no records here"):
        times.bars_of(project.plan())


def test_times_by_kind_the_longest_and_the_share_without_work(project: Project) -> None:
    plan = project.plan()
    write_records(plan, {"data": "00:00:00", "teacher": "00:00:10", "table": "00:00:30"})
    found = times.summary(plan)
    of = {kind: sum(node.kind == kind for node in plan.nodes.values()) for kind in ("data", "teacher", "table")}
    assert {kind: row["things"] for kind, row in found["kinds"].items()} == of
    assert found["kinds"]["teacher"]["seconds"] == pytest.approx(10 * of["teacher"])
    assert found["wall_seconds"] == pytest.approx(40)
    assert found["not_work_share"] == pytest.approx(0.75), "teachers take 10 seconds of 40"
    assert found["made"] < found["things"] == len(plan.nodes)
    assert len(found["longest"]) == min(sum(of.values()), times.LONGEST)


def test_bars_share_lanes_only_one_after_the_other_and_hours_without_work_are_cut_out() -> None:
    bars = times.in_lanes([bar(0, 10), bar(1, 5), bar(6, 12), bar(10, 11), bar(5000, 5001)])
    assert [b.lane for b in bars] == [0, 1, 1, 0, 0]
    assert [len(part) for part in times.sittings(bars)] == [4, 1]
    assert times.covered(bars) == 13
    assert times.between(bars) == pytest.approx(0.5)


@pytest.mark.parametrize("things", [3, gantt.ROWS + 60])
def test_the_picture_has_a_bar_a_thing_inside_its_frame_and_loads_nothing(things: int) -> None:
    bars = times.in_lanes([bar(i, i + 20, ("student", "cell")[i % 2], f"<run {i}> & more") for i in range(things)])
    later = times.in_lanes([bar(1e6, 1e6 + 30, "table", "t")])
    picture = gantt.draw("a & b", [bars, later])
    tree = ElementTree.fromstring(picture)
    width, height = float(tree.attrib["width"]), float(tree.attrib["height"])
    drawn = [r for r in tree.iter("{http://www.w3.org/2000/svg}rect") if len(r)]
    assert len(drawn) == things + 1
    for rect in drawn:
        x, y, w, h = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        assert 0 <= x < x + w <= width
        assert gantt.TOP <= y < y + h <= height
    assert {r.attrib["fill"] for r in drawn} == {gantt.COLOURS[kind] for kind in ("student", "cell", "table")}
    assert picture.count("http") == 1


def test_every_kind_of_thing_has_a_colour_of_its_own() -> None:
    from redistill.plan import KINDS

    assert set(gantt.COLOURS) == set(KINDS)
    assert len(set(gantt.COLOURS.values())) == len(KINDS)


def test_the_command_writes_the_picture(nano: Nano, teacher: str) -> None:
    said = nano.redistill("times", "nano", "-o", "nano.svg")
    assert said.returncode == 0, said.stderr
    assert "teacher" in said.stdout
    assert ElementTree.parse(nano.root / "nano.svg").getroot().tag.endswith("svg")
