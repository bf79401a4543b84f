"""Keys: what they are made of, what changes them and what does not, and components by name."""

import inspect
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redistill import plan as planner
from redistill import registry
from redistill.config import compose
from redistill.patterns import pattern
from redistill.plan import KINDS, Plan
from redistill.provenance import keys

SOURCES = Path(registry.__file__).parents[1]
TRAINED = ("teacher", "student", "outputs")
Names = set[tuple[str, str]]


def named(plan: Plan) -> dict[tuple[str, str], str]:
    """Keys by kind and title."""
    return {(node.kind, node.title): node.key for node in plan.nodes.values()}


def changed(before: dict[tuple[str, str], str], after: dict[tuple[str, str], str]) -> Names:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


# --- keys of values --------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(value=st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_a_key_does_not_depend_on_the_order_of_keys(value: dict[str, Any]):
    turned = dict(reversed(value.items()))
    assert keys.key_of(turned) == keys.key_of(value)
    assert json.loads(keys.canonical(value)) == value


def test_a_key_is_16_hex_digits_and_tells_types_apart():
    values: list[Any] = [1, 1.5, "1", True, None, [1], {"1": 1}]
    found = [keys.key_of({"value": value}) for value in values]
    assert len(set(found)) == len(values)
    assert all(len(key) == 16 and int(key, 16) >= 0 for key in found)


def test_what_is_no_number_has_no_key():
    with pytest.raises(ValueError):
        keys.key_of({"value": float("nan")})


# --- the plan of the embedded study ----------------------------------------------------------------------------------


def test_inputs_come_before_what_is_made_of_them_and_the_study_last(project):
    plan = project.plan()
    seen = set[str]()
    for node in plan.nodes.values():
        assert set(node.inputs.values()) <= seen, node.title
        seen.add(node.key)
    assert plan.target.kind == "study"
    assert all(node.key == key for key, node in plan.nodes.items())


def test_every_run_of_the_tables_is_planned(project):
    plan = project.plan()
    wanted = [
        (name, row.experiment, task, seed)
        for name, table in plan.checked.study.tables.items()
        for row in table.rows
        for task in row.tasks or table.tasks
        for seed in row.seeds or table.seeds
    ]
    assert [(run.table, run.experiment, run.task, run.seed) for run in plan.runs] == wanted
    assert len({run.key for run in plan.runs}) == len(wanted)
    assert all(run.key in plan.nodes for run in plan.runs)


def test_layout_comments_and_order_of_the_yaml_change_no_key(project):
    before = named(project.plan())
    file = "experiments/image/student-kd.yaml"
    text = project.file(file).read_text(encoding="utf-8")
    head, teacher, rest = text.partition("teacher:\n")
    experiment, changes, tail = rest.partition("set:\n")
    indented = "".join(f"      {line}" for line in (changes + tail).splitlines(keepends=True))
    indented = indented.replace("      set:", "set:", 1)
    loss = [line for line in indented.splitlines(keepends=True) if "{method:" in line]
    indented = indented.replace("".join(loss), "".join(reversed(loss)) + "\n    # weights sum to one\n")
    project.file(file).write_text(f"# turned about\n{indented}\n{teacher}{experiment}{head}", encoding="utf-8")
    flow = "architecture: {method: cnn, channels: [6, 12], hidden: 24}"
    block = "architecture:\n    hidden: 24\n    channels:   # of both\n    - 6\n    - 12\n    method: cnn"
    project.edit("experiments/image/base.yaml", flow, block)
    assert project.file(file).read_text(encoding="utf-8") != text
    assert named(project.plan()) == before


def test_one_temperature_changes_that_rows_runs_cells_table_and_study(project):
    before = named(project.plan())
    project.edit("experiments/image/student-kd.yaml", "temperature: 4.0", "temperature: 3.0")
    seeds = project.plan().checked.study.tables["image"].seeds
    assert changed(before, named(project.plan())) == {
        *(("student", f"image/student-kd · digits · seed {seed}") for seed in seeds),
        ("cell", "image/student-kd · digits"), ("table", "image"), ("study", "embedded"),
    }  # fmt: skip
    project.edit("experiments/image/student-kd.yaml", "temperature: 3.0", "temperature: 4.0")
    assert named(project.plan()) == before


