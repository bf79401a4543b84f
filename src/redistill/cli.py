"""`redistill ...`: thin, one function a command. What is imported is imported when its command runs."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from redistill.errors import ConfigError, RedistillError
from redistill.plan import Node, Plan, make_plan

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Reproducible distillation studies. A study is configs/studies/NAME.yaml; `embedded` is the default.",
)

DEFAULT_STUDY = "embedded"
StudyArgument = Annotated[str, typer.Argument(help="Name of the study")]
StudyOption = Annotated[str, typer.Option("--study", "-s", help="Study that says tasks, seeds and runtime")]
TaskOption = Annotated[str | None, typer.Option("--task", "-t", help="Only this task")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Only this seed")]


def main() -> None:
    """Run the command line; a mistake that the user can mend is a sentence, never a traceback."""
    try:
        app()
    except ConfigError as error:
        print(f"{error}\nNothing was started.", file=sys.stderr)
        sys.exit(2)
    except RedistillError as error:
        print(f"redistill: {error}", file=sys.stderr)
        sys.exit(1)


def _root() -> Path:
    from redistill.config.compose import find_root

    return find_root()


def _plan(study: str) -> Plan:
    return make_plan(_root(), study)


def _make(study: str, what: str, wanted: Callable[[Node], bool]) -> None:
    """Make the nodes of a study that are wanted, and what they need, without Snakemake."""
    from redistill.jobs import make_all

    plan = _plan(study)
    nodes = [node for node in plan.nodes.values() if wanted(node)]
    if not nodes:
        raise RedistillError(f"the study `{study}` has no {what}; `redistill plan {study}` lists what it has")
    make_all(plan, [node.key for node in nodes])
    for node in nodes:
        print(f"{node.title}: {node.folder(Path())}")


def _matches(node: Node, *parts: str | None) -> bool:
    """Whether the node's title has each part that is given, at its place."""
    have = node.title.split(" · ")
    return all(part is None or (i < len(have) and have[i] == part) for i, part in enumerate(parts))


@app.command()
def check(study: StudyArgument = DEFAULT_STUDY) -> None:
    """Read a study and everything that it names; every mistake at once."""
    plan = _plan(study)
    print(f"{study}: {len(plan.checked.study.tables)} tables, {len(plan.runs)} runs; nothing wrong was found")


@app.command()
def plan(study: StudyArgument = DEFAULT_STUDY) -> None:
    """List what a study needs: key, whether it is there, and which part of the key changed since it was last made."""
    from redistill.changes import what_changed

    laid_out = _plan(study)
    missing = {node.key for node in laid_out.missing()}
    reasons = what_changed(laid_out, missing)
    for node in laid_out.nodes.values():
        state = "there" if laid_out.done(node.key) else "to make" if node.key in missing else "not needed"
        reason = f"  [{reasons[node.key]}]" if node.key in reasons else ""
        print(f"{node.key}  {state:10}  {node.kind:8}  {node.title}{reason}")
    print(f"{len(laid_out.nodes)} things, {len(missing)} to make")


@app.command()
def fetch(source: Annotated[str | None, typer.Argument(help="Only this source")] = None,
          study: StudyOption = DEFAULT_STUDY) -> None:  # fmt: skip
    """Fetch data sets and pretrained models, and verify them."""
    _make(study, f"source `{source}`", lambda n: n.kind in ("data", "model") and _matches(n, source))


@app.command()
def prepare(task: Annotated[str | None, typer.Argument(help="Only this task")] = None,
            study: StudyOption = DEFAULT_STUDY) -> None:  # fmt: skip
    """Split tasks' data and tokenise texts."""
    _make(study, f"task `{task}`", lambda n: n.kind in ("dataset", "tokens") and _matches(n, task))


@app.command()
def run(experiment: Annotated[str, typer.Argument(help="Name of the experiment")], task: TaskOption = None,
        seed: SeedOption = None, study: StudyOption = DEFAULT_STUDY) -> None:  # fmt: skip
    """Train an experiment's runs, and whatever they start from and learn from."""
    kinds, when = ("teacher", "student", "baseline"), f"seed {seed}" if seed is not None else None
    _make(study, f"run of `{experiment}` like that", lambda n: n.kind in kinds and _matches(n, experiment, task, when))


@app.command()
def teacher_outputs(experiment: Annotated[str, typer.Argument(help="The teacher's experiment")],
                    task: TaskOption = None, study: StudyOption = DEFAULT_STUDY) -> None:  # fmt: skip
    """Store what teachers say about the splits that their students learn from."""
    _make(study, f"teacher `{experiment}`", lambda n: n.kind == "outputs" and _matches(n, experiment, task))


@app.command()
def evaluate(experiment: Annotated[str, typer.Argument(help="Name of the experiment")], task: TaskOption = None,
             study: StudyOption = DEFAULT_STUDY) -> None:  # fmt: skip
    """Compute metrics from stored predictions."""
    _make(study, f"cell of `{experiment}`", lambda n: n.kind == "cell" and _matches(n, experiment, task))


@app.command()
def table(name: Annotated[str, typer.Argument(help="Name of the table")], study: StudyOption = DEFAULT_STUDY) -> None:
    """Make a table, with all that it needs."""
    _make(study, f"table `{name}`", lambda n: n.kind == "table" and _matches(n, name))


@app.command()
def make(key: Annotated[str, typer.Argument(help="Key of something that was planned")]) -> None:
    """Make one planned thing from inputs that are there; what Snakemake's jobs call. Dies with its parent."""
    from redistill.jobs import make as make_one

    _die_with_parent()
    make_one(_root(), key)


@app.command()
def publish(study: StudyArgument = DEFAULT_STUDY) -> None:
    """Copy a finished study's tables, metrics and manifests to results/STUDY/, where they differ."""
    from redistill.jobs import publish as publish_study

    changed = publish_study(_plan(study))
    for file in changed:
        print(f"written: {file.relative_to(_root())}")
    if not changed:
        print(f"results/{study}: as it was")


@app.command()
def audit(
    study: StudyArgument = DEFAULT_STUDY,
    table: Annotated[str | None, typer.Option("--table", "-T", help="Only this table")] = None,
    row: Annotated[str | None, typer.Option("--row", "-r", help="Only this experiment's row")] = None,
    column: Annotated[str | None, typer.Option("--column", "-c", help="Only this task's column")] = None,
) -> None:
    """Verify that everything behind a study, a table or a cell is there, unchanged, and what configs and code give."""
    from redistill.audit import audit as audit_plan

    report = audit_plan(_plan(study), table, row, column)
    print("\n".join(report.chain))
    for problem in report.problems:
        print(f"WRONG: {problem}", file=sys.stderr)
    print(f"{report.things} things, {report.files} files checked; {len(report.problems)} problems")
    if report.problems:
        sys.exit(1)


@app.command()
def push() -> None:
    """Version the store with DVC and copy what is new to the remote. Commit store/*.dvc afterwards."""
    from redistill.provenance.versions import push as push_store

    push_store(_root())


@app.command()
def pull() -> None:
    """Bring what git's store/*.dvc name from the remote; nothing that is in the store is removed or overwritten."""
    from redistill.provenance.versions import pull as pull_store

    brought = pull_store(_root())
    print(f"{brought} things pulled and verified")


def _die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies, so that a killed Snakemake leaves no job behind."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent or parent == 1:
        sys.exit("redistill: the process that started this job is gone")
