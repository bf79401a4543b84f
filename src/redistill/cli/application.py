"""What the commands share: the application, their options, and the plans that they ask for."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from redistill import __version__, progress
from redistill.cli.completing import experiments, run_or_experiment, studies, tasks
from redistill.cli.overview import Commands
from redistill.errors import RedistillError
from redistill.plan import Node, Plan, lay_out, make_plan
from redistill.registry import TRUST

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Reproducible distillation studies; the default one is `embedded`.\n"
    "`snakemake --cores all --config study=NAME` makes configs/studies/NAME.yaml.",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"redistill {__version__}")
        raise typer.Exit


@app.callback()
def _of_all(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress: only answers, and what is wrong")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it")] = False,
) -> None:
    """What holds for all commands."""
    if quiet:
        os.environ[progress.QUIET] = "1"  # for the jobs too, which are processes of their own


DEFAULT_STUDY = "embedded"


def _study_name(written: str) -> str:
    from redistill.config.compose import name_of

    return name_of("studies", written)


StudyArgument = Annotated[
    str, typer.Argument(help="Name of the study, or its file", callback=_study_name, autocompletion=studies)
]
StudyOption = Annotated[
    str,
    typer.Option("--study", "-s", help="Study that says tasks, seeds and runtime", callback=_study_name,
                 autocompletion=studies),
]  # fmt: skip
ExperimentArgument = Annotated[str, typer.Argument(help="Name of the experiment", autocompletion=experiments)]
RunArgument = Annotated[
    str, typer.Argument(help="Key of a finished run, or an experiment", autocompletion=run_or_experiment)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the answer as JSON, for programs")]
TaskOption = Annotated[str | None, typer.Option("--task", "-t", help="Only this task", autocompletion=tasks)]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Only this seed")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="PATH=VALUE, such as stages.0.epochs=5; repeatable")]


def _trust(given: bool) -> bool:
    if given:
        os.environ[TRUST] = "1"  # for the jobs, which are processes of their own
    return given


TrustOption = Annotated[
    bool, typer.Option("--trust-plugins", callback=_trust, help="Import components from outside the package")
]


def print_json(value: Any) -> None:
    """The answer of a command for programs."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def root_of_project() -> Path:
    from redistill.config.compose import find_root
    from redistill.provenance import shared

    root = find_root()
    shared.take(root)
    return root


def plan_of(study: str) -> Plan:
    return make_plan(root_of_project(), study)


def plan_of_experiment(written: str, study: str, task: str | None, seeds: list[int], changes: list[str] | None) -> Plan:
    """The plan of one experiment: on a task, or on all tasks that the study, or the experiment itself, has it on."""
    from redistill.config import compose
    from redistill.config.check import check_experiment, tasks_of

    root, name = root_of_project(), compose.name_of("experiments", written)
    tasks = [task] if task is not None else tasks_of(root, name, study)
    return lay_out(root, check_experiment(root, name, tasks, seeds, study, compose.assignments(changes or [])))


def check_models_of(plan: Plan) -> None:
    """Check the models of a plan once; what was found right is noted under the study's digest."""
    from redistill.jobs import models_checked, note_models_checked

    if models_checked(plan):
        return
    from redistill.training.check import check_models

    for unknown in check_models(plan):
        print(f"not checked before it runs: {unknown}", file=sys.stderr)
    note_models_checked(plan)


def make_wanted(plan: Plan, what: str, wanted: Callable[[Node], bool], show: bool = True) -> list[Node]:
    """Make the nodes of a plan that are wanted, and what they need, without Snakemake; say where they lie."""
    from redistill.jobs import make_all

    nodes = [node for node in plan.nodes.values() if wanted(node)]
    if not nodes:
        name = plan.checked.name
        raise RedistillError(f"the study `{name}` has no {what}; `redistill plan {name}` lists what it has")
    check_models_of(plan)
    make_all(plan, [node.key for node in nodes])
    if show:
        for node in nodes:
            print(f"{node.title}: {node.folder(Path())}")
    return nodes


def matches(node: Node, *parts: str | None) -> bool:
    """Whether the node's title has each part that is given, at its place."""
    have = node.title.split(" · ")
    return all(part is None or (i < len(have) and have[i] == part) for i, part in enumerate(parts))
