"""A choice made with seeds of its own before the runs that are reported; rows best first; a row compared with all."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Project
from engine_project import Engine, Forge
from nano_study import copy_project
from test_language import last_problem, small_study

from redistill.config import schema
from redistill.config.checked import Row
from redistill.errors import RedistillError
from redistill.evaluation.evaluate import score
from redistill.plan import Node, Plan, _compared, make_plan
from redistill.tables.make import _best_first
from redistill.tables.render import Cell
from redistill.tables.render import Row as Shown

SMALL = """
label: Small
student: {architecture: {method: cnn, channels: [4, 8], hidden: 16}}
stages:
  - data: [train]
    steps: 40
    batch_size: 16
    optimiser: {learning_rate: 3.0e-3}
    loss:
      hard: {method: hard, weight: 1.0}
"""
STUDY = """
title: choice
runtime: {portable: true}
tables:
  digits:
    title: Digits
    tasks: [nano-digits]
    seeds: [0, 7]
    order: best first
    choose: {trials: 2, seeds: [7]}
    rows:
      - {experiment: image/linear, name: floor, set: {baseline.c: {grid: [1.0e-6, 1.0e-5]}}}
      - {experiment: small, name: slow, label: Slow, set: {stages.0.steps: {grid: [2, 1]}}}
      - experiment: small
        name: student
        label: Student
        set: {stages.0.optimiser.learning_rate: {grid: [1.0e-9, 3.0e-3]}}
    comparisons:
      - {row: "*", against: student}
      - {row: "*", against: slow}
"""
CHOSEN = "learning_rate=0.003"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A study with a choice, made from nothing."""
    nano = copy_project(tmp_path_factory.mktemp("choice") / "project")
    (nano.root / "configs" / "experiments" / "small.yaml").write_text(SMALL, encoding="utf-8")
    (nano.root / "configs" / "studies" / "choice.yaml").write_text(STUDY, encoding="utf-8")
    forge = Forge(nano.root)
    try:
        engine = Engine(nano.root, {}, forge)
        done = engine.forked("plan", "choice")
        assert done.returncode == 0, done.stderr
        engine.keys = json.loads(done.stdout)
        done = engine.forked("make", engine.keys["choice"]["study choice"])
        assert done.returncode == 0, done.stderr
        yield engine
    finally:
        forge.close()


@pytest.fixture(scope="module")
def plan(made: Engine) -> Plan:
    return make_plan(made.root, "choice")


def node(plan: Plan, kind: str, title: str) -> Node:
    (found,) = (node for node in plan.nodes.values() if (node.kind, node.title) == (kind, title))
    return found


def told(plan: Plan, kind: str, title: str, file: str) -> dict[str, Any]:
    """A file of something that was made."""
    value: dict[str, Any] = json.loads((node(plan, kind, title).folder(plan.root) / file).read_text())
    return value


def trial(plan: Plan, point: str, seed: int = 7, row: str = "student") -> Node:
    return node(plan, "student", f"small@{row},{point} · nano-digits · seed {seed}")


def test_every_trial_is_run_with_the_seeds_of_the_choice_and_the_chosen_one_with_those_of_the_row(plan: Plan) -> None:
    runs = {(run.experiment, run.seed) for run in plan.runs}
    assert runs == {
        *((f"image/linear@floor,c={c}", seed) for c in ("1e-06", "1e-05") for seed in (0, 7)),  # as every baseline
        *((f"small@slow,{point}", 7) for point in ("steps=2", "steps=1")),
        *((f"small@student,{point}", 7) for point in ("learning_rate=1e-09", CHOSEN)),
        *((row, seed) for row in ("slow", "student") for seed in (0, 7)),
    }
    choice = node(plan, "choice", "student · nano-digits")
    assert choice.config == {"metric": "accuracy", "trials": ["learning_rate=1e-09", CHOSEN]}
    assert choice.inputs == {f"trial {i} seed 7": trial(plan, p).key for i, p in enumerate(choice.config["trials"])}
    run, cell = node(plan, "student", "student · nano-digits · seed 0"), node(plan, "cell", "student · nano-digits")
    assert run.inputs["choice"] == cell.inputs["choice"] == choice.key
    assert set(cell.inputs) == {"seed 0", "seed 7", "choice"}
    assert "trials" not in cell.config
    assert "choice" not in node(plan, "cell", "floor · nano-digits").inputs


