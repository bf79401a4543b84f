"""The language of the configs: set, per_task, grids, choices, teachers, ramps, splits, plugins and sources."""

import hashlib

import pytest
from conftest import Project

from redistill import registry
from redistill.config import compose
from redistill.config.parse import Document, Place
from redistill.errors import ConfigError, Problem, RedistillError

STUDY, DIGITS = "studies/embedded.yaml", "tasks/digits.yaml"
KD, BASE = "experiments/image/student-kd.yaml", "experiments/image/base.yaml"
LONG = "experiments/text/student-finetuned-long.yaml"
OUTSIDE = "must be a path inside the source's folder"


def last_problem(project: Project, study: str = "embedded") -> Problem:
    (problem,) = project.problems(study)
    return problem


def added(project: Project, name: str, text: str) -> None:
    """Write lines at the end of a config file."""
    file = project.file(name)
    file.write_text(file.read_text(encoding="utf-8") + text, encoding="utf-8")


def small_study(project: Project, rows: str, more: str = "", tasks: str = "[digits]") -> None:
    """The study `small`: one table `t` of these rows, each a line."""
    text = f"title: small\ntables:\n  t:\n    title: T\n    tasks: {tasks}\n    seeds: [0]\n{more}    rows:\n"
    lines = "".join(f"      - {row}\n" for row in rows.strip().splitlines())
    project.file("studies/small.yaml").write_text(text + lines, encoding="utf-8")


def rows_of(project: Project) -> list[tuple[str, str]]:
    """Names and labels of the rows of the study `small`."""
    return [(row.name, row.label) for row in project.plan("small").checked.rows["t"]]


def test_set_lays_values_over_what_is_extended_and_each_knows_its_line(project):
    changes = ("stages.0.loss.soft.temperature: 2.5", "stages.0.steps: null", "stages.0.epochs: 3", "notes.steps: null")
    project.experiments(over="extends: image/student-kd\nset:\n" + "".join(f"  {line}\n" for line in changes))
    document = compose.read(project.root, "experiments", "over")
    stage = document.data["stages"][0]
    assert stage["loss"]["soft"] == {"method": "kd", "weight": 0.5, "temperature": 2.5}
    assert "steps" not in stage
    assert stage["epochs"] == 3
    assert document.data["notes"] == {}
    assert "set" not in document.data
    place = document.place(("stages", 0, "loss", "soft", "temperature"))
    assert (place.file, place.line) == ("configs/experiments/over.yaml", 3)
    assert document.place(("stages", 0, "loss", "soft", "weight")).file == f"configs/{KD}"
    assert document.place(("stages", 0, "clip_norm")).file == f"configs/{BASE}"


def test_what_is_set_does_not_reach_back_into_what_it_was_written_from(project):
    project.experiments(over="extends: image/student-kd\nset: {stages.0.loss.soft.weight: 0.1}\n")
    before = compose.read(project.root, "experiments", "image/student-kd")
    compose.override(before, Document({"stages.0.loss.soft.weight": 3}, {(): Place("x", 1, 1)}))
    assert before.data["stages"][0]["loss"]["soft"]["weight"] == 0.5


@pytest.mark.parametrize(
    ("path", "key", "words"),
    [
        ("stages.1.epochs", "stages.1.epochs", "there is no `1` in `stages`: it has 1 entries, counted from 0"),
        ("stages.first.epochs", "stages.first.epochs", "there is no `first` in `stages`"),
        ("stages.².epochs", "stages.².epochs", "there is no `²` in `stages`"),
        ("stages.-1.epochs", "stages.-1.epochs", "there is no `-1` in `stages`"),
        (f"stages.{'9' * 500}.epochs", f"stages.{'9' * 500}.epochs", "there is no"),
        ("label.text", "label.text", "`label` is a plain value: it has no `text` in it"),
        ("stages.0.steps.2", "stages.0.steps.2", "`stages.0.steps` is a plain value"),
        ("stages.0.stepz", "stages.0.stepz", "did you mean `steps`?"),
        ("stages.0.optimizer.learning_rate", "stages.0.optimizer", "did you mean `optimiser`?"),
        ("studnt.max_length", "studnt", "did you mean `student`?"),
        ("''", "", "unknown key"),
        ("runtime.device", "runtime", "unknown key here; it is one of the files in configs/studies"),
    ],
)
def test_a_path_that_leads_nowhere_says_what_there_is_at_the_line_of_the_set(project, path, key, words):
    project.edit(KD, "  stages.0.data:", f"  {path}: 3\n  stages.0.data:")
    problem = last_problem(project)
    assert (problem.file, problem.line) == (f"configs/{KD}", project.line(KD, ": 3\n".strip()))
    assert problem.key == key
    assert words in problem.message