def test_a_seed_adds_its_runs_and_nothing_else(project):
    before = named(project.plan())
    project.edit("studies/embedded.yaml", "seeds: [0, 1, 2, 3, 4]", "seeds: [0, 1, 2, 3, 4, 17]")
    after = named(project.plan())
    rows = ("image/student-finetuned", "image/student-kd", "image/student-rkd")
    assert after.keys() - before.keys() == {("student", f"{row} · digits · seed 17") for row in rows}
    assert before.keys() <= after.keys()
    assert {name for name in before if before[name] != after[name]} == {
        *(("cell", f"{row} · digits") for row in rows), ("table", "image"), ("study", "embedded")
    }  # fmt: skip


def test_labels_and_notes_change_the_table_only(project):
    before = named(project.plan())
    project.edit("experiments/image/student-kd.yaml", "label: ", "label: The ")
    project.edit("experiments/image/student-finetuned.yaml", "notes: {", "notes: {more: words, ")
    project.edit("tasks/digits.yaml", "title: ", "title: Ten ")
    assert changed(before, named(project.plan())) == {("table", "image"), ("study", "embedded")}


def test_licence_and_note_of_a_source_change_no_data(project):
    before = named(project.plan())
    project.edit("sources.yaml", "licence: CC BY 4.0", "note: small\n  licence: CC-BY-4.0")
    assert changed(before, named(project.plan())) == set()


def test_the_format_of_weights_is_in_the_key_only_of_a_model_that_is_converted(project):
    before = named(project.plan())
    said, digest = "  licence: Apache-2.0", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    project.edit("sources.yaml", said, f"  format: safetensors\n{said}")
    plan = project.plan()
    assert named(plan) == before
    assert "format" not in plan.nodes[before["model", "minilm"]].config
    project.edit("sources.yaml", f"model.safetensors: {digest}", f"pytorch_model.bin: {digest}")
    assert [(p.key, p.line) for p in project.problems()] == [("minilm", project.line("sources.yaml", "minilm:"))]
    project.edit("sources.yaml", "format: safetensors", "format: torch-pickle")
    after = project.plan()
    node = after.nodes[named(after)["model", "minilm"]]
    assert node.config["format"] == "torch-pickle"
    assert {"torch", "safetensors"} <= node.parts["packages"].keys()


def test_threads_change_every_run_and_no_data(project):
    before = named(project.plan())
    project.edit("studies/embedded.yaml", "threads: 1", "threads: 2")
    kinds = {kind for kind, _ in changed(before, named(project.plan()))}
    assert kinds == {"baseline", "teacher", "student", "outputs", "cell", "table", "study"}


def test_a_teacher_reaches_its_students(project):
    before = named(project.plan())
    project.edit("experiments/image/teacher.yaml", "hidden: 128", "hidden: 64")
    titles = {title for kind, title in changed(before, named(project.plan())) if kind in TRAINED}
    assert titles == {
        "image/teacher · digits · seed 0", "image/teacher · digits · seed 0 · train",
        "image/teacher · digits · seed 0 · transfer",
        *(f"image/student-{taught} · digits · seed {seed}" for taught in ("kd", "rkd") for seed in range(5)),
    }  # fmt: skip


def test_what_computes_the_metrics_is_in_the_key_of_what_a_metric_decides(project):
    def with_metrics() -> set[str]:
        return {n.kind for n in project.plan().nodes.values() if {"scipy", "scikit-learn"} <= set(n.parts["packages"])}

    assert with_metrics() == {"baseline", "cell"}
    teacher = project.file("experiments/image/teacher.yaml")
    teacher.write_text(teacher.read_text(encoding="utf-8") + "evaluation: {checkpoint: best}\n", encoding="utf-8")
    assert with_metrics() == {"baseline", "cell", "teacher"}


def test_what_is_shared_is_planned_once(project):
    names = [(node.kind, node.title) for node in project.plan().nodes.values()]
    assert len(names) == len(set(names))
    assert sum(title.startswith("text/agnostic") for kind, title in names if kind == "student") == 1


