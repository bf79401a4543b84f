"""Commands that look: at studies and experiments, at what they need and cost, and at methods."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from redistill.cli.application import (
    DEFAULT_STUDY,
    ExperimentArgument,
    JsonOption,
    SetOption,
    StudyArgument,
    StudyOption,
    TaskOption,
    TrustOption,
    app,
    check_models_of,
    plan_of,
    plan_of_experiment,
    print_json,
    root_of_project,
)
from redistill.cli.completing import run_or_experiment, study_or_experiment
from redistill.cli.overview import LOOK, STUDY
from redistill.errors import RedistillError
from redistill.exits import Exit
from redistill.plan import Node, Plan

PANEL = STUDY


@app.command(rich_help_panel=PANEL)
def check(
    name: Annotated[str, typer.Argument(help="Name of a study, or of an experiment",
                                        autocompletion=study_or_experiment)] = DEFAULT_STUDY,
    study: StudyOption = DEFAULT_STUDY, task: TaskOption = None, changes: SetOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Read a study or an experiment and everything that it names; every mistake at once, models and taps among them."""
    from redistill.config.compose import known, name_of

    as_study = name_of("studies", name)
    if as_study not in known(root_of_project(), "studies") and name_of("experiments", name) in known(
        root_of_project(), "experiments"
    ):
        plan = plan_of_experiment(name, study, task, [0], changes)
    else:
        plan = plan_of(as_study)
    check_models_of(plan)
    tables = len(plan.checked.study.tables)
    if as_json:
        return print_json({"name": name, "tables": list(plan.checked.study.tables), "runs": len(plan.runs)})
    print(f"{name}: {tables} {'table' if tables == 1 else 'tables'}, {len(plan.runs)} runs; nothing wrong was found")


@app.command(rich_help_panel=PANEL)
def show(experiment: ExperimentArgument, task: TaskOption = None,
         changes: SetOption = None, study: StudyOption = DEFAULT_STUDY) -> None:  # fmt: skip
    """Print an experiment with every value written out, and the file and line that each came from."""
    from redistill.config.compose import name_of
    from redistill.config.show import show as shown

    plan, name = plan_of_experiment(experiment, study, task, [0], changes), name_of("experiments", experiment)
    for (recipe, on), found in plan.checked.recipes.items():
        if recipe.partition("@")[0] == name:
            print(f"# {recipe} on {on}")
            print(shown(found), end="")


@app.command(rich_help_panel=PANEL)
def plan(study: StudyArgument = DEFAULT_STUDY,
         seal: Annotated[bool, typer.Option("--seal", help="Sign the plan, before its first run")] = False,
         key: Annotated[Path | None, typer.Option("--key", help="File of your private key, for --seal")] = None,
         deviations: Annotated[bool, typer.Option("--deviations", help="List what is not as it was sealed; exit 1 if "
                               "anything is")] = False,
         machine: Annotated[str | None, typer.Option("--profile", help="Simulate it on a machine of configs/machines, "
                            "or of a file")] = None,
         anew: Annotated[bool, typer.Option("--anew", help="With --profile: as if nothing had been made")] = False,
         as_json: JsonOption = False,
         picture: Annotated[Path | None, typer.Option("--output", "-o", help="With --profile: SVG file for who runs "
                            "when")] = None) -> None:  # fmt: skip
    """List what a study needs: key, whether it is there, what of its key changed, and what making it will cost."""
    from redistill.changes import what_changed
    from redistill.cli.claims import seal_plan, show_deviations
    from redistill.cli.forecasting import refuse_without_profile, show_forecast
    from redistill.estimate import estimate, together

    if machine is not None:
        return show_forecast(root_of_project(), study, machine, anew, as_json, picture)
    refuse_without_profile(anew=anew, output=picture)
    laid_out = plan_of(study)
    if seal or deviations:
        return seal_plan(laid_out, key) if seal else show_deviations(laid_out)
    to_make = laid_out.missing()
    missing = {node.key for node in to_make}
    reasons = what_changed(laid_out, missing)
    if as_json:
        return print_json([
            {"key": node.key, "kind": node.kind, "title": node.title, "state": _state(laid_out, node, missing),
             "inputs": node.inputs, "changed": reasons.get(node.key)} for node in laid_out.nodes.values()
        ])  # fmt: skip
    for node in laid_out.nodes.values():
        state = _state(laid_out, node, missing)
        reason = f"  [{reasons[node.key]}]" if node.key in reasons else ""
        print(f"{node.key}  {state:10}  {node.kind:8}  {node.title}{reason}")
    print(f"{len(laid_out.nodes)} things, {len(missing)} to make")
    if to_make:
        print(estimate(laid_out, to_make))
        takes = together(laid_out.checked.study.runtime)
        if takes is not None and any(node.kind in ("teacher", "student", "outputs") for node in to_make):
            print(takes)


def _state(plan: Plan, node: Node, missing: set[str]) -> str:
    return "there" if plan.done(node.key) else "to make" if node.key in missing else "not needed"


@app.command(rich_help_panel=LOOK)
def status(study: StudyArgument = DEFAULT_STUDY,
           watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again until nobody is at work")] = False,
           as_json: JsonOption = False) -> None:  # fmt: skip
    """Say how far a study is: made, in the making, waiting, failed and why, time left. Exit 1 if anything failed."""
    from redistill import status as of

    plan = plan_of(study)
    if as_json:
        found = of.status(plan)
        print_json(of.as_json(found))
    else:
        found = of.show(plan, watch)
    if any(job.outcome == "failed" for job in found.failed):
        raise typer.Exit(Exit.WRONG)