@pytest.mark.parametrize("value", ["3", "[stages.0.steps]", "word", "null"])
def test_a_set_that_is_no_mapping_is_refused(project, value):
    project.experiments(odd=f"label: x\nset: {value}\n")
    with pytest.raises(ConfigError, match=r"odd.yaml:2:1: `set` must be a mapping of paths"):
        compose.read(project.root, "experiments", "odd")


def test_per_task_lays_values_over_one_task_alone(project):
    added(project, LONG, "  student.max_length: 50\nper_task:\n  movie: {stages.0.steps: 77, student.max_length: 30}\n")
    recipes = project.plan().checked.recipes
    assert recipes["text/student-finetuned-long", "movie"].experiment.stages[0].steps == 77
    assert recipes["text/student-finetuned-long", "movie"].experiment.student.max_length == 30
    project.edit(STUDY, "{experiment: text/student-finetuned-long, tasks: [movie]}",
                 "{experiment: text/student-finetuned-long}")  # fmt: skip
    recipes = project.plan().checked.recipes
    found = {task: r.experiment.stages[0].steps for (name, task), r in recipes.items() if name.endswith("-long")}
    assert found == {"movie": 77, "amazon": 100, "tweets": 100, "nyt": 100}


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        ("per_task:\n  movie: {stages.3.steps: 7}\n", 7, "stages.3.steps", "it has 1 entries"),
        ("per_task:\n  movie:\n    stages.0.steps: many\n", 8, "stages.0.steps", "valid integer"),
        ("per_task:\n  muvie: {stages.0.steps: 7}\n", 7, "per_task.muvie", "did you mean `movie`?"),
        ("per_task: {movie: 3}\n", 6, "per_task.movie", "must be a mapping"),
        ("per_task:\n  Bad Name: {}\n", 7, "per_task.Bad Name", "pattern"),
    ],
)
def test_a_mistake_in_per_task_is_said_where_it_stands(project, text, line, key, words):
    added(project, LONG, text)
    problem = last_problem(project)
    assert (problem.file, problem.line, problem.key) == (f"configs/{LONG}", line, key)
    assert words in problem.message


def test_a_grid_makes_a_row_of_each_point_with_its_name_and_label(project):
    small_study(project, "{experiment: image/student-kd, set: {stages.0.loss.soft.temperature: {grid: [1, 2.5]}}}")
    assert rows_of(project) == [
        ("image/student-kd@temperature=1", "Small CNN distilled, transfer set, temperature=1"),
        ("image/student-kd@temperature=2.5", "Small CNN distilled, transfer set, temperature=2.5"),
    ]
    recipes = project.plan("small").checked.recipes
    found = recipes["image/student-kd@temperature=1", "digits"].experiment.stages[0].loss["soft"].settings
    assert found == {"temperature": 1}


def test_two_grids_are_crossed_and_a_name_and_label_are_the_users(project):
    grids = "stages.0.steps: {grid: [5, 6]}, stages.0.data: {grid: [[train], [train, transfer]]}"
    changes = f"{{{grids}, stages.0.clip_norm: null}}"
    small_study(project, f"{{experiment: image/student-kd, name: mine, label: Mine, set: {changes}}}")
    assert [name for name, _ in rows_of(project)] == [
        'mine@steps=5,data=["train"],clip_norm=null', 'mine@steps=5,data=["train", "transfer"],clip_norm=null',
        'mine@steps=6,data=["train"],clip_norm=null', 'mine@steps=6,data=["train", "transfer"],clip_norm=null',
    ]  # fmt: skip
    assert all(label.startswith("Mine, steps=") for _, label in rows_of(project))


