"""A study on a machine: profiles and their mistakes, what things ask for, sums, the command and its picture."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, Project
from test_estimate import run_of, write_record, write_records
from typer.testing import CliRunner

from redistill.cli import app
from redistill.config import compose, schema
from redistill.config.machines import read_machine
from redistill.errors import ConfigError, RedistillError
from redistill.performance import forecast_picture, gantt
from redistill.performance.forecast import Forecast, forecast
from redistill.performance.needs import BY_OPERATIONS, RECORD, UNKNOWN
from redistill.performance.operations import Counted
from redistill.plan import Plan

SVG = "{http://www.w3.org/2000/svg}"
GPUS: dict[str, Any] = {"count": 4, "operations": {"float32": 1e13}}


def machine(**values: Any) -> schema.Machine:
    nodes = {"node": {"cores": 2}}
    return schema.Machine.model_validate({"title": "a machine", "nodes": nodes, **values})


def made(plan: Plan, anew: bool = True, **values: Any) -> Forecast:
    return forecast(plan, machine(**values), "here", anew)


# --- profiles --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", compose.known(REPOSITORY, "machines"))
def test_every_profile_that_ships_can_be_read_by_its_name_and_by_its_path(name: str) -> None:
    path = f"configs/machines/{name}.yaml"
    assert read_machine(REPOSITORY, name) == read_machine(REPOSITORY, path)
    assert read_machine(REPOSITORY, name)[0] == name


def test_a_profile_may_be_any_file_and_one_in_the_project_may_extend_another(project: Project, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("title: mine\nnodes: {node: {cores: 3}}\n")
    name, found = read_machine(project.root, str(file))
    assert (name, found.nodes["node"].cores) == ("mine", 3)
    (project.root / "configs" / "machines" / "faster.yaml").write_text(
        "extends: laptop\nset: {nodes.laptop.gpus.step: 0.001}\n"
    )
    assert read_machine(project.root, "faster")[1].nodes["laptop"].gpus.step == 0.001  # type: ignore[union-attr]


MISTAKES = [
    ("  node: {cores: 2, memry: 4}", "2", "nodes.node.memry", "unknown key; did you mean `memory`?"),
    ("  node: {cores: 0}", "2", "nodes.node.cores", "greater than 0"),
    ("  node: {cores: two}", "2", "nodes.node.cores", "integer"),
    ("  node: {cores: 2, gpus: {count: 1, operations: {float8: 1}}}", "2", "nodes.node.gpus.operations.float8", ""),
    ("  node: {cores: 2, price: -1}", "2", "nodes.node.price", "greater than or equal to 0"),
    ("  node: {cores: 2, count: 3}", "1", "", "has several nodes and no `queue`"),
    ("  node: {cores: 2}\nqueue: {delay: 3}", "3", "queue.jobs", "is missing"),
    ("  node: {cores: 2}\nbilled: weekly", "3", "billed", "'nodes' or 'jobs'"),
    ("  node: !new {cores: 2}", "2", "", "a config is plain data"),
]


@pytest.mark.parametrize(("text", "line", "key", "said"), MISTAKES, ids=[m[3][:20] or m[2] for m in MISTAKES])
def test_a_mistake_in_a_profile_is_told_with_its_file_line_and_key(
    project: Project, text: str, line: str, key: str, said: str
) -> None:
    file = project.root / "configs" / "machines" / "wrong.yaml"
    file.write_text(f"nodes:\n{text}\ntitle: wrong\n")
    with pytest.raises(ConfigError) as error:
        read_machine(project.root, "wrong")
    (problem,) = error.value.problems
    assert (problem.file, str(problem.line), problem.key) == ("configs/machines/wrong.yaml", line, key)
    assert said in problem.message


def test_a_profile_that_is_not_there_and_one_that_holds_no_mapping_are_told(project: Project, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no machine `gpu-nod`; did you mean `gpu-node`"):
        read_machine(project.root, "gpu-nod")
    with pytest.raises(ConfigError, match=r"away\.yaml:1:1: cannot be read"):
        read_machine(project.root, str(tmp_path / "away.yaml"))
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="must be a mapping"):
        read_machine(project.root, str(tmp_path / "list.yaml"))


# --- what things ask for ---------------------------------------------------------------------------------------------


def test_what_was_recorded_takes_as_long_as_then_and_a_faster_core_takes_less(project: Project) -> None:
    plan = project.plan()
    takes = write_records(plan)
    found = made(plan)
    assert {need.how for need in found.needs.values()} == {RECORD}
    for node in plan.nodes.values():
        expected = takes[node.key] * (1.0 if node.kind in ("data", "model") else 0.5)  # half of it was work
        assert found.needs[node.key].job.seconds["node"] == pytest.approx(expected)
    fast = made(plan, nodes={"node": {"cores": 2, "speed": 4.0}})
    assert fast.schedule.end == pytest.approx(found.schedule.end / 4)


def test_pace_network_and_storage_are_added_to_the_jobs(project: Project) -> None:
    plan = project.plan()
    write_records(plan)
    plain = made(plan)
    slow = made(plan, pace={"start": 10, "job": 1, "end": 3})
    assert slow.schedule.end >= plain.schedule.end + 13 + len(slow.chain)
    run = run_of(plan, "text/student-kd", "movie")
    stored = made(plan, storage=1.0)
    need = stored.needs[run.key]
    moved = (need.read + (need.made or 0)) / 1e6
    assert need.job.seconds["node"] == pytest.approx(plain.needs[run.key].job.seconds["node"] + moved)


def test_what_was_never_made_takes_its_operations_and_at_least_its_steps(project: Project) -> None:
    plan = project.plan("paper")
    nodes: dict[str, Any] = {"node": {"cores": 32, "gpus": GPUS}}
    run = run_of(plan, "glue/bert-base", "glue/cola")
    need = made(plan, nodes=nodes).needs[run.key]
    twice = {"node": {"cores": 32, "gpus": {**GPUS, "operations": {"float32": 2e13}}}}
    steps = {"node": {"cores": 32, "gpus": {**GPUS, "step": 100.0}}}
    assert (need.how, need.job.needs.gpus) == (BY_OPERATIONS, 1)
    assert made(plan, nodes=twice).needs[run.key].job.seconds["node"] == pytest.approx(need.job.seconds["node"] / 2)
    epochs, texts, batch = 3, 8551, 16
    assert made(plan, nodes=steps).needs[run.key].job.seconds["node"] == 100 * epochs * -(-texts // batch)


def test_images_are_decoded_by_the_processes_beside_a_run_each_on_a_core_of_its_own(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = {("imagenet/kd", "imagenet/ilsvrc2012"): Counted(1e9, 10_000_000)}
    monkeypatch.setattr("redistill.performance.operations.counted", lambda plan: counted)
    nodes: dict[str, Any] = {"node": {"cores": 32, "gpus": GPUS, "images": 100}}
    sixteen = made(project.plan("paper"), nodes=nodes)
    run = run_of(project.plan("paper"), "imagenet/kd", "imagenet/ilsvrc2012")
    project.edit("studies/paper.yaml", "workers: 16", "workers: 0")
    alone = made(project.plan("paper"), nodes=nodes)
    both = [found.needs[run.key].job for found in (alone, sixteen)]
    assert [job.needs.cores for job in both] == [1, 17]
    assert both[0].seconds["node"] == pytest.approx(16 * both[1].seconds["node"])


def test_of_what_neither_records_nor_operations_tell_anything_that_is_said(project: Project) -> None:
    plan = project.plan()
    found = made(plan)
    assert {need.how for need in found.needs.values()} == {UNKNOWN}
    assert "of 133 things nothing is known, and they take no time here: " in str(found)


def test_a_table_and_a_cell_of_more_seeds_take_as_much_longer_as_there_is_more_to_count(project: Project) -> None:
    before = project.plan()
    write_records(before)
    project.edit("studies/embedded.yaml", "seeds: [0, 1, 2]", "seeds: [0, 1, 2, 3, 4, 5]")
    after = project.plan()
    found = {
        (need.node.kind, need.node.title): need.job.seconds["node"]
        for need in made(after).needs.values()
        if need.node.kind in ("cell", "table")
    }
    assert (found["table", "text"], found["table", "image"]) == (pytest.approx(1.0), pytest.approx(0.5))
    assert found["cell", "text/student-kd · movie"] == pytest.approx(1.0)
    assert found["cell", "text/teacher · movie"] == pytest.approx(0.5), "it has one seed as before"


def test_a_study_for_gpus_is_refused_on_a_machine_that_has_none(project: Project) -> None:
    plan = project.plan("paper")
    with pytest.raises(RedistillError, match=r"glue/bert-large .* needs 1 core, 1 GPU.*and the machine has no such"):
        made(plan)


def test_a_reference_takes_its_records_and_no_others(project: Project) -> None:
    plan = project.plan()
    node = run_of(plan, "image/teacher", "digits")
    write_record(plan, node, 100.0, machine={"processor": "Another CPU", "features": []})
    found = made(plan, reference="Another CPU")
    assert found.needs[node.key].job.seconds["node"] == pytest.approx(50.0)
    with pytest.raises(RedistillError, match="no record in this store is of the processor `Third`"):
        made(plan, reference="Third")


def test_what_is_prioritised_goes_first_with_all_that_it_is_made_of(project: Project) -> None:
    plan = project.plan()
    write_records(plan)
    run = run_of(plan, "text/student-kd", "movie")
    ends = [
        next(p.end for p in found.schedule.placed if p.job.key == run.key)
        for found in (made(plan), forecast(plan, machine(), anew=True, first=[run.key]))
    ]
    assert ends[1] < ends[0] / 2


# --- sums ------------------------------------------------------------------------------------------------------------


def test_a_price_is_of_all_nodes_until_the_end_or_of_what_jobs_have_of_them(project: Project) -> None:
    plan = project.plan()
    write_records(plan)
    nodes = {"node": {"cores": 4, "price": 8.0}}
    whole = made(plan, nodes=nodes)
    assert whole.price() == pytest.approx(8 * whole.schedule.end / 3600)
    jobs = made(plan, nodes=nodes, billed="jobs")
    assert jobs.price() == pytest.approx(8 * jobs.hours("cores") / 4)
    assert jobs.price() <= whole.price()


def test_the_numbers_agree_with_the_schedule(project: Project) -> None:
    plan = project.plan()
    write_records(plan)
    found = made(plan, nodes={"node": {"cores": 3}})
    said = found.numbers()
    work = sum(p.end - p.begin for p in found.schedule.placed)
    assert said["core_hours"] == pytest.approx(work / 3600, rel=1e-3)
    assert said["utilisation"]["cores"] == pytest.approx(work / 3 / found.schedule.end, rel=1e-3)
    assert len(said["jobs"]) == said["things"] == len(plan.nodes)
    assert max(said["bounds_seconds"].values()) <= said["makespan_seconds"]
    assert sum(step["seconds"] for step in said["longest_chain"]) == pytest.approx(found.chain_seconds, rel=1e-3)


# --- the command and the picture -------------------------------------------------------------------------------------


def command(project: Project, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    monkeypatch.chdir(project.root)
    return CliRunner().invoke(app, ["plan", *arguments])


def test_the_command_prints_words_or_numbers_and_draws(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_records(project.plan())
    picture = tmp_path / "picture.svg"
    done = command(project, monkeypatch, "embedded", "--profile", "two-cores", "-o", str(picture))
    assert done.exit_code == 0, done.output
    assert "embedded on two-cores (one node with two cores): 133 things to make" in done.output
    assert "the longest chain:" in done.output
    numbers = command(project, monkeypatch, "embedded", "--profile", "two-cores", "--json").output
    assert json.loads(numbers)["machine"] == "two-cores"
    assert ET.parse(picture).getroot().tag == f"{SVG}svg"


def test_what_belongs_to_a_simulation_is_refused_without_one(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    done = command(project, monkeypatch, "embedded", "--anew")
    assert isinstance(done.exception, RedistillError)
    assert "say on which machine, with --profile NAME" in str(done.exception)


def test_where_everything_is_there_nothing_is_simulated_unless_anew(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = project.plan()
    write_records(plan)
    for node in plan.nodes.values():
        node.folder(plan.root).mkdir(parents=True)
        (node.folder(plan.root) / "done.json").touch()
    assert "everything is there" in command(project, monkeypatch, "embedded", "--profile", "two-cores").output
    assert "133 things to make" in command(project, monkeypatch, "embedded", "--profile", "two-cores", "--anew").output


def test_the_picture_has_a_bar_of_each_thing_in_its_colour_the_longest_chain_framed_and_all_within(
    project: Project,
) -> None:
    plan = project.plan()
    write_records(plan)
    queue = {"jobs": 20}
    found = made(plan, nodes={"few": {"cores": 2, "count": 2}, "a < b & c".replace(" < b & ", "-"): {"cores": 1}},
                 queue=queue)  # fmt: skip
    root = ET.fromstring(forecast_picture.draw(found))
    bars = [r for r in root.iter(f"{SVG}rect") if r.find(f"{SVG}title") is not None]
    assert len(bars) == len(found.needs)
    assert sum("framed" in bar.get("class", "") for bar in bars) == len(found.chain)
    assert {bar.get("fill") for bar in bars} == {gantt.COLOURS[need.node.kind] for need in found.needs.values()}
    height = float(root.get("height", "0"))
    for bar in bars:
        assert 0 <= float(bar.get("x", "-1")) <= gantt.WIDTH
        assert float(bar.get("y", "-1")) + float(bar.get("height", "0")) <= height
    assert {"few 1", "few 2"} <= {text.text for text in root.iter(f"{SVG}text")}