def test_missing_leaves_out_what_only_finished_things_need(project):
    plan = project.plan()
    assert plan.missing() == list(plan.nodes.values())
    cell = next(node for node in plan.nodes.values() if node.kind == "cell")
    folder = cell.folder(plan.root)
    folder.mkdir(parents=True)
    (folder / "done.json").write_text("{}", encoding="utf-8")
    assert cell not in plan.missing()
    assert plan.missing([cell.key]) == []
    assert plan.upstream([cell.key])[-1] == cell


SEEDS = ("seeds: [0, 1, 2]\n", "seeds: [0, 1, 2, 3, 4]\n")  # of the two tables of the embedded study


@pytest.fixture
def large(project):
    """Plans of the embedded study with more and more seeds."""

    def plans(counts: Iterable[int]) -> Iterator[Plan]:
        written = project.file("studies/embedded.yaml").read_text(encoding="utf-8")
        for count in counts:
            text = written
            for few in SEEDS:
                text = text.replace(few, f"seeds: {list(range(count))}\n")
            project.file("studies/embedded.yaml").write_text(text, encoding="utf-8")
            yield project.plan()

    return plans


def test_what_is_alike_for_all_seeds_is_worked_out_once_and_each_key_is_computed_once(large, monkeypatch):
    calls: Counter[str] = Counter()

    def count(module: Any, name: str) -> None:
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given: (calls.update([name]), function(*given))[1])

    count(compose, "validate")
    for name in ("_resolved", "fingerprint", "key_of"):
        count(planner, name)
    found = []
    for plan in large((10, 60)):
        assert calls.pop("key_of") == len(plan.nodes)
        found.append(dict(calls))
        calls.clear()
    assert len(plan.nodes) > 1000
    assert found[0] == found[1]


def test_patterns_tell_kinds_apart_and_do_not_grow_with_the_number_of_students(large):
    lengths = []
    for plan in large((10, 100)):
        patterns = {kind: pattern(plan, kind) for kind in KINDS}
        for kind, said in patterns.items():
            area = [node for node in plan.nodes.values() if node.area == KINDS[kind][0]]
            matched = [node for node in area if re.fullmatch(said, node.key)]
            assert matched == [node for node in area if node.kind == kind]
        lengths.append(sum(map(len, patterns.values())))
    assert lengths[1] < 3 * lengths[0]


LIGHT = """
import sys
from pathlib import Path
from redistill.plan import make_plan
make_plan(Path(sys.argv[1]), "embedded")
heavy = ("torch", "numpy", "scipy", "pandas", "pyarrow", "transformers", "sklearn")
print([name for name in heavy if name in sys.modules])
"""


def test_planning_imports_neither_torch_nor_numpy(project, python):
    done = python("-c", LIGHT, str(project.root))
    assert done.stdout.strip() == "[]", done.stderr


# --- fingerprints ----------------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Write modules of a package that stands in for redistill."""
    monkeypatch.setattr(keys, "_PACKAGE", tmp_path / "redistill")
    keys._module.cache_clear()

    def write(name: str, code: str) -> None:
        file = tmp_path / "redistill" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code, encoding="utf-8")
        keys._module.cache_clear()

    yield write
    keys._module.cache_clear()