def test_a_row_with_set_and_a_name_is_called_by_it(project):
    small_study(
        project,
        "{experiment: image/student-finetuned}\n"
        "{experiment: image/student-finetuned, name: short, label: Short, set: {stages.0.steps: 9}}",
    )
    assert rows_of(project) == [("image/student-finetuned", "Small CNN"), ("short", "Short")]


def test_paths_that_end_alike_are_told_apart(project):
    loss = "optimiser: {learning_rate: 0.1}, loss: {hard: {method: hard, weight: 1}}"
    stage = f"data: [train], steps: 4, batch_size: 8, {loss}"
    project.experiments(two="extends: image/base\nlabel: Two\nstages:\n" + f"  - {{{stage}}}\n" * 2)
    small_study(project, "{experiment: two, name: a, set: {stages.0.steps: 5}}\n"
                         "{experiment: two, name: b, set: {stages.1.steps: 5}}")  # fmt: skip
    recipes = project.plan("small").checked.recipes
    assert {name: [s.steps for s in r.experiment.stages] for (name, _), r in recipes.items()} == {
        "two@a": [5, 4], "two@b": [4, 5]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "key", "words"),
    [
        ("set: {stages.0.steps: {grid: []}}", "set.stages.0.steps", "a grid is"),
        ("set: {stages.0.steps: {grid: 5}}", "set.stages.0.steps", "a grid is"),
        ("set: {stages.0.steps: {grid: [1, 2], more: 3}}", "set.stages.0.steps", "a grid is"),
        ("set: {stages.0.steps: {grid: [1, 2, 1]}}", "set.stages.0.steps.grid.2", "`1` stands twice"),
        ("set: {stages.0.steps: 5, stages.4.steps: 5}", "stages.4.steps", "it has 1 entries"),
        ("set: {stages.0.steps: {grid: [5, x]}}", "stages.0.steps", "valid integer"),
        ("set: {stages.0.loss.soft.temperature: {grid: [1, 0]}}", "stages.0.loss.soft.temperature", "larger than 0"),
        ("set: [1]", "set", "must be a mapping"),
        ("name: Bad Name", "name", "pattern"),
    ],
)
def test_a_mistake_in_a_rows_set_is_said_in_the_study(project, row, key, words):
    small_study(project, f"{{experiment: image/student-kd, {row}}}")
    problems = project.problems("small")
    assert {(p.file, p.line) for p in problems} == {("configs/studies/small.yaml", 8)}
    assert {p.key.removeprefix("tables.t.rows.0.") for p in problems} == {key}
    assert words in problems[0].message


CHOOSE = "    choose: {trials: 3}\n"
GRID = "set: {stages.0.steps: {grid: [1, 2, 3]}}"


def test_a_choice_is_one_row_whose_points_are_its_trials(project):
    small_study(project, f"{{experiment: image/student-kd, {GRID}}}\n{{experiment: image/majority}}\n"
                         "{experiment: image/linear, set: {baseline.c: {grid: [0.1, 1, 10]}}}", CHOOSE)  # fmt: skip
    plan = project.plan("small")
    rows = {row.name: row.recipes for row in plan.checked.rows["t"]}
    assert rows == {
        "image/student-kd": tuple(f"image/student-kd@steps={n}" for n in (1, 2, 3)),
        "image/majority": ("image/majority",),
        "image/linear": tuple(f"image/linear@c={n}" for n in (0.1, 1, 10)),
    }
    cells = {node.title: node for node in plan.nodes.values() if node.kind == "cell"}
    assert cells["image/student-kd · digits"].config["trials"] == ["steps=1", "steps=2", "steps=3"]
    assert len(cells["image/student-kd · digits"].inputs) == 3
    assert "trials" not in cells["image/majority · digits"].config


