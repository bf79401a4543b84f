"""The command that measures how fast and how large models are on this machine."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from redistill.cli.application import DEFAULT_STUDY, StudyOption, TaskOption, TrustOption, app, plan_of, root_of_project
from redistill.cli.overview import LOOK
from redistill.errors import RedistillError

if TYPE_CHECKING:
    from redistill.deploy.latency import Measured
    from redistill.plan import Plan

PANEL = LOOK


@app.command(rich_help_panel=PANEL)
def latency(
    what: Annotated[list[str] | None, typer.Argument(help="A study, or rows or keys of runs of --study")] = None,
    study: StudyOption = DEFAULT_STUDY, task: TaskOption = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Examples of the large batch")] = 32,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Of each model")] = 1,
    seconds: Annotated[float, typer.Option("--seconds", min=0, help="Of each measurement")] = 1.0,
    trust_plugins: TrustOption = False,
) -> None:  # fmt: skip
    """Measure how fast models answer here, and how large they are: torch, and ONNX and int8 where exported."""
    from redistill.config.compose import known, name_of
    from redistill.deploy import latency as of

    root, wanted = root_of_project(), list(what or [])
    if len(wanted) == 1 and name_of("studies", wanted[0]) in known(root, "studies"):
        study, wanted = name_of("studies", wanted[0]), []
    plan = plan_of(study)
    runs, absent = _runs(plan, wanted, task)
    if not runs:
        raise RedistillError(f"none of these runs is there: `snakemake --cores all --config study={study}` makes them")
    for run in runs:
        found = of.measure(root, run, of.Asked(batch, threads, seconds))
        print(of.in_words(found), flush=True)
        print(f"  written: {of.write(root, found).relative_to(root)}")
    print(f"on {found['machine']}; threads of each model: {threads}")
    if absent:
        print(f"not made yet, so not measured: {', '.join(absent)}", file=sys.stderr)


def _runs(plan: "Plan", wanted: list[str], task: str | None) -> tuple[list["Measured"], list[str]]:
    """One run of each row and task, that has weights, for all its seeds; and the titles of those that are not there."""
    from redistill.deploy.latency import Measured

    rows: dict[str, list[str]] = {}
    for key, node in plan.nodes.items():
        if node.kind not in ("teacher", "student"):
            continue
        row, on, _ = [*node.title.split(" · "), "", ""][:3]
        if (task is None or on == task) and (not wanted or row in wanted or key in wanted):
            rows.setdefault(key if key in wanted else f"{row} · {on}", []).append(key)
    named = {part for key in rows for part in (key, key.split(" · ")[0])}
    if unknown := [name for name in wanted if name not in named]:
        raise RedistillError(
            f"the study `{plan.checked.name}` trains no `{unknown[0]}`; `redistill plan {plan.checked.name}` lists "
            "rows and keys"
        )
    found, absent = list[Measured](), list[str]()
    for keys in rows.values():
        there = [key for key in keys if plan.done(key) and _has_predictions(plan, key)]
        if there:
            found.append(Measured(there[0], plan.nodes[there[0]].title, tuple(keys)))
        elif not all(plan.done(key) for key in keys):
            absent.append(plan.nodes[keys[0]].title)
    return found, absent


def _has_predictions(plan: "Plan", key: str) -> bool:
    """Whether it reports a number: a run on a task without labels, such as a task-agnostic start, does not."""
    return (plan.nodes[key].folder(plan.root) / "predictions.parquet").is_file()
