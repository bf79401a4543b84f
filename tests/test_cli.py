"""The command line: its help, exit codes, completion, quiet and JSON modes, colours, and what is said of progress."""

import ast
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from nano_study import ROOT
from published_study import STUDY, PublishedStudy
from typer.testing import CliRunner

from redistill import progress
from redistill.cli import app
from redistill.cli.overview import GROUPS, LINES, grouped
from redistill.errors import RedistillError
from redistill.exits import Exit
from redistill.standing import standing, values_in_words

GROUP = typer.main.get_command(app)
COMMAND = [sys.executable, "-m", "redistill"]


def told(*arguments: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **variables}
    return subprocess.run([*COMMAND, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


# --- help ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("columns", "lines"), [(80, 34), (100, 30)])
def test_help_fits_a_screen_and_names_every_command_once_by_what_one_wants_to_do(columns: int, lines: int) -> None:
    text = told("--help", COLUMNS=str(columns)).stdout
    assert len(text.splitlines()) <= lines
    assert max(map(len, text.splitlines())) <= columns
    starts = [line.split()[0] for line in text.splitlines() if line[1:2].isalpha()]
    assert starts[-len(GROUPS) - 1 :] == [*GROUPS, "Options"]
    words = re.findall(r"[\w-]+", text)
    assert set(GROUP.commands) <= set(words)  # type: ignore[attr-defined]


def test_every_command_is_in_a_group_and_what_has_a_line_is_a_command() -> None:
    found = grouped(GROUP)  # type: ignore[arg-type]
    assert set(found) == set(GROUPS)
    assert sum(map(len, found.values())) == len(GROUP.commands)  # type: ignore[attr-defined]
    assert set(LINES) - set(GROUP.commands) <= {"report"}  # type: ignore[attr-defined]
    for command in GROUP.commands.values():  # type: ignore[attr-defined]
        assert command.help


# --- exit codes ------------------------------------------------------------------------------------------------------


def test_the_table_of_exit_codes_is_that_of_the_code() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    table = {int(code): meaning for code, meaning in re.findall(r"^\| (\d+) \| (.+) \|$", page, re.MULTILINE)}
    assert table == {int(code): code.meaning for code in Exit}


def test_no_command_ends_with_a_number_of_its_own() -> None:
    for file in (ROOT / "src" / "redistill" / "cli").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("sys.exit", "typer.Exit"):
                assert not any(isinstance(arg, ast.Constant) for arg in node.args), f"{file.name}:{node.lineno}"


def test_a_mistake_in_the_command_line_or_a_configuration_is_2_and_a_failure_1(tmp_path: Path) -> None:
    assert told("plan", "--no-such-option").returncode == Exit.REFUSED
    assert told("planing").returncode == Exit.REFUSED
    assert told("check", "no-such-study").returncode == Exit.REFUSED
    outside = told("plan", cwd=tmp_path)
    assert outside.returncode == Exit.WRONG
    assert "is not inside a redistill project" in outside.stderr


# --- completion ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("redistill pl", ["plan"]),
        ("redistill plan emb", ["embedded"]),
        ("redistill status --study", []),
        ("redistill run text/student-k", ["text/student-kd", "text/student-kd-transfer"]),
        ("redistill run text/student-kd --task mov", ["movie"]),
        ("redistill predict image/student-k", ["image/student-kd"]),
        ("redistill fetch --study glue-s", ["glue-small"]),
        ("redistill check text/tf", ["text/tfidf"]),
    ],
)
def test_names_are_completed(typed: str, offered: list[str]) -> None:
    words = typed.split(" ")
    asked = {"COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1), "_REDISTILL_COMPLETE": "complete_bash"}
    code = "import sys; sys.argv[:] = ['redistill']; from redistill.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **asked}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True,
                          timeout=60)  # fmt: skip
    assert [one for one in done.stdout.split() if not one.startswith("-")] == offered, done.stderr


def test_completion_is_installed_for_the_shell_that_asks(tmp_path: Path) -> None:
    """In a home of its own; the shell is recognised by the processes that asked."""
    program = tmp_path / "redistill"
    program.write_text(f"#!{sys.executable}\nfrom redistill.cli import main\nmain()\n", encoding="utf-8")
    program.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "HOME": str(tmp_path), "SHELL": "/bin/bash"}
    for option in ("--show-completion", "--install-completion"):
        done = subprocess.run(["bash", "-c", f"{program} {option}; true"], env=environment, capture_output=True,
                              text=True, timeout=60)  # fmt: skip
        assert done.stderr == ""
        assert "_REDISTILL_COMPLETE" in done.stdout or "bash completion installed" in done.stdout
    assert "redistill" in (tmp_path / ".bashrc").read_text(encoding="utf-8")


