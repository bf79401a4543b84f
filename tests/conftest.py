"""What the tests share: a copy of the project's configs to spoil, and a Python of its own to run things in."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import redistill
from redistill.config.check import check
from redistill.errors import ConfigError, Problem
from redistill.plan import Plan, make_plan

if TYPE_CHECKING:
    from nano_study import Nano
    from published_study import PublishedStudy

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as shells start what runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests' children heed it

REPOSITORY = Path(__file__).parents[1]
SOURCES = Path(redistill.__file__).parents[1]


@dataclass
class Project:
    """A project folder with nothing but configs."""

    root: Path

    def file(self, name: str) -> Path:
        return self.root / "configs" / name

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace the first `old` of a config file by `new`."""
        text = self.file(name).read_text(encoding="utf-8")
        assert old in text, f"{name} has changed: no {old!r} in it"
        self.file(name).write_text(text.replace(old, new, 1), encoding="utf-8")

    def experiments(self, **texts: str) -> None:
        """Write experiments by their names."""
        for name, text in texts.items():
            self.file(f"experiments/{name}.yaml").write_text(text, encoding="utf-8")

    def line(self, name: str, text: str) -> int:
        """Number of the first line that has `text`, from 1."""
        lines = self.file(name).read_text(encoding="utf-8").splitlines()
        return next(number for number, line in enumerate(lines, 1) if text in line)

    def plan(self, study: str = "embedded") -> Plan:
        return make_plan(self.root, study)

    def problems(self, study: str = "embedded") -> list[Problem]:
        try:
            check(self.root, study)
        except ConfigError as error:
            return error.problems
        return []


@pytest.fixture
def project(tmp_path: Path) -> Project:
    shutil.copytree(REPOSITORY / "configs", tmp_path / "project" / "configs")
    return Project(tmp_path / "project")


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python in a process of its own, with the package in `src` (the one under test, if none is given)."""

    def run(*arguments: str, cwd: Path = tmp_path, src: Path = SOURCES) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(src), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
        )

    return run


@pytest.fixture(scope="session")
def finished_nano(tmp_path_factory: pytest.TempPathFactory) -> "Nano":
    """The nano study, made once by Snakemake from nothing; not to be changed."""
    from nano_study import copy_project

    made = copy_project(tmp_path_factory.mktemp("finished") / "nano")
    done = made.snakemake("--cores", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.fixture(scope="session")
def published_project(tmp_path_factory: pytest.TempPathFactory) -> "PublishedStudy":
    """A published study in git; not to be changed."""
    from questioned import committed  # brings arrays and tables with it, which most tests do without

    return committed(tmp_path_factory.mktemp("study") / "project")


@pytest.fixture
def versioned_study(
    published_project: "PublishedStudy", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> "PublishedStudy":
    """A copy with this project's rules and DVC files, whose user has a home of their own; its sources are gone."""
    from published_study import STUDY, PublishedStudy
    from versioned import at_home, repository

    at_home(tmp_path, monkeypatch)
    root = tmp_path / "project"
    shutil.copytree(published_project.root, root, ignore=shutil.ignore_patterns("fetched"))
    for name in ("workflow", "profiles", "envs"):
        shutil.copytree(REPOSITORY / name, root / name)
    shutil.copyfile(REPOSITORY / "Snakefile", root / "Snakefile")
    return PublishedStudy(repository(root), make_plan(root, STUDY))


@pytest.fixture
def study(published_project: "PublishedStudy", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "PublishedStudy":
    """A copy of it, to be changed, in which one stands."""
    from published_study import copied

    study = copied(published_project, tmp_path / "project")
    monkeypatch.chdir(study.root)
    return study
