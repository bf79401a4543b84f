"""Every command of README and docs is run: here, in a small finished study, or by the test or target that is named."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest
import typer
import yaml
from doc_commands import BLOCK, PAGES, ROOT, Command, commands, program
from forked_commands import RUNTIME, client
from nano_study import Nano
from questioned import git

from redistill.cli import app
from redistill.cli.overview import QUIETLY
from redistill.environment import variables
from redistill.registry import TRUST

GROUP = typer.main.get_command(app)
ALL = [command for page in PAGES for command in commands(page)]

HELD: dict[str, dict[str, str]] = yaml.safe_load((ROOT / "tests" / "held_commands.yaml").read_text(encoding="utf-8"))

# --- what is run here: `embedded` is the nano study, whose recipes and tasks take the places of those of the docs -----

INSTEAD = (
    ("text/student-kd", "nano/student-kd"), ("image/student-kd", "nano/image-kd"), ("text/teacher", "nano/teacher"),
    ("--task movie", "--task nano-movie"), ("--task digits", "--task nano-digits"),
    ("--column movie", "--column nano-movie"), ("student-kd/movie", "student-kd/nano-movie"),
    ("· nyt · seed 2", "· nano-movie · seed 0"), ("/ nyt", "/ nano-movie"),
    ("croissant digits", "croissant nano-digits"), ("kd / digits", "kd / nano-digits"),
    ("python verify.py", f"cd crate && {sys.executable} verify.py"),
)  # fmt: skip
MAY_END = {  # as the page says
    r".*redistill environment.*": (0, 1),  # this machine may differ from the lock
    r"redistill plan embedded --deviations": (0, 1),
    r".*redistill prune": (0, 1),  # nobody can be asked
    r"redistill verdict .*": (0, 1),
    r"redistill audit --level trace": (0, 1, 3),
}


def where_held(command: Command) -> str | None:
    """The test or target that runs a command, None if it is run here."""
    if command.place in HELD["pages"]:
        return HELD["pages"][command.place]
    return next((held for pattern, held in HELD["commands"].items() if re.fullmatch(pattern, command.line)), None)


HERE = [command for command in ALL if where_held(command) is None]


def shown(command: Command) -> str:
    return f"{command.place}: {command.line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_line_of_a_block_of_commands_is_a_command_that_is_known(page: Path) -> None:
    unknown = [command.line for command in commands(page) if program(command.line) is None]
    assert not unknown, "say what runs it, in tests/doc_commands.py and here"


def test_what_is_run_elsewhere_is_really_run_there() -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for held in {where_held(command) for command in ALL} - {None}:
        assert held is not None
        file, _, test = held.removeprefix("make ").partition("::")
        if held.startswith("make "):
            assert file in targets, held
        elif test:
            assert f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), held
        else:
            assert (ROOT / file).is_file(), held


def test_nothing_is_held_that_no_page_shows() -> None:
    lines = [command.line for command in ALL if command.place not in HELD["pages"]]
    assert [p for p in HELD["commands"] if not any(re.fullmatch(p, line) for line in lines)] == []


@pytest.mark.parametrize("command", [c for c in ALL if program(c.line) == "redistill"], ids=shown)
def test_redistill_takes_every_option_of_every_command_that_is_shown(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRUST, "")  # which --trust-plugins sets; afterwards it is as it was
    words = [w for w in itertools.takewhile(lambda w: w not in (">", "&&", "|"), command.words) if w not in QUIETLY]
    if set(words) & {"--help", "--install-completion", "--show-completion"}:
        return
    context = GROUP.make_context("redistill", words[1:])  # fails where an option or an argument is wrong
    name, sub, rest = GROUP.resolve_command(context, words[1:])  # type: ignore[attr-defined]
    sub.make_context(name, list(rest), parent=context)


@pytest.mark.parametrize("command", [c for c in ALL if program(c.line) == "snakemake"], ids=shown)
def test_snakemake_takes_every_option_of_every_command_that_is_shown(command: Command) -> None:
    from snakemake.cli import get_argument_parser

    said = StringIO()
    try:
        with redirect_stderr(said):
            get_argument_parser().parse_args(command.words[1:])
    except SystemExit:
        pytest.fail(said.getvalue())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_snakemake_has_every_option_that_is_named_within_a_sentence(page: Path) -> None:
    from snakemake.cli import get_argument_parser

    known = {option for action in get_argument_parser()._actions for option in action.option_strings}
    named = re.findall(r"`[^`\n]*\bsnakemake ([^`\n]*)`", BLOCK.sub("", page.read_text(encoding="utf-8")))
    assert {option for said in named for option in re.findall(r"(?<!\S)--[a-z-]+", said)} <= known


@dataclass(frozen=True)
class Project:
    """The finished study in which commands are run, with `.venv/bin` as the docs have it and a home of its own."""

    nano: Nano
    home: Path

    def run(self, line: str, timeout: int = 240) -> subprocess.CompletedProcess[str]:
        bin = self.nano.root / ".venv" / "bin"
        environment = {**self.nano.environment(), "HOME": str(self.home), "PATH": f"{bin}:{os.environ['PATH']}",
                       "NO_COLOR": "1"}  # fmt: skip
        return subprocess.run(["bash", "-c", line], cwd=self.nano.root, env=environment, text=True, capture_output=True,
                              stdin=subprocess.DEVNULL, timeout=timeout)  # fmt: skip


@pytest.fixture(scope="module")
def project(finished_nano: Nano, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The nano study under the name `embedded`, committed twice; commands start without their imports."""
    folder = tmp_path_factory.mktemp("docs")
    nano, home = Nano(folder / "project"), folder / "home"
    home.mkdir()
    shutil.copytree(finished_nano.root, nano.root, symlinks=True)
    for name in ("LICENSE", "CITATION.cff", ".gitignore"):
        shutil.copyfile(ROOT / name, nano.root / name)
    (nano.root / "configs" / "studies" / "nano.yaml").rename(nano.root / "configs" / "studies" / "embedded.yaml")
    bin = nano.root / ".venv" / "bin"
    bin.mkdir(parents=True)
    for name in ("python", "snakemake", "dvc"):
        (bin / name).write_text(f'#!/bin/sh\nexec {Path(sys.executable).parent / name} "$@"\n', encoding="utf-8")
        (bin / name).chmod(0o755)
    client(bin / "redistill", folder / "socket")
    server = [sys.executable, ROOT / "tests" / "forked_commands.py", folder / "socket"]
    environment = nano.environment() | variables(RUNTIME)
    with subprocess.Popen(server, env=environment, stdout=subprocess.PIPE, text=True) as forks:
        try:
            assert forks.stdout is not None
            assert forks.stdout.readline() == "ready\n"
            made = Project(nano, home)
            _prepared(made)
            yield made
        finally:
            forks.kill()


