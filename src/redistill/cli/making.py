"""Commands that make what a study needs, without Snakemake."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from redistill import interruption
from redistill.cli.application import (
    DEFAULT_STUDY,
    ExperimentArgument,
    JsonOption,
    SeedOption,
    SetOption,
    StudyArgument,
    StudyOption,
    TaskOption,
    TrustOption,
    app,
    make_wanted,
    matches,
    plan_of,
    plan_of_experiment,
    print_json,
    root_of_project,
)
from redistill.cli.overview import RUN
from redistill.errors import RedistillError
from redistill.plan import Node, Plan

PANEL = RUN


@app.command(rich_help_panel=PANEL)
def fetch(source: Annotated[str | None, typer.Argument(help="Only this source")] = None,
          study: StudyOption = DEFAULT_STUDY) -> None:  # fmt: skip
    """Fetch data sets and pretrained models, and verify them."""
    make_wanted(plan_of(study), f"source `{source}`", lambda n: n.kind in ("data", "model") and matches(n, source))


@app.command(rich_help_panel=PANEL)
def prepare(task: Annotated[str | None, typer.Argument(help="Only this task")] = None,
            study: StudyOption = DEFAULT_STUDY) -> None:  # fmt: skip
    """Split tasks' data and tokenise texts."""
    make_wanted(plan_of(study), f"task `{task}`", lambda n: n.kind in ("dataset", "tokens") and matches(n, task))


@app.command(rich_help_panel=PANEL)
def run(experiment: ExperimentArgument,
        task: TaskOption = None, seed: SeedOption = None, changes: SetOption = None,
        study: StudyOption = DEFAULT_STUDY, as_json: JsonOption = False,
        trust_plugins: TrustOption = False) -> None:  # fmt: skip
    """Train an experiment, with values changed if wanted, and whatever it starts from and learns from; print scores."""
    from redistill.config.check import seeds_of
    from redistill.config.compose import name_of

    seeds = [seed] if seed is not None else seeds_of(root_of_project(), name_of("experiments", experiment), study)
    plan = plan_of_experiment(experiment, study, task, seeds, changes)
    runs = {line.key for line in plan.runs}
    made = make_wanted(plan, f"run of `{experiment}` like that", lambda node: node.key in runs or node.kind == "cell",
                       show=not as_json)  # fmt: skip
    cells = [node for node in made if node.kind == "cell"]
    if as_json:
        things = [
            {"key": node.key, "kind": node.kind, "title": node.title, "folder": str(node.folder(Path()))}
            for node in made
        ]
        return print_json({"things": things, "scores": {node.title: _metrics(plan, node) for node in cells}})
    for node in cells:
        print(_scores(plan, node))


def _metrics(plan: Plan, cell: Node) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((cell.folder(plan.root) / "metrics.json").read_text(encoding="utf-8"))
    return found


def _scores(plan: Plan, cell: Node) -> str:
    metrics = _metrics(plan, cell)
    values = ", ".join(f"{100 * score['value']:.1f} ({role})" for role, score in metrics["dev"].items())
    return f"{cell.title}: {metrics['metric']} on dev, times 100: {values}"


@app.command(rich_help_panel=PANEL)
def teacher_outputs(experiment: ExperimentArgument,
                    task: TaskOption = None, study: StudyOption = DEFAULT_STUDY,
                    trust_plugins: TrustOption = False) -> None:  # fmt: skip
    """Store what teachers say about the splits that their students learn from."""
    make_wanted(
        plan_of(study), f"teacher `{experiment}`", lambda n: n.kind == "outputs" and matches(n, experiment, task)
    )


@app.command(rich_help_panel=PANEL)
def evaluate(experiment: ExperimentArgument, task: TaskOption = None,
             study: StudyOption = DEFAULT_STUDY, trust_plugins: TrustOption = False) -> None:  # fmt: skip
    """Compute metrics from stored predictions."""
    make_wanted(plan_of(study), f"cell of `{experiment}`", lambda n: n.kind == "cell" and matches(n, experiment, task))


@app.command(rich_help_panel=PANEL)
def table(name: Annotated[str, typer.Argument(help="Name of the table")], study: StudyOption = DEFAULT_STUDY,
          trust_plugins: TrustOption = False) -> None:  # fmt: skip
    """Make a table, with all that it needs."""
    make_wanted(plan_of(study), f"table `{name}`", lambda n: n.kind in ("table", "scores") and matches(n, name))


@app.command(rich_help_panel=PANEL)
def make(key: Annotated[str, typer.Argument(help="Key of something that was planned")],
         trust_plugins: TrustOption = False) -> None:  # fmt: skip
    """Make one planned thing from inputs that are there; what Snakemake's jobs do. Dies with its parent."""
    from redistill.jobs import make as make_one

    interruption.die_with_parent()
    interruption.listen()
    make_one(root_of_project(), key)


@app.command(rich_help_panel=PANEL)
def publish(study: StudyArgument = DEFAULT_STUDY) -> None:
    """Copy a finished study's tables, metrics and manifests to results/STUDY/, where they differ."""
    from redistill.jobs import publish as publish_study

    changed = publish_study(plan_of(study))
    for file in changed:
        print(f"written: {file.relative_to(root_of_project())}")
    if not changed:
        print(f"results/{study}: as it was")


@app.command(rich_help_panel=PANEL)
def submit(
    study: StudyArgument = DEFAULT_STUDY,
    name: Annotated[str | None, typer.Argument(help="Only this submission")] = None,
    record: Annotated[Path | None, typer.Option("--record", help="JSON of what the server said of it")] = None,
) -> None:
    """Make a study's submissions to GLUE's server, or record the scores that it gave one."""
    plan = plan_of(study)
    nodes = _submissions(plan, name)
    if record is None:
        make_wanted(plan, f"submission `{name}`", lambda node: node in nodes.values())
        for key, node in nodes.items():
            print(f"{key}: {node.folder(plan.root).relative_to(plan.root) / 'submission.zip'}")
        return
    if name is None and len(nodes) > 1:
        raise RedistillError(f"say of which submission these are the scores: {', '.join(nodes)}")
    from redistill.config.check import recorded_scores
    from redistill.evaluation.submit import record as record_scores

    ((which, node),) = nodes.items()
    file = recorded_scores(plan.root, plan.checked.name, which)
    record_scores(file, record, node.key)
    print(f"written: {file.relative_to(plan.root)}; `redistill table submissions` shows it. Commit the file")


def _submissions(plan: Plan, name: str | None) -> dict[str, Node]:
    """The study's submissions by name."""
    found = {n.title.removeprefix("submission "): n for n in plan.nodes.values() if n.kind == "submission"}
    if not found:
        raise RedistillError(
            f"the study `{plan.checked.name}` has no `submissions`: say there which rows are submitted"
        )
    if name is not None and name not in found:
        raise RedistillError(f"the study has no submission `{name}`; there are {', '.join(found)}")
    return {n: node for n, node in found.items() if name in (None, n)}


@app.command(rich_help_panel=PANEL)
def pin(source: Annotated[list[str] | None, typer.Argument(help="Only these sources")] = None) -> None:
    """Ask the hub for the newest commit of sources that are `unpinned`, and write it into configs/sources.yaml."""
    from redistill.data.pin import pin as pin_sources

    found = pin_sources(root_of_project(), source or [])
    for name, commit in found.items():
        print(f"{name}: {commit}")
    print(f"{len(found)} sources pinned")
