"""The README and the docs say what is so: tables, reference, examples, commands, paths and links."""

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel

from redistill import registry
from redistill.cli import app
from redistill.config import compose, parse, schema
from redistill.config.check import check_experiment
from redistill.plan import lay_out, make_plan
from redistill.training.check import check_models

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def code(page: Path) -> Iterator[str]:
    """Lines of code blocks, and code within lines."""
    text = page.read_text(encoding="utf-8")
    for _, block in FENCE.findall(text):
        yield from block.splitlines()
    yield from re.findall(r"`([^`\n]+)`", FENCE.sub("", text))


def load(script: str):
    spec = importlib.util.spec_from_file_location("script", ROOT / script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not (ROOT / "results" / "embedded").is_dir(), reason="the study has not been made here")
def test_the_tables_in_the_readme_are_those_in_results():
    script = [sys.executable, str(ROOT / "benchmarks" / "readme.py"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_table_is_copied_between_its_markers_and_nothing_else_changes(tmp_path):
    (tmp_path / "a.md").write_text("### A\n\n| 1 |\n")
    before = "x\n<!-- from a.md -->\nold\n<!-- end -->\ny\n<!-- end -->\n"
    readme = load("benchmarks/readme.py")
    after = readme.filled(before, tmp_path)
    assert after == "x\n<!-- from a.md -->\n\n### A\n\n| 1 |\n\n<!-- end -->\ny\n<!-- end -->\n"
    assert readme.filled(after, tmp_path) == after


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SystemExit, match=r"a\.md is not there"):
        load("benchmarks/readme.py").filled("<!-- from a.md -->\n<!-- end -->\n", tmp_path)


def test_what_is_generated_is_what_schema_components_and_metrics_say():
    script = [sys.executable, str(ROOT / "docs" / "reference.py"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def sections() -> set[str]:
    """Names of the models that the schema is made of."""
    bases = (schema.Strict, schema.Component)
    found = {n: v for n, v in vars(schema).items() if isinstance(v, type) and issubclass(v, bases) and v not in bases}
    return set(found)


def test_the_config_reference_has_every_section_and_kind_of_component():
    named = re.findall(r"<!-- reference: (\w+) -->", (ROOT / "docs" / "config.md").read_text(encoding="utf-8"))
    assert sorted(named) == sorted([*sections(), *registry.PACKAGES, "metric"])


def blocks(page: Path, language: str) -> Iterator[tuple[str, str]]:
    """Path and content of each example that is a file: its first line says its path."""
    for said, block in FENCE.findall(page.read_text(encoding="utf-8")):
        if said == language and block.startswith("# "):
            yield block.splitlines()[0].removeprefix("# "), block


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The project that the examples of the config page are."""
    for path, block in [*blocks(ROOT / "docs" / "config.md", "yaml"), *blocks(ROOT / "docs" / "config.md", "python")]:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block, encoding="utf-8")
    return tmp_path


def test_the_examples_in_the_config_page_are_a_study_that_can_be_planned(example):
    runs = make_plan(example, "reviews").runs
    assert sorted((run.experiment, run.seed) for run in runs) == [
        ("floor", 0), ("student", 0), ("student", 1), ("student", 2), ("teacher", 0)
    ]  # fmt: skip


def test_every_study_in_the_config_page_is_right_models_and_all(example):
    names = compose.known(example, "studies")
    assert len(names) == 5
    plans = {name: make_plan(example, name) for name in names if name != "cosine"}
    assert all(check_models(plan) == [] for plan in plans.values())
    assert {row.name for row in plans["temperatures"].checked.rows["temperatures"]} == {
        "student@temperature=1", "student@temperature=2", "student@temperature=4", "short"
    }  # fmt: skip
    cosine = make_plan(example, "cosine").nodes.values()
    assert any("plugin:loss:cosine_logits" in node.parts["code"] for node in cosine)
    registry.use([])


def test_every_experiment_in_the_config_page_is_right_models_and_all(example):
    names = compose.known(example, "experiments")
    assert len(names) == 11
    for name in names:
        plan = lay_out(example, check_experiment(example, name, ["movie-reviews"], [0], "reviews"))
        assert check_models(plan) == []


# --- what editors are told, and the defaults -------------------------------------------------------------------------

SCHEMAS = {"studies": "study", "tasks": "task", "experiments": "experiment", "references": "references",
           "machines": "machine", "sources.yaml": "sources"}  # fmt: skip


def refused(root: Path, file: Path) -> list[str]:
    """What the JSON schema of a config file says against it."""
    jsonschema = pytest.importorskip("jsonschema")
    kind = SCHEMAS[file.relative_to(root).parts[0]]
    rules = json.loads((ROOT / "configs" / "schema" / f"{kind}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(rules)
    return [error.message for error in jsonschema.Draft7Validator(rules).iter_errors(parse.load(file).data)]


def test_the_json_schemas_take_every_config_of_the_project(example):
    taken = 0
    for root in (ROOT / "configs", example / "configs", ROOT / "tests" / "nano"):
        for file in sorted(root.rglob("*.yaml")):
            if not _names_a_plugin(file):
                assert refused(root, file) == [], file
                taken += 1
    assert taken > 60


def _names_a_plugin(file: Path) -> bool:
    """Whether a component in a file is none of the package's own, which a JSON schema does not know."""
    known = {name for kind in registry.PACKAGES for name in registry.names(kind)}
    return not set(re.findall(r"method: ([a-z_]+)", file.read_text(encoding="utf-8"))) <= known


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("studies/reviews.yaml", "threads: 1", "thread: 1"),
        ("studies/reviews.yaml", "seeds: [0, 1, 2]", "seeds: [0, 1, -2]"),
        ("studies/reviews.yaml", "    title: Movie reviews\n", ""),
        ("studies/chosen.yaml", "split: select", "split: dev"),
        ("tasks/movie-reviews.yaml", "method: vader", "method: vadr"),
        ("tasks/movie-reviews.yaml", "  neutral:", "  neutrl:"),
        ("tasks/movie-reviews.yaml", "  file: movieReviewSnippets_GroundTruth.txt\n", ""),
        ("tasks/movie-reviews.yaml", "metric: accuracy", "metric: acuracy"),
        ("experiments/teacher.yaml", "label: Teacher\n", ""),
        ("experiments/teacher.yaml", "learning_rate: 2.0e-4", "learning_rate: fast"),
        ("experiments/teacher.yaml", "method: adamw,", "method: sgd, beta1: 0.9,"),
        ("experiments/teacher.yaml", "method: adamw,", "beta1: 1.0,"),
        ("experiments/student.yaml", "experiment: teacher ", "experimnt: teacher "),
        ("experiments/student.yaml", "layers: [1, 3, 5]", "layers: [1, 3, -5]"),
        ("experiments/student-head-first.yaml", "temperature: 2.0", "temperature: 0"),
        ("experiments/student-head-first.yaml", "method: cosine", "method: cosin"),
        ("experiments/student-head-first.yaml", "warmup: 0.1", "warmpu: 0.1"),
        ("experiments/student-layers.yaml", "like: bert", "lik: bert"),
        ("experiments/floor.yaml", "method: majority", "method: majority\n  c: 1.0"),
        ("sources.yaml", "form: sdist", "form: zip"),
        ("sources.yaml", "sha256: b960", "sha256: x960"),
    ],
)
def test_the_json_schemas_refuse_mistakes(example, file, old, new):
    path = example / "configs" / file
    assert refused(example / "configs", path) == []
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    assert refused(example / "configs", path)


def test_the_defaults_on_file_are_those_of_schema_and_components():
    written = parse.load(ROOT / "docs" / "defaults.yaml").data
    elsewhere = {"Source", "PyPI", "Installed", "Hub", "Url", "Folder", "Task", "Splits", "OfficialSplits", "Pool",
                 "Reader", "Layout", "References", "Reference", "Machine", "Nodes", "Gpus", "Queue",
                 "Pace"}  # fmt: skip
    seen = _compared(schema.Experiment, written["experiment"]) | _compared(schema.Study, written["study"])
    assert seen == sections() - elsewhere
    for kind in registry.PACKAGES:
        assert set(written["components"][kind]) == set(registry.names(kind))
        for name, values in written["components"][kind].items():
            assert values == {key: s.default for key, s in registry.signature(kind, name).settings.items()}


def _compared(model: type[BaseModel], written: dict[str, Any]) -> set[str]:
    """Compare each key with its default, in sections within sections too; returns the sections that were seen."""
    assert list(written) == list(model.model_fields)
    seen = {model.__name__}
    for key, field in model.model_fields.items():
        inner = [getattr(schema, name) for name in re.findall(r"\w+", str(field.annotation)) if name in sections()]
        value = written[key]
        if inner and isinstance(value, list):
            (value,) = value
        elif inner and "dict[" in str(field.annotation):
            value = value["name"]
        if inner:
            seen |= _compared(inner[0], value)
        else:
            assert value == (None if field.is_required() else field.default), key
    return seen


@every_page
def test_every_command_that_is_named_exists_with_its_options(page):
    wrong = []
    for line in code(page):
        for name, rest in re.findall(r"\bredistill ([a-z][a-z-]*)([^#|\n]*)", line):
            options = {option for p in COMMANDS[name].params for option in p.opts} if name in COMMANDS else set()
            used = set(re.findall(r"(?<!\S)--?[a-zA-Z][a-z-]*", rest)) - {"--help", "--quiet", "-q"}
            if name not in COMMANDS or used - options:
                wrong.append(line)
    assert not wrong


def test_the_readme_lists_every_command():
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("## Commands")[1].split("\n## ")[0]
    assert {name.split()[0] for name in re.findall(r"`([^`]+)`", table)} >= set(COMMANDS)


@every_page
def test_every_make_target_that_is_named_exists(page):
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {target for line in code(page) for target in re.findall(r"^make ([a-z]+)\b", line)}
    assert named <= targets


@every_page
def test_every_path_that_is_named_is_there(page):
    tops = "src|configs|docs|workflow|profiles|envs|tests|benchmarks"
    examples = {path for _, block in FENCE.findall(page.read_text(encoding="utf-8")) for path in block.splitlines()[:1]}
    missing = [
        path
        for line in code(page)
        if line not in examples
        for path in re.findall(rf"(?<![\w/.<-])((?:{tops})/[\w./<>*-]+)", line)
        if not re.search(r"[<>*]|\.\.\.", path) and not (ROOT / path.rstrip(".:")).exists()
    ]
    assert not missing


@every_page
def test_relative_links_lead_to_files_and_headings(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.is_file() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_no_page_names_a_path_of_some_machine(page):
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"(?<![\w.:/<>*-])/(?:home|root|work|tmp|usr|opt|mnt|etc|var|Users)\b\S*", text)


def test_the_picture_is_well_formed_and_loads_nothing():
    from xml.etree import ElementTree

    picture = ROOT / "docs" / "dag.svg"
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")
    assert re.findall(r"https?://[^\"']+", picture.read_text(encoding="utf-8")) == ["http://www.w3.org/2000/svg"]