@pytest.mark.parametrize(
    "row",
    [
        "{experiment: image/student-kd}", "{experiment: image/linear}",
        "{experiment: image/student-kd, set: {stages.0.steps: {grid: [1, 2]}}}",
        "{experiment: image/linear, set: {baseline.c: {grid: [1, 2, 3, 4]}}}",
    ],
)  # fmt: skip
def test_every_row_of_a_choice_has_as_many_trials(project, row):
    small_study(project, f"{row}\n{{experiment: image/majority}}", CHOOSE)
    problem = last_problem(project, "small")
    assert (problem.line, problem.key) == (9, "tables.t.rows.0")
    assert "every row of this table has 3: give `set` a grid of 3" in problem.message


def test_a_choice_needs_a_split_to_choose_on(project):
    project.edit(DIGITS, "select: 60", "select: 0")
    small_study(project, "{experiment: image/majority}", CHOOSE)
    problem = last_problem(project, "small")
    assert (problem.line, problem.key) == (5, "tables.t.tasks.0")
    assert "no `select` split" in problem.message


@pytest.mark.parametrize(("split", "words"), [("dev", "'select'"), ("train", "'select'")])
def test_nothing_but_select_is_chosen_on(project, split, words):
    small_study(project, "{experiment: image/majority}", f"    choose: {{trials: 1, split: {split}}}\n")
    assert words in last_problem(project, "small").message


TWO_TEACHERS = """extends: image/student-finetuned
label: Of two teachers
teachers:
  large: {experiment: image/teacher}
  small: {experiment: image/student-finetuned, seed: 3}
set:
  stages.0.loss:
    one: {method: kd, weight: 0.5, teacher: large}
    two: {method: kd, weight: 0.5, teacher: small}
"""


def test_several_teachers_are_told_apart_by_name(project):
    project.experiments(both=TWO_TEACHERS)
    small_study(project, "{experiment: both}")
    plan = project.plan("small")
    run = next(node for node in plan.nodes.values() if node.title == "both · digits · seed 0")
    inputs = {role: plan.nodes[key].title for role, key in run.inputs.items()}
    assert inputs["outputs large train"] == "image/teacher · digits · seed 0 · train"
    assert inputs["outputs small train"] == "image/student-finetuned · digits · seed 3 · train"


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ("teacher: large", "teacher: lrge", "stages.0.loss.one.teacher", "did you mean `large`?"),
        (", teacher: large", "", "stages.0.loss.one", "does not say which `teacher`: large, small"),
        ("  large:", "  student:", "", "neither a teacher nor a peer can be called `student`"),
        ("teachers:", "teacher: {experiment: image/teacher}\nteachers:", "", "give either `teacher` or `teachers`"),
        ("  large:", "  Large.1:", "teachers.Large.1", "pattern"),
        ("experiment: image/teacher}", "experiment: image/teachr}", "teachers.large.experiment", "`image/teacher`?"),
        (
            "{experiment: image/teacher}",
            "{seed: 1}",
            "teachers.large",
            "either an `experiment` or a pretrained `source`",
        ),
    ],
)
def test_a_mistake_with_several_teachers_is_said(project, old, new, key, words):
    project.experiments(both=TWO_TEACHERS)
    project.edit("experiments/both.yaml", old, new)
    small_study(project, "{experiment: both}")
    problem = project.problems("small")[0]
    assert problem.file == "configs/experiments/both.yaml"
    assert problem.key == key
    assert words in problem.message


@pytest.mark.parametrize(
    ("weight", "key", "words"),
    [
        ("{first: 0, last: 1}", None, ""),
        ("{first: 1.0, last: 0.0, begin: 0.25, end: 0.75}", None, ""),
        ("{first: 0}", "stages.0.loss.soft.weight.last", "is missing"),
        (
            "{first: 0, last: 1, begin: 0.5, end: 0.5}",
            "stages.0.loss.soft.weight",
            "`begin` must be smaller than `end`",
        ),
        ("{first: 0, last: 1, end: 2}", "stages.0.loss.soft.weight.end", "less than or equal to 1"),
        ("{first: 0, last: one}", "stages.0.loss.soft.weight.last", "valid number"),
        ("{first: 0, last: 1, lst: 2}", "stages.0.loss.soft.weight.lst", "`last`"),
        ("heavy", "stages.0.loss.soft.weight", "valid number, but it is `heavy`"),
    ],
)
def test_a_ramp_goes_forward_between_two_weights(project, weight, key, words):
    project.edit(KD, "{method: kd, weight: 0.5", f"{{method: kd, weight: {weight}")
    problems = project.problems()
    assert [p.key for p in problems] == ([key] if key else [])
    assert all(words in p.message for p in problems)