def test_the_trial_that_is_best_on_select_is_chosen(plan: Plan) -> None:
    choice = told(plan, "choice", "student · nano-digits", "choice.json")
    assert choice["chosen"] == CHOSEN
    for point in ("learning_rate=1e-09", CHOSEN):
        assert choice["select"][point] == score(trial(plan, point).folder(plan.root), "accuracy", "select")["value"]


def test_the_chosen_run_is_the_one_that_its_own_config_makes(plan: Plan) -> None:
    for seed in (0, 7):
        resolved = told(plan, "student", f"student · nano-digits · seed {seed}", "resolved.json")
        assert resolved == trial(plan, CHOSEN).config | {"seed": seed}
    ours = node(plan, "student", "student · nano-digits · seed 7").folder(plan.root)
    theirs = trial(plan, CHOSEN).folder(plan.root)
    assert ours != theirs
    for name in ("model.safetensors", "log.jsonl", "predictions.parquet", "resolved.json"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()


def test_what_is_reported_are_the_runs_after_the_choice(plan: Plan) -> None:
    metrics = told(plan, "cell", "student · nano-digits", "metrics.json")
    runs = {f"seed {s}": node(plan, "student", f"student · nano-digits · seed {s}").key for s in (0, 7)}
    assert metrics["runs"] == runs
    assert metrics["chosen"] == CHOSEN
    folders = {role: plan.nodes[key].folder(plan.root) for role, key in runs.items()}
    assert metrics["dev"] == {role: score(folder, "accuracy", "dev") for role, folder in folders.items()}


def test_a_table_has_its_rows_best_first_and_compares_each_pair_once(plan: Plan) -> None:
    table = told(plan, "table", "digits", "digits.json")
    means = [row["cells"]["nano-digits"]["mean"] for row in table["rows"]]
    assert means == sorted(means, reverse=True)
    notes = {row["name"]: row["notes"]["chosen"] for row in table["rows"]}
    assert list(notes)[-1] == "slow"  # which stands before `student` in the study
    assert notes["student"] == f"nano-digits: {CHOSEN}"
    pairs = [(c["row"], c["against"]) for c in table["comparisons"]]
    assert pairs == [("floor", "student"), ("slow", "student"), ("floor", "slow")]


def test_snakemake_makes_a_choice_by_a_rule_of_its_own(made: Engine, plan: Plan) -> None:
    folder = node(plan, "choice", "student · nano-digits").folder(plan.root)
    before = (folder / "choice.json").read_bytes()
    folder.rename(made.root.with_name("before"))
    target = f"{folder.relative_to(made.root)}/done.json"
    done = made.command(sys.executable, "-m", "snakemake", "--config", "study=choice", "--cores", "1", target)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Choose: student · nano-digits" in done.stdout + done.stderr
    assert (folder / "choice.json").read_bytes() == before


# --- keys, and what is refused ---------------------------------------------------------------------------------------

CHOOSE = "    choose: {trials: 2, seeds: [100]}\n"
GRID = "{{experiment: image/student-kd, name: row, set: {{stages.0.steps: {{grid: [1, {}]}}}}}}"


def keys_of(project: Project) -> dict[str, str]:
    return {f"{node.kind} {node.title}": node.key for node in project.plan("small").nodes.values()}


def test_the_key_of_a_chosen_run_knows_every_trial_that_it_may_be(project: Project) -> None:
    small_study(project, GRID.format(2), CHOOSE)
    before = keys_of(project)
    small_study(project, GRID.format(3), CHOOSE)
    after, chosen = keys_of(project), "student row · digits · seed 0"
    assert before[chosen] != after[chosen]
    same = "student image/student-kd@row,steps=1 · digits · seed 100"
    assert before[same] == after[same]


def test_another_seed_of_a_row_leaves_the_choice_and_the_other_runs_as_they_are(project: Project) -> None:
    small_study(project, GRID.format(2), CHOOSE)
    before = keys_of(project)
    project.edit("studies/small.yaml", "seeds: [0]", "seeds: [0, 1]")
    added = {title for title, key in keys_of(project).items() if before.get(title) != key}
    assert added == {"student row · digits · seed 1", "cell row · digits", "table t", "study small"}


def test_trials_that_learn_from_different_things_are_refused_in_a_sentence(project: Project) -> None:
    grid = "{experiment: image/student-kd, name: row, set: {teacher.seed: {grid: [0, 1]}}}"
    small_study(project, grid, CHOOSE)
    with pytest.raises(RedistillError) as caught:
        project.plan("small")
    assert str(caught.value) == (
        "table `t`, row `row`: `seed=1` is given another `outputs teacher train` than the other trials, and trials "
        "that are chosen from learn from the same: make rows of them"
    )
    small_study(project, grid, "    choose: {trials: 2}\n")  # there every trial is run with every seed
    project.plan("small")


@pytest.mark.parametrize(
    ("seeds", "key", "words"),
    [
        ("[1, 1]", "tables.t.choose.seeds.1", "`1` stands twice"),
        ("[]", "tables.t.choose.seeds", "at least 1"),
        ("[-1]", "tables.t.choose.seeds.0", "greater than or equal to 0"),
    ],
)
def test_seeds_that_nothing_can_be_chosen_with_are_refused(project: Project, seeds: str, key: str, words: str) -> None:
    small_study(project, GRID.format(2), CHOOSE.replace("[100]", seeds))
    problem = last_problem(project, "small")
    assert (problem.key, problem.line) == (key, 7)
    assert words in problem.message


# --- rows and comparisons --------------------------------------------------------------------------------------------


def row(name: str, *seeds: int, tasks: tuple[str, ...] = ("a", "b")) -> Row:
    return Row(name, name, name, {}, tasks, seeds, (name,), ("",), False)


def compared(*said: dict[str, Any], rows: tuple[Row, ...]) -> list[tuple[str, str, Any]]:
    found = _compared([schema.Comparison.model_validate(one) for one in said], list(rows))
    return [(one["row"], one["against"], one["tasks"]) for one in found]


ROWS = (row("x", 0, 1), row("y", 1, 0), row("one", 0), row("z", 0, 1, tasks=("b",)))


def test_a_star_compares_every_other_row_with_the_same_seeds() -> None:
    assert compared({"row": "*", "against": "x"}, rows=ROWS) == [("y", "x", None), ("z", "x", None)]
    assert compared({"row": "*", "against": "one"}, rows=ROWS) == []


def test_a_pair_is_compared_once_however_many_stars_and_names_ask_for_it() -> None:
    stars = ({"row": "*", "against": "x"}, {"row": "*", "against": "y"})
    assert compared(*stars, rows=ROWS) == [("y", "x", None), ("z", "x", None), ("z", "y", None)]
    named = {"row": "x", "against": "y", "tasks": ["a"]}
    assert compared(stars[0], named, rows=ROWS) == [("y", "x", ["b"]), ("z", "x", None), ("x", "y", ["a"])]


def test_a_row_without_a_number_in_the_first_column_comes_last() -> None:
    def shown(name: str, mean: float | None) -> Shown:
        cell = None if mean is None else Cell(mean, None, 1, None, None, 10, ["run"], "cell")
        return Shown(name, name, {}, {"a": cell})

    rows = [shown("none", None), shown("low", -0.5), shown("high", 0.9), shown("alike", 0.9)]
    assert [one.name for one in _best_first(rows, "a")] == ["high", "alike", "low", "none"]