def test_keys_of_runs_are_completed_and_outside_of_a_project_nothing_is(
    study: PublishedStudy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from redistill.cli import completing

    key = study.node("student", "plain").key
    assert key in completing.run_or_experiment(key[:3])
    assert completing.run_or_experiment("pla") == ["plain"]
    monkeypatch.chdir(tmp_path.parent)
    assert completing.studies("") == []


# --- for programs, and quietly ---------------------------------------------------------------------------------------

ANSWERS = (("check", STUDY), ("plan", STUDY), ("status", STUDY), ("methods",), ("methods", "kd"), ("audit", STUDY),
           ("why", "taught/marks", "--study", STUDY), ("used-by", "kd"), ("diff", "HEAD", "--study", STUDY),
           ("stale", STUDY), ("verdict", STUDY), ("reproductions", STUDY), ("licences", STUDY))  # fmt: skip


@pytest.mark.parametrize("asked", ANSWERS, ids=lambda asked: " ".join(asked))
def test_json_is_the_whole_of_standard_output(study: PublishedStudy, asked: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*asked, "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit | RedistillError), done.exception
    assert json.loads(done.stdout) is not None


def test_quiet_may_stand_anywhere_and_leaves_the_answer(study: PublishedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = study.node("baseline", "floor · marks").folder(study.root)
    for arguments in (["-q", "run", "floor"], ["run", "floor", "--quiet"]):
        monkeypatch.delenv(progress.QUIET, raising=False)
        done = told(*arguments, "--study", STUDY, "--task", "marks", cwd=study.root)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert f"store/runs/{plain.name}" in done.stdout


def test_progress_says_rate_time_left_and_what_is_beside_and_nothing_if_quiet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    progress.beside(lambda: "loss 0.5")
    try:
        assert list(progress.track([1, 2], 2, "stage 0")) == [1, 2]
        assert re.search(r"stage 0: 2 of 2, [\d.]+/s, 0 s left, loss 0\.5", capsys.readouterr().err)
        monkeypatch.setenv(progress.QUIET, "1")
        assert list(progress.track([1, 2], 2, "stage 0")) == [1, 2]
        assert capsys.readouterr().err == ""
    finally:
        progress.beside(None)


def test_where_a_run_stands_counts_stages_and_resumes_and_says_the_last_score(tmp_path: Path) -> None:
    lines = [{"stage": 0, "step": 9, "loss": 2.0}, {"stage": 1, "step": 10, "loss": 0.75},
             {"stage": 1, "step": 10, "select": 0.9}, {"stage": 1, "step": 20, "loss": 0.5}]  # fmt: skip
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"stage": 1, "st')
    (tmp_path / "resumes.jsonl").write_text('{"stage": 1, "step": 11}\n')
    found = standing({"stages": [{"steps": 10}, {"steps": 41}]}, tmp_path, seconds=5.0)
    assert found is not None
    assert (found.stage, found.stages, found.step, found.steps) == (2, 2, 21, 41)
    assert (found.rate, found.seconds_left) == (2.0, 10.0), "ten steps in five seconds, twenty are left"
    assert str(found) == "stage 2 of 2, step 21 of 41, 2 steps/s, about 10 s left, loss 0.5, select 0.9"
    assert values_in_words(tmp_path) == "loss 0.5, select 0.9"
    epochs = standing({"stages": [{"epochs": 1}, {"epochs": 3}]}, tmp_path, seconds=5.0)
    assert epochs is not None
    assert (epochs.rate, epochs.seconds_left) == (None, None), "what is counted in epochs has no known end"
    assert standing({"stages": [{"steps": 1}]}, tmp_path / "nothing") is None


# --- colours ---------------------------------------------------------------------------------------------------------


def at_a_terminal(*arguments: str, **variables: str) -> str:
    """What a command says at a terminal of 100 columns."""
    master, slave = pty.openpty()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "TERM": "xterm-256color",
        "COLUMNS": "100",
        **variables,
    }
    with subprocess.Popen([*COMMAND, *arguments], cwd=ROOT, env=environment, stdin=slave, stdout=slave, stderr=slave):
        os.close(slave)
        said = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            said += part
    os.close(master)
    return said.decode(errors="replace")


def test_colours_are_for_terminals_alone_and_for_none_that_does_not_want_them() -> None:
    colour = re.compile(r"\x1b\[[\d;]*3\d[\d;]*m")
    wanted = {name: "" for name in ("NO_COLOR", "FORCE_COLOR") if name in os.environ}
    assert colour.search(at_a_terminal("--help", **wanted))
    assert not colour.search(at_a_terminal("--help", NO_COLOR="1"))
    assert "\x1b" not in told("--help").stdout
    assert "\x1b" not in told("planing").stderr