def _prepared(project: Project) -> None:
    """What the commands find: published tables, two commits, a key of another, a table of reviews, a machine."""
    root = project.nano.root
    done = project.run(".venv/bin/snakemake --cores 2")
    assert done.returncode == 0, done.stderr
    shutil.rmtree(root / "results" / "nano")
    git(root, "init", "--quiet")
    for word in ("Configs", "Results"):
        git(root, "add", "configs", "src", "workflow", "Snakefile", *(["results"] if word == "Results" else []))
        git(root, "commit", "--quiet", "--message", word)
    (root / "configs" / "note.txt").write_text("x", encoding="utf-8")
    git(root, "add", "configs")
    git(root, "commit", "--quiet", "--message", "Note")
    assert project.run("redistill keygen key.pem").returncode == 0
    (root / "reviews.csv").write_text("text,review\na fine film,good\ndull and long,bad\n", encoding="utf-8")
    shutil.copyfile(root / "configs" / "machines" / "two-cores.yaml", root / "my-machine.yaml")


def in_place(project: Project, line: str) -> str:
    """A command of the docs with the names, keys and digests of this project."""
    for old, new in INSTEAD:
        line = line.replace(old, new)
    root = project.nano.root
    if re.search(r"\b[0-9a-f]{16}\b", line):
        runs = [row.split("\t") for row in (root / "results/embedded/runs.tsv").read_text().splitlines()]
        key = next(row[-1] for row in runs if row[1] == "nano/student-kd")
        line = re.sub(r"statements/[0-9a-f]{16}", f"statements/{key}", line)
        line = re.sub(r"\b[0-9a-f]{16}\b", key, line)
    if "--root" in line:
        digest = re.search(r"`([0-9a-f]{64})`", (root / "results/embedded/text.md").read_text())
        assert digest is not None
        line = re.sub(r"\b[0-9a-f]{64}\b", digest[1], line)
    if "sha256=" in line:
        published = json.loads((root / "results/embedded/manifests.json").read_text(encoding="utf-8"))
        source = next(thing for thing in published.values() if thing["kind"] == "data")
        line = re.sub(r"\b[0-9a-f]{64}\b", next(iter(source["files"].values()))["sha256"], line)
    if "ed25519:..." in line:
        public = project.run("redistill seal embedded --key key.pem").stdout
        line = line.replace("ed25519:...", re.findall(r"ed25519:\S+", public)[0])
    return line.replace("2c8a7da", git(root, "rev-parse", "--short", "HEAD"))


ONCE = list({command.line: command for command in HERE}.values())  # each where it comes first


@pytest.mark.parametrize("command", ONCE, ids=shown)
def test_every_other_command_runs_as_it_is_shown(project: Project, command: Command) -> None:
    """In the order of the pages, as some need what those before have made."""
    done = project.run(in_place(project, command.line))
    ends = next((codes for pattern, codes in MAY_END.items() if re.fullmatch(pattern, command.line)), (0,))
    assert done.returncode in ends, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_most_commands_are_run_here() -> None:
    assert len(ONCE) > 40