CODE = '''"""What it does."""
import os
from pydantic import Field


class Thing:
    """A thing."""

    size: int = Field(3, description="How large")


def f(x):
    """Twice."""
    # not thrice
    return 2 * x
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""What it does."""', '"""What it really does."""'), ('"""What it does."""\n', ""),
        ('"""A thing."""', '"""Not a thing."""'), ('"""Twice."""', '"""Two times."""'),
        ("# not thrice", "# nor four times\n    # or five"), ("\n\n\n", "\n"), ("2 * x", "(2   *   x)"),
        ('description="How large"', 'description="How small"'), (', description="How large"', ""),
    ],
)  # fmt: skip
def test_what_only_people_read_is_not_in_the_fingerprint(package, old, new):
    package("stage", CODE)
    before = keys.fingerprint(["redistill.stage"])
    assert old in CODE
    package("stage", CODE.replace(old, new))
    assert keys.fingerprint(["redistill.stage"]) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [("2 * x", "3 * x"), ("Field(3", "Field(4"), ("def f(x)", "def g(x)"), ("return 2", "'''s'''\n    return 2"),
     ("import os", "import sys"), ("size: int", "size: float")],
)  # fmt: skip
def test_code_is_in_the_fingerprint(package, old, new):
    package("stage", CODE)
    before = keys.fingerprint(["redistill.stage"])
    assert old in CODE
    package("stage", CODE.replace(old, new))
    assert keys.fingerprint(["redistill.stage"]) != before


def test_only_the_static_import_closure_counts(package):
    package("stage", "from redistill.a import f\nfrom redistill import b\nimport redistill.sub.c\n")
    package("a", "def f():\n    from redistill.late import g\n    return g()\n")
    package("b", "import json\n")
    package("late", "from redistill import stage\n")  # a circle
    package("sub/__init__", "")
    package("sub/c", "from redistill.sub import d\n")
    package("sub/d", "")
    package("other", "import redistill.a\n")
    wanted = {"redistill.stage", "redistill.a", "redistill.b", "redistill.late", "redistill.sub.c", "redistill.sub.d"}
    assert set(keys.fingerprint(["redistill.stage"])) == wanted
    assert "redistill.other" in keys.fingerprint(["redistill.stage", "redistill.other"])


def test_what_keeps_books_does_not_count(package):
    package(
        "stage",
        "from redistill.provenance import store\nfrom redistill.errors import E\nfrom redistill import progress\n",
    )
    for name in ("provenance/__init__", "provenance/store", "errors", "progress"):
        package(name, "")
    assert set(keys.fingerprint(["redistill.stage"])) == {"redistill.stage"}


def test_only_whole_names_are_left_out(package):
    package("stage", "from redistill import climate, progressive\n")
    package("climate", "")
    package("progressive", "")
    assert set(keys.fingerprint(["redistill.stage"])) == {
        "redistill.stage",
        "redistill.climate",
        "redistill.progressive",
    }


def test_an_unknown_module_is_an_error(package):
    package("stage", "")
    with pytest.raises(ModuleNotFoundError):
        keys.fingerprint(["redistill.nothing"])


KEYS = """
import json, sys
from pathlib import Path
from redistill.plan import make_plan
nodes = make_plan(Path(sys.argv[1]), "embedded").nodes.values()
print(json.dumps([[n.kind, n.title, n.key] for n in nodes]))
"""


def edited(text: str) -> str:
    """The module with a line of code more in its last function."""
    head, separator, tail = text.rpartition("    return ")
    return f"{head}    added = None\n{separator}{tail}"


def test_an_edited_loss_changes_only_what_uses_it(project, python, tmp_path):
    src = tmp_path / "src"
    shutil.copytree(SOURCES, src, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))

    def now() -> dict[tuple[str, str], str]:
        done = python("-c", KEYS, str(project.root), src=src)
        assert done.returncode == 0, done.stderr
        return {(kind, title): key for kind, title, key in json.loads(done.stdout)}

    before = now()
    assert before == named(project.plan())
    hidden = src / "redistill" / "distill" / "tinybert_hidden.py"
    original = hidden.read_text(encoding="utf-8")

    hidden.write_text(original.replace("hidden states and embeddings", "embeddings and states"), encoding="utf-8")
    assert now() == before

    hidden.write_text(edited(original), encoding="utf-8")
    after = now()
    assert {title.split(" · ")[0] for kind, title in changed(before, after) if kind in TRAINED} == {
        "text/agnostic", "text/student-agnostic-kd"
    }  # fmt: skip
    assert {title for kind, title in changed(before, after) if kind == "table"} == {"text"}

    hidden.write_text(original, encoding="utf-8")
    pseudo = src / "redistill" / "distill" / "pseudo_label.py"
    pseudo.write_text(edited(pseudo.read_text(encoding="utf-8")), encoding="utf-8")
    seeds = project.plan().checked.study.tables["text"].seeds
    assert changed(before, now()) == {
        *(("student", f"text/student-pseudo-labels · movie · seed {seed}") for seed in seeds),
        ("cell", "text/student-pseudo-labels · movie"), ("table", "text"), ("study", "embedded"),
    }  # fmt: skip


# --- components by name ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", registry.PACKAGES)
def test_what_is_read_of_a_component_is_what_python_says(kind):
    assert registry.names(kind)
    for name in registry.names(kind):
        read = registry.signature(kind, name)
        parameters = inspect.signature(registry.get(kind, name)).parameters
        assert read.inputs == tuple(p.name for p in parameters.values() if p.kind is not p.KEYWORD_ONLY)
        own = {p.name: p for p in parameters.values() if p.kind is p.KEYWORD_ONLY}
        assert read.called_with == tuple(own)
        if read.built_with is not None:  # a loss whose file says how what it learns or remembers is made
            built = inspect.signature(registry.builder(name)).parameters
            assert read.built_with == tuple(p.name for p in built.values() if p.kind is p.KEYWORD_ONLY)
            own |= {setting: built[setting] for setting in read.built_with}
        assert list(read.settings) == list(own)
        for key, setting in read.settings.items():
            assert setting.required == (own[key].default is inspect.Parameter.empty)
            if not setting.required:
                assert setting.default == own[key].default


def test_helpers_are_no_components():
    assert "outputs" not in registry.names("loss")
    with pytest.raises(KeyError):
        registry.signature("loss", "outputs")


def test_defaults_are_written_out():
    assert registry.with_defaults("loss", "kd", {}) == {"temperature": 1.0, "t_squared": True}
    assert registry.with_defaults("loss", "kd", {"temperature": 4.0}) == {"temperature": 4.0, "t_squared": True}


def settings_of(tmp_path: Path, parameters: str) -> dict[str, registry.Setting]:
    """The settings of a component with these keyword-only parameters."""
    file = tmp_path / "thing.py"
    file.write_text(f"def thing(x, *, {parameters}): pass\n", encoding="utf-8")
    registry.use([registry.Plugin("loss", "thing", file, registry.digest(file))])
    read = registry.signature("loss", "thing").settings
    registry.use([])
    return read


@pytest.mark.parametrize(
    ("annotation", "right", "wrong"),
    [
        ("float", [1, 1.5], [True, "1", None, [1.0]]), ("int", [0, -3], [1.0, True, "1"]),
        ("bool", [True, False], [0, 1, "true"]), ("str", ["", "a"], [1, None, ["a"]]),
        ("list[int]", [[], [1, 2]], [(1,), [1.0], [True], ["1"], 1]), ("list[str]", [["a"]], [[1], "a"]),
        ("list[float]", [[1, 1.5]], [[True], ["1"], 1.0]), ("dict", [{}, {"a": 1}], [[], "a", None]),
        ("Annotated[float, Gt(0), Le(1)]", [1, 0.5], [0, -1, 1.5, "1", True, None]),
        ("Annotated[list[float], Ge(0), Lt(1)]", [[], [0, 0.5]], [[0.5, 1], [-1], 0.5]),
        ("Annotated[int, Ge(0)] | None", [0, 3], [-1, 1.0, None]),
        ("Literal['a', 3]", ["a", 3], ["b", "3", None]), ("Literal[1, 3]", [1, 3], [True, 1.0, 2, "1"]),
        ("Path", ["anything", 1], []),
    ],
)  # fmt: skip
def test_types_bounds_and_choices_of_settings(tmp_path, annotation, right, wrong):
    setting = settings_of(tmp_path, f"needed: {annotation}")["needed"]
    assert [value for value in right if registry.mistake(setting, value)] == []
    assert [value for value in wrong if not registry.mistake(setting, value)] == []


def test_a_setting_that_is_none_by_default_may_be_given_as_none(tmp_path):
    read = settings_of(tmp_path, "x: int | None = None, y: int = 3")
    assert registry.mistake(read["x"], None) is None
    assert registry.mistake(read["x"], "1") == "must be int"
    assert registry.mistake(read["y"], None) == "must be int"