IMAGE = "extends: image/base\n"


@pytest.mark.parametrize(
    ("experiment", "text", "task", "key", "words"),
    [
        ("image/student-finetuned", "", "movie", "student.architecture", "reads images, and `movie` is made of texts"),
        ("image/linear", "", "movie", "baseline.method", "reads images, and `movie` is made of texts"),
        ("text/tfidf", "", "digits", "baseline.method", "reads texts, and `digits` is made of images"),
        ("text/teacher", "", "digits", "student", "an image task needs `architecture`"),
        ("odd", IMAGE + "set: {student.architecture: null}\n", "movie", "student", "needs a `start`"),
        ("odd", IMAGE + "student: {start: {layers: [1], experiment: image/teacher}}\n", "digits",
         "student.start.layers", "transformers"),
        ("odd", "label: x\nbaseline: {method: majority}\nteacher: {experiment: image/teacher}\n", "digits", "baseline",
         "no student, teacher or stages"),
        ("odd", IMAGE + "set: {stages.0.loss.hard.teacher: anna}\n", "digits", "stages.0.loss.hard.teacher",
         "no teacher `anna`"),
        ("odd", IMAGE + "modules: {m: {method: linear, of: anna, input: '1'}}\n", "digits", "modules.m.of",
         "there is no `anna`"),
        ("odd", IMAGE + "modules: {m: {method: linaer, input: '1'}}\n", "digits", "modules.m.method",
         "`linear`?"),
        ("odd", IMAGE + "set: {stages.0.accumulate: 33}\n", "digits", "stages.0", "larger than `batch_size`"),
        ("odd", IMAGE + "set: {stages.0.optimiser.method: adamv}\n", "digits",
         "stages.0.optimiser.method", "did you mean `adam`?"),
        ("odd", IMAGE + "set: {stages.0.optimiser.beta1: 1}\n", "digits", "stages.0.optimiser.beta1",
         "smaller than 1"),
        ("odd", IMAGE + "set: {stages.0.schedule: {method: multistep, milestones: []}}\n", "digits", None, ""),
        ("odd", IMAGE + "set: {stages.0.schedule: {method: multistep, milestones: [0.5, 2]}}\n", "digits",
         "stages.0.schedule.milestones", "at most 1"),
        ("odd", IMAGE + "set: {stages.0.schedule.warmpu: 0.1}\n", "digits", "stages.0.schedule.warmpu",
         "`warmup`?"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_task_or_the_component_is_refused(project, experiment, text, task, key, words):
    if text:
        project.experiments(**{experiment: text})
    small_study(project, f"{{experiment: {experiment}}}", tasks=f"[{task}]")
    problems = project.problems("small")
    assert [p.key for p in problems] == ([key] if key else [])
    assert all(words in p.message for p in problems)


@pytest.mark.parametrize(
    ("splits", "key", "words"),
    [
        ("official: {dev: validation}", "splits.rows", "is missing"),
        ("official: {dev: validation}, rows: {validation: 9}, sampl: true", "splits.sampl", "`sample`"),
        ("official: {dve: validation}, rows: {validation: 9}", "splits.official.dve", "'dev'"),
        ("official: {train: train}, rows: {train: 9}", "splits", "which split `dev` is"),
        ("train: 3, select: 2, dve: 1", "splits.dve", "`dev`"),
        ("3", "splits", "must be a mapping"),
    ],
)
def test_a_mistake_in_either_kind_of_splits_is_said_at_its_key(project, splits, key, words):
    text = "extends: digits\nsplits: null\n"
    project.file("tasks/base.yaml").write_text(text, encoding="utf-8")
    said = splits if splits == "3" else f"{{{splits}}}"
    project.file("tasks/odd.yaml").write_text(f"extends: base\nsplits: {said}\n", encoding="utf-8")
    small_study(project, "{experiment: image/majority}", tasks="[odd]")
    problems = [p for p in project.problems("small") if words in p.message]
    assert [(p.file, p.line, p.key) for p in problems] == [("configs/tasks/odd.yaml", 2, key)]


def test_a_row_does_not_differ_from_itself_and_no_column_stands_twice(project):
    project.edit(STUDY, "against: image/student-finetuned", "against: image/student-kd")
    assert "a row does not differ from itself" in last_problem(project).message
    project.edit(STUDY, "against: image/student-kd", "against: image/student-finetuned")
    project.edit(STUDY, "tasks: [digits]", "tasks: [digits, digits]")
    problem = last_problem(project)
    assert (problem.key, problem.message) == ("tables.image.tasks.1", "`digits` stands twice")
    project.edit(STUDY, "tasks: [digits, digits]", "tasks: [digits]")
    project.edit(STUDY, "text/student-kd-transfer, tasks: [movie]", "text/student-kd-transfer, tasks: [movie, movie]")
    problem = last_problem(project)
    assert (problem.key, problem.message) == ("tables.text.rows.8.tasks.1", "`movie` stands twice")


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ("precision: float32", "precision: bfloat16", "runtime.portable", "holds for float32 alone"),
        ("device: cpu", "device: cuda", "runtime.portable", "holds on CPUs alone"),
        ("portable: true", "portable: false\n  devices: 40", "stages.0.batch_size", "smaller than 40 devices"),
        ("precision: float32\n  device: cpu\n  threads: 1\n  portable: true", "precision: float16", "runtime.precision",
         "CPUs have `bfloat16`"),
    ],
)  # fmt: skip
def test_a_runtime_that_cannot_be_is_refused(project, old, new, key, words):
    project.edit(STUDY, old, new)
    problems = project.problems()
    assert {p.key for p in problems} == {key}
    assert all(words in p.message for p in problems)


# --- plugins ---------------------------------------------------------------------------------------------------------

PLUGIN = """raise SystemExit


def mine(student_logits, *, power: float = 2.0):
    return student_logits**power
"""


def plugin_study(
    project: Project, file: str = "losses/mine.py", digest: str = "", code: str = PLUGIN, path: str = ""
) -> None:
    """The study `small` with a loss of the user's, whose file is written, and named with its digest if not another."""
    at = project.root / file
    at.parent.mkdir(parents=True, exist_ok=True)
    at.write_text(code, encoding="utf-8")
    project.experiments(own="extends: image/base\nset: {stages.0.loss.hard: {method: mine, weight: 1, power: 3}}\n")
    small_study(project, "{experiment: own}")
    digest = digest or hashlib.sha256(code.encode()).hexdigest()
    added(project, "studies/small.yaml", f"plugins:\n  mine: {{kind: loss, file: {path or file}, sha256: {digest}}}\n")


@pytest.fixture(autouse=True)
def _no_plugins_stay():
    yield
    registry.use([])


def test_a_study_brings_components_in_files_that_are_read_and_not_run(project):
    plugin_study(project)
    plan = project.plan("small")
    run = next(node for node in plan.nodes.values() if node.kind == "student")
    assert run.config["stages"][0]["loss"]["hard"]["settings"] == {"power": 3.0}
    assert run.parts["code"]["plugin:loss:mine"] == hashlib.sha256(PLUGIN.encode()).hexdigest()[:16]
    with pytest.raises(RedistillError, match="--trust-plugins"):
        registry.get("loss", "mine")
    project.edit("experiments/own.yaml", "power: 3", "pover: 3")
    assert "did you mean `power`?" in last_problem(project, "small").message


def test_a_plugin_is_known_to_its_study_alone(project):
    plugin_study(project)
    project.plan("small")
    assert "mine" in registry.names("loss")
    project.plan("embedded")
    assert "mine" not in registry.names("loss")


@pytest.mark.parametrize(
    ("options", "key", "words"),
    [
        ({"digest": "0" * 64}, "plugins.mine", "losses/mine.py: SHA-256 is "),
        ({"path": "../mine.py"}, "plugins.mine.file", "must lie in the project's folder"),
        ({"path": "/etc/hostname"}, "plugins.mine.file", "must lie in the project's folder"),
        ({"path": "losses/none.py"}, "plugins.mine", "losses/none.py: cannot be read"),
        ({"file": "losses/kd.py", "code": "def kd(labels): pass\n"}, "plugins.mine", "there is a loss `kd` already"),
        ({"code": "def other(labels): pass\n"}, "plugins.mine", "defines no function `mine`"),
        ({"code": "def mine(:\n"}, "plugins.mine", "defines no function `mine`"),
        ({"digest": "abc"}, "plugins.mine.sha256", "pattern"),
    ],
)
def test_a_plugin_that_is_not_what_the_study_says_is_refused(project, options, key, words):
    plugin_study(project, **options)
    problem = next(p for p in project.problems("small") if p.key.startswith("plugins"))
    assert (problem.file, problem.line, problem.key) == ("configs/studies/small.yaml", 10, key)
    assert words in problem.message
    assert str(project.root.parent) not in problem.message


def test_a_link_that_leads_out_of_the_project_is_no_plugin(project):
    plugin_study(project)
    outside = project.root.parent / "mine.py"
    (project.root / "losses" / "mine.py").rename(outside)
    (project.root / "losses" / "mine.py").symlink_to(outside)
    assert any("must lie in the project's folder" in p.message for p in project.problems("small"))


# --- sources ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ("  inner_sha256: d5", "  # d5", "vader", "`inner_sha256`"),
        ("  inner: additional_resources/hutto_ICWSM_2014.tar.gz\n", "", "vader", "`inner`"),
        ("inner: additional_resources/", "inner: ../additional_resources/", "vader.inner", OUTSIDE),
        ("inner: additional_resources/", "inner: /additional_resources/", "vader.inner", OUTSIDE),
        ("folder: hutto_ICWSM_2014", "folder: hutto/../..", "vader.folder", OUTSIDE),
        ("folder: hutto_ICWSM_2014", "folder: /hutto", "vader.folder", OUTSIDE),
        ("    tweets_GroundTruth.txt:", "    ../tweets.txt:", "vader.files.../tweets.txt", OUTSIDE),
        ("    tweets_GroundTruth.txt:", "    /tweets.txt:", "vader.files./tweets.txt", OUTSIDE),
        ("file: sklearn/datasets", "file: ../sklearn/datasets", "digits.origin.file", OUTSIDE),
        ("file: sklearn/datasets", "file: /sklearn/datasets", "digits.origin.file", OUTSIDE),
        ("package: vaderSentiment", 'package: "vaderSentiment\\n-r more.txt"', "vader.origin.package", "pattern"),
        ("package: vaderSentiment", "package: --index-url=x", "vader.origin.package", "pattern"),
        ('version: "2.5"', 'version: "2.5 --hash=x"', "vader.origin.version", "pattern"),
        ("files: [config.json,", "files: [../config.json,", "bert-base-uncased.origin.files.0", OUTSIDE),
    ],
)  # fmt: skip
def test_a_source_names_only_what_lies_inside_it_and_has_a_digest(project, old, new, key, words):
    project.edit("sources.yaml", old, new)
    problem = last_problem(project)
    assert (problem.file, problem.key) == ("configs/sources.yaml", key)
    assert words in problem.message


def test_rows_of_one_name_in_two_tables_that_set_other_values_are_other_recipes(project):
    small_study(project, "{experiment: image/student-finetuned, name: mine, set: {stages.0.steps: 9}}")
    file = project.root / "configs" / "studies" / "small.yaml"
    study = file.read_text()
    table = study[study.index("tables:\n") + len("tables:\n") :]
    first = table.splitlines()[0]
    file.write_text(study + table.replace(first, "  again:", 1).replace("steps: 9", "steps: 8"))
    recipes = project.plan("small").checked.recipes
    assert {name: r.experiment.stages[0].steps for (name, _), r in recipes.items()} == {
        "image/student-finetuned@mine": 9, "image/student-finetuned@steps=8": 8
    }  # fmt: skip
