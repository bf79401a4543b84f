"""The tutorial, docs/extending.md, run as it stands: its blocks are files, its commands commands."""

import hashlib
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest
from nano_study import ROOT, TIMEOUT, Nano, copy_project

PAGE = ROOT / "docs" / "extending.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
FILES = {block.splitlines()[0].removeprefix("# "): block for lang, block in BLOCKS if lang in ("python", "yaml")}
COMMANDS = [line for language, block in BLOCKS if not language for line in block.splitlines()]
PROGRAMS = {"python": "", "redistill": "-m redistill"}


def test_every_block_is_a_file_or_commands():
    assert {language for language, _ in BLOCKS} == {"python", "yaml", "text", ""}
    assert all(re.fullmatch(r"[\w./-]+\.(py|yaml)", name) for name in FILES)
    assert len(FILES) == 7
    assert all(line.split()[0] in (".venv/bin/python", ".venv/bin/redistill", "sha256sum") for line in COMMANDS)


def test_the_digest_in_the_study_is_that_of_the_file():
    digest = hashlib.sha256(FILES["losses/margin.py"].encode()).hexdigest()
    assert f"sha256: {digest}" in FILES["configs/studies/margins.yaml"]


def test_the_example_is_not_in_the_catalogue():
    assert not (ROOT / "src" / "redistill" / "distill" / "margin.py").exists()
    assert not (ROOT / "src" / "redistill" / "distill" / "scaled_margin.py").exists()


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Nano:
    """A checkout as a reader of the page has it, with the files of the page in it."""
    project = copy_project(tmp_path_factory.mktemp("tutorial") / "project")
    shutil.copytree(ROOT / "docs", project.root / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("method_proofs.py", "test_methods.py"):
        (project.root / "tests").mkdir(exist_ok=True)
        shutil.copyfile(ROOT / "tests" / name, project.root / "tests" / name)
    programs = project.root / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, module in PROGRAMS.items():
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n', encoding="utf-8")
        (programs / name).chmod(0o755)
    for name, block in FILES.items():
        file = project.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block, encoding="utf-8")
    return project


@pytest.fixture(scope="module")
def said(tutorial: Nano) -> dict[str, str]:
    """What each command prints, in the order of the page; the first that fails ends it."""
    printed = {}
    for line in COMMANDS:
        done = subprocess.run(["sh", "-c", line], cwd=tutorial.root, env=tutorial.environment(), capture_output=True,
                              text=True, timeout=TIMEOUT)  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        printed[line] = done.stdout
    return printed


def printed_by(said: dict[str, str], words: str) -> str:
    (found,) = (text for line, text in said.items() if words in line)
    return found


@pytest.mark.slow
def test_every_command_of_the_page_succeeds(said):
    assert len(said) == len(COMMANDS) == 8
    assert hashlib.sha256(FILES["losses/margin.py"].encode()).hexdigest() in printed_by(said, "sha256sum")
    assert "1 passed" in printed_by(said, "pytest -q losses")
    assert "failed" not in printed_by(said, "tests/test_methods.py")
    assert re.search(r"\d\d passed", printed_by(said, "tests/test_methods.py"))
    for words in ("run margins/student", "run margins/scaled"):
        assert "accuracy on dev" in printed_by(said, words)


@pytest.mark.slow
def test_the_new_method_is_in_the_catalogue_and_on_the_pages(said, tutorial):
    assert "(scale m(student) - m(teacher))^2" in printed_by(said, "redistill methods")
    for page in ("docs/methods.md", "docs/config.md", "docs/defaults.yaml", "configs/schema/experiment.schema.json"):
        assert "scaled_margin" in (tutorial.root / page).read_text(encoding="utf-8")


@pytest.mark.slow
def test_what_the_new_method_learns_is_saved(said, tutorial):
    from safetensors.torch import load_file

    scales = [load_file(file) for file in sorted((tutorial.root / "store").rglob("auxiliary.safetensors"))]
    assert [list(tensors) for tensors in scales] == [["loss.soft.log"]]
    assert scales[0]["loss.soft.log"].item() != 0


@pytest.mark.slow
def test_a_plugin_is_not_imported_without_a_word_for_it(said, tutorial):
    again = ("run", "margins/student", "--study", "margins", "--seed", "1", "--set", "stages.0.steps=20")
    refused = tutorial.redistill(*again)
    assert refused.returncode != 0
    assert "--trust-plugins" in refused.stderr
    with (tutorial.root / "losses" / "margin.py").open("a", encoding="utf-8") as stream:
        stream.write("# changed\n")
    refused = tutorial.redistill(*again, "--trust-plugins")
    assert refused.returncode != 0
    assert "SHA-256 is" in refused.stderr


def test_a_value_out_of_bounds_is_refused_with_the_words_of_the_page(tmp_path):
    project = copy_project(tmp_path / "project")
    for name in [name for name in FILES if name.startswith(("configs/", "losses/"))]:
        file = project.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(FILES[name].replace("cap: 5.0", "cap: -5.0"), encoding="utf-8")
    refused = project.redistill("check", "margins")
    assert refused.returncode != 0
    (shown,) = (block for language, block in BLOCKS if language == "text")
    assert refused.stderr == shown


@pytest.mark.skipif(find_spec("ruff") is None, reason="ruff is not installed")
def test_the_files_of_the_page_are_in_the_style_of_the_package(tmp_path):
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    for name in [name for name in FILES if name.endswith(".py")]:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(FILES[name], encoding="utf-8")
    own = "lint.isort.known-first-party=['redistill']"
    for command in (["check", "--config", own], ["format", "--diff"]):
        ruff = [sys.executable, "-m", "ruff", *command, "."]
        done = subprocess.run(ruff, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