@app.command(rich_help_panel=LOOK)
def times(study: StudyArgument = DEFAULT_STUDY,
          picture: Annotated[Path | None, typer.Option("--output", "-o", help="SVG file to draw them in")] = None,
          as_json: JsonOption = False) -> None:  # fmt: skip
    """Print where the time of what a study has made went, from its records; and draw it, one bar a thing."""
    from redistill.performance import gantt
    from redistill.performance import times as of

    plan = plan_of(study)
    of.show(plan, as_json)
    if picture is not None:
        gantt.write(plan, picture)


@app.command(rich_help_panel=LOOK)
def tune(study: StudyArgument = DEFAULT_STUDY,
         seconds: Annotated[float, typer.Option("--seconds", min=0, help="Of each measurement, start excluded")] = 2.0,
         minutes: Annotated[float, typer.Option("--minutes", min=0, help="After which nothing more is begun")] = 2.0,
         as_json: JsonOption = False,
         trust_plugins: TrustOption = False) -> None:  # fmt: skip
    """Measure steps with other threads, devices and precision on this machine; propose an edit, change nothing."""
    from redistill.performance.tune import show as show_tuned

    show_tuned(plan_of(study), seconds, minutes, as_json)


@app.command(rich_help_panel=LOOK)
def profile(run: Annotated[str, typer.Argument(help="Experiment, or the key of a run that was planned or made",
                                               autocompletion=run_or_experiment)],
            task: TaskOption = None, seed: Annotated[int, typer.Option("--seed", help="Seed")] = 0,
            steps: Annotated[int, typer.Option("--steps", min=1, help="Steps of each stage that are timed")] = 30,
            changes: SetOption = None, study: StudyOption = DEFAULT_STUDY,
            as_json: JsonOption = False,
            to_trace: Annotated[Path | None, typer.Option("--trace", help="File for Chrome's trace viewer")] = None,
            trust_plugins: TrustOption = False) -> None:  # fmt: skip
    """Train some steps of a run beside the store and print where its time goes: start, every part of a step, end."""
    from redistill.performance import profile as of

    if of.is_key(run):
        node, inputs = of.by_key(root_of_project(), run)
    else:
        node, inputs = _with_inputs(plan_of_experiment(run, study, task, [seed], changes))
    with redirect_stdout(sys.stderr):  # what a run says of itself is not the answer
        found = of.profile(node, inputs, steps, to_trace)
    of.show(found, as_json)


def _with_inputs(plan: Plan) -> tuple[Node, dict[str, Path]]:
    """The first run of a plan, and the folders of its inputs, which are made where they are missing."""
    from redistill.jobs import make_all
    from redistill.performance.profile import refuse_without_steps

    node = plan.nodes[plan.runs[0].key]
    refuse_without_steps(node)
    make_all(plan, list(node.inputs.values()))
    return node, {role: plan.nodes[key].folder(plan.root) for role, key in node.inputs.items()}


@app.command(rich_help_panel=LOOK)
def trace(experiment: ExperimentArgument,
          output: Annotated[Path, typer.Option("--output", "-o", help="File to write")],
          task: TaskOption = None, seed: Annotated[int, typer.Option("--seed", help="Seed")] = 0,
          step: Annotated[int | None, typer.Option("--step", help="Look into every operation of this step")] = None,
          stage: Annotated[int, typer.Option("--stage", help="Stage of that step")] = 0,
          against: Annotated[Path | None, typer.Option("--against", help="Another machine's trace")] = None,
          study: StudyOption = DEFAULT_STUDY, trust_plugins: TrustOption = False) -> None:  # fmt: skip
    """Train once more beside the store and write the digest of every step; compare with another machine's."""
    from redistill.jobs import make_all, traced

    plan = plan_of_experiment(experiment, study, task, [seed], None)
    node = plan.nodes[plan.runs[0].key]
    if node.kind == "baseline":
        raise RedistillError(f"`{experiment}` is a baseline: it has no steps")
    if not node.config["stages"]:
        raise RedistillError(f"`{experiment}` has no stages, so it has no steps")
    make_all(plan, list(node.inputs.values()))
    traced(plan, node, output, stage, step)
    if against is not None:
        from redistill.training.trace import compare

        print(compare(output, against))


@app.command(rich_help_panel=PANEL)
def methods(
    name: Annotated[str | None, typer.Argument(help="All about this one: formula, source, needs, use")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the methods of distillation, or say all about one."""
    from redistill import catalogue

    if as_json:
        chosen = catalogue.methods() if name is None else [catalogue.method(name)]
        return print_json([catalogue.as_json(one) for one in chosen])
    if name is not None:
        print(catalogue.in_text(catalogue.method(name)))
        return
    family = ""
    for found in catalogue.methods():
        if found.family != family:
            family = found.family
            print(f"{family}:")
        print(f"  {found.name:<22} {found.title}")


@app.command(rich_help_panel=PANEL)
def import_torchdistill(
    files: Annotated[list[Path], typer.Argument(help="YAML files of torchdistill 1.x")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to")],
) -> None:
    """Convert torchdistill's configurations; nothing that they name is imported, and nothing is left out silently."""
    from redistill.importer import import_files

    for report in import_files(files, output):
        print(f"{report.source}: {', '.join(map(str, report.written))}")
        for left in report.left_out:
            print(f"  left out, line {left.line}: {left.key}: {left.reason}")
        for words, said in (("beware", report.warnings), ("still to do", report.to_do)):
            print("".join(f"  {words}: {line}\n" for line in said), end="")
        if report.without_influence:
            print(f"  without influence on numbers: {', '.join(report.without_influence)}")
