"""The README and the docs say what is so: tables, reference, examples, commands, paths and links."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from redistill.cli import app
from redistill.plan import make_plan

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


def test_the_config_reference_is_what_the_schema_says():
    script = [sys.executable, str(ROOT / "docs" / "reference.py"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_config_reference_has_every_model_and_component():
    from redistill import registry
    from redistill.config import schema

    models = {
        name for name, value in vars(schema).items() if isinstance(value, type) and schema.Strict in value.__mro__
    }
    named = set(re.findall(r"<!-- reference: (\w+) -->", (ROOT / "docs" / "config.md").read_text(encoding="utf-8")))
    assert named == (models - {"Strict"}) | set(registry.PACKAGES) | {"metric"}


def test_the_examples_in_the_config_page_are_a_study_that_can_be_planned(tmp_path):
    for language, block in FENCE.findall((ROOT / "docs" / "config.md").read_text(encoding="utf-8")):
        if language == "yaml":
            file = tmp_path / block.splitlines()[0].removeprefix("# ")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block, encoding="utf-8")
    runs = make_plan(tmp_path, "reviews").runs
    assert sorted((run.experiment, run.seed) for run in runs) == [
        ("floor", 0), ("student", 0), ("student", 1), ("student", 2), ("teacher", 0)
    ]  # fmt: skip


@every_page
def test_every_command_that_is_named_exists_with_its_options(page):
    wrong = []
    for line in code(page):
        for name, rest in re.findall(r"\bredistill ([a-z][a-z-]*)([^#|\n]*)", line):
            options = {option for p in COMMANDS[name].params for option in p.opts} if name in COMMANDS else set()
            used = set(re.findall(r"(?<!\S)--?[a-zA-Z][a-z-]*", rest)) - {"--help"}
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
