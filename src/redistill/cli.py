"""`redistill ...`: thin, one function a command. What is imported is imported when its command runs."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from redistill import interruption
from redistill.errors import ConfigError, RedistillError
from redistill.interruption import EXIT, Interrupted
from redistill.plan import Node, Plan, lay_out, make_plan
from redistill.registry import TRUST

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Reproducible distillation studies. A study is configs/studies/NAME.yaml; `embedded` is the default.",
)

DEFAULT_STUDY = "embedded"


def _study_name(written: str) -> str:
    from redistill.config.compose import name_of

    return name_of("studies", written)


StudyArgument = Annotated[str, typer.Argument(help="Name of the study, or its file", callback=_study_name)]
StudyOption = Annotated[
    str, typer.Option("--study", "-s", help="Study that says tasks, seeds and runtime", callback=_study_name)
]
TaskOption = Annotated[str | None, typer.Option("--task", "-t", help="Only this task")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Only this seed")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="PATH=VALUE, such as stages.0.epochs=5; repeatable")]


def _trust(given: bool) -> bool:
    if given:
        os.environ[TRUST] = "1"  # for the jobs, which are processes of their own
    return given


TrustOption = Annotated[
    bool, typer.Option("--trust-plugins", callback=_trust, help="Import components from outside the package")
]


def main() -> None:
    """Run the command line; a mistake that the user can mend is a sentence, never a traceback."""
    try:
        app()
    except ConfigError as error:
        print(f"{error}\nNothing was started.", file=sys.stderr)
        sys.exit(2)
    except Interrupted as error:
        print(f"redistill: {error}", file=sys.stderr)
        sys.exit(EXIT)
    except RedistillError as error:
        print(f"redistill: {error}", file=sys.stderr)
        sys.exit(1)


def _root() -> Path:
    from redistill.config.compose import find_root

    return find_root()


def _plan(study: str) -> Plan:
    return make_plan(_root(), study)


def _experiment_plan(written: str, study: str, task: str | None, seeds: list[int], changes: list[str] | None) -> Plan:
    """The plan of one experiment: on a task, or on all tasks that the study, or the experiment itself, has it on."""
    from redistill.config import compose
    from redistill.config.check import check_experiment, tasks_of

    root, name = _root(), compose.name_of("experiments", written)
    tasks = [task] if task is not None else tasks_of(root, name, study)
    return lay_out(root, check_experiment(root, name, tasks, seeds, study, compose.assignments(changes or [])))


def _check_models(plan: Plan) -> None:
    """Check the models of a plan once; what was found right is noted under the study's digest."""
    from redistill.jobs import models_checked, note_models_checked

    if models_checked(plan):
        return
    from redistill.training.check import check_models

    for unknown in check_models(plan):
        print(f"not checked before it runs: {unknown}", file=sys.stderr)
    note_models_checked(plan)


def _make(plan: Plan, what: str, wanted: Callable[[Node], bool]) -> None:
    """Make the nodes of a plan that are wanted, and what they need, without Snakemake."""
    from redistill.jobs import make_all

    nodes = [node for node in plan.nodes.values() if wanted(node)]
    if not nodes:
        name = plan.checked.name
        raise RedistillError(f"the study `{name}` has no {what}; `redistill plan {name}` lists what it has")
    _check_models(plan)
    make_all(plan, [node.key for node in nodes])
    for node in nodes:
        print(f"{node.title}: {node.folder(Path())}")


def _matches(node: Node, *parts: str | None) -> bool:
    """Whether the node's title has each part that is given, at its place."""
    have = node.title.split(" · ")
    return all(part is None or (i < len(have) and have[i] == part) for i, part in enumerate(parts))


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="Name of a study, or of an experiment")] = DEFAULT_STUDY,
    study: StudyOption = DEFAULT_STUDY, task: TaskOption = None, changes: SetOption = None,
) -> None:  # fmt: skip
    """Read a study or an experiment and everything that it names; every mistake at once, models and taps among them."""
    from redistill.config.compose import known, name_of

    as_study = name_of("studies", name)
    if as_study not in known(_root(), "studies") and name_of("experiments", name) in known(_root(), "experiments"):
        plan = _experiment_plan(name, study, task, [0], changes)
    else:
        plan = _plan(as_study)
    _check_models(plan)
    tables = len(plan.checked.study.tables)
    print(f"{name}: {tables} {'table' if tables == 1 else 'tables'}, {len(plan.runs)} runs; nothing wrong was found")


@app.command()
def show(experiment: Annotated[str, typer.Argument(help="Name of the experiment")], task: TaskOption = None,
         changes: SetOption = None, study: StudyOption = DEFAULT_STUDY) -> None:  # fmt: skip
    """Print an experiment with every value written out, and the file and line that each came from."""
    from redistill.config.compose import name_of
    from redistill.config.show import show as shown

    plan, name = _experiment_plan(experiment, study, task, [0], changes), name_of("experiments", experiment)
    for (recipe, on), found in plan.checked.recipes.items():
        if recipe.partition("@")[0] == name:
            print(f"# {recipe} on {on}")
            print(shown(found), end="")


@app.command()
def plan(study: StudyArgument = DEFAULT_STUDY) -> None:
    """List what a study needs: key, whether it is there, what of its key changed, and what making it will cost."""
    from redistill.changes import what_changed
    from redistill.estimate import estimate

    laid_out = _plan(study)
    to_make = laid_out.missing()
    missing = {node.key for node in to_make}
    reasons = what_changed(laid_out, missing)
    for node in laid_out.nodes.values():
        state = "there" if laid_out.done(node.key) else "to make" if node.key in missing else "not needed"
        reason = f"  [{reasons[node.key]}]" if node.key in reasons else ""
        print(f"{node.key}  {state:10}  {node.kind:8}  {node.title}{reason}")
    print(f"{len(laid_out.nodes)} things, {len(missing)} to make")
    if to_make:
        print(estimate(laid_out, to_make))


@app.command()
def fetch(source: Annotated[str | None, typer.Argument(help="Only this source")] = None,
          study: StudyOption = DEFAULT_STUDY) -> None:  # fmt: skip
    """Fetch data sets and pretrained models, and verify them."""
    _make(_plan(study), f"source `{source}`", lambda n: n.kind in ("data", "model") and _matches(n, source))


@app.command()
def prepare(task: Annotated[str | None, typer.Argument(help="Only this task")] = None,
            study: StudyOption = DEFAULT_STUDY) -> None:  # fmt: skip
    """Split tasks' data and tokenise texts."""
    _make(_plan(study), f"task `{task}`", lambda n: n.kind in ("dataset", "tokens") and _matches(n, task))


@app.command()
def run(experiment: Annotated[str, typer.Argument(help="Name of the experiment, in a study or not")],
        task: TaskOption = None, seed: SeedOption = None, changes: SetOption = None,
        study: StudyOption = DEFAULT_STUDY, trust_plugins: TrustOption = False) -> None:  # fmt: skip
    """Train an experiment, with values changed if wanted, and whatever it starts from and learns from; print scores."""
    from redistill.config.check import seeds_of
    from redistill.config.compose import name_of

    seeds = [seed] if seed is not None else seeds_of(_root(), name_of("experiments", experiment), study)
    plan = _experiment_plan(experiment, study, task, seeds, changes)
    runs = {line.key for line in plan.runs}
    _make(plan, f"run of `{experiment}` like that", lambda node: node.key in runs or node.kind == "cell")
    for node in plan.nodes.values():
        if node.kind == "cell":
            print(_scores(plan, node))


def _scores(plan: Plan, cell: Node) -> str:
    metrics = json.loads((cell.folder(plan.root) / "metrics.json").read_text(encoding="utf-8"))
    values = ", ".join(f"{100 * score['value']:.1f} ({role})" for role, score in metrics["dev"].items())
    return f"{cell.title}: {metrics['metric']} on dev, times 100: {values}"


@app.command()
def trace(experiment: Annotated[str, typer.Argument(help="Name of the experiment")],
          output: Annotated[Path, typer.Option("--output", "-o", help="File to write")],
          task: TaskOption = None, seed: Annotated[int, typer.Option("--seed", help="Seed")] = 0,
          step: Annotated[int | None, typer.Option("--step", help="Look into every operation of this step")] = None,
          stage: Annotated[int, typer.Option("--stage", help="Stage of that step")] = 0,
          against: Annotated[Path | None, typer.Option("--against", help="Another machine's trace")] = None,
          study: StudyOption = DEFAULT_STUDY, trust_plugins: TrustOption = False) -> None:  # fmt: skip
    """Train once more beside the store and write the digest of every step; compare with another machine's."""
    from redistill.jobs import make_all, traced

    plan = _experiment_plan(experiment, study, task, [seed], None)
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


@app.command()
def profile(run: Annotated[str, typer.Argument(help="Experiment, or the key of a run that was planned or made")],
            task: TaskOption = None, seed: Annotated[int, typer.Option("--seed", help="Seed")] = 0,
            steps: Annotated[int, typer.Option("--steps", min=1, help="Steps of each stage that are timed")] = 30,
            changes: SetOption = None, study: StudyOption = DEFAULT_STUDY,
            to_json: Annotated[Path | None, typer.Option("--json", help="File to write the numbers to")] = None,
            to_trace: Annotated[Path | None, typer.Option("--trace", help="File for Chrome's trace viewer")] = None,
            trust_plugins: TrustOption = False) -> None:  # fmt: skip
    """Train some steps of a run beside the store and print where its time goes: start, every part of a step, end."""
    from redistill.performance import profile as of

    if of.is_key(run):
        node, inputs = of.by_key(_root(), run)
    else:
        node, inputs = _with_inputs(_experiment_plan(run, study, task, [seed], changes))
    of.show(of.profile(node, inputs, steps, to_trace), to_json)


def _with_inputs(plan: Plan) -> tuple[Node, dict[str, Path]]:
    """The first run of a plan, and the folders of its inputs, which are made where they are missing."""
    from redistill.jobs import make_all
    from redistill.performance.profile import refuse_without_steps

    node = plan.nodes[plan.runs[0].key]
    refuse_without_steps(node)
    make_all(plan, list(node.inputs.values()))
    return node, {role: plan.nodes[key].folder(plan.root) for role, key in node.inputs.items()}


@app.command()
def times(study: StudyArgument = DEFAULT_STUDY,
          picture: Annotated[Path | None, typer.Option("--output", "-o", help="SVG file to draw them in")] = None,
          ) -> None:  # fmt: skip
    """Print where the time of what a study has made went, from its records; and draw it, one bar a thing."""
    from redistill.performance import gantt
    from redistill.performance import times as of

    plan = _plan(study)
    of.show(plan)
    if picture is not None:
        gantt.write(plan, picture)


@app.command()
def tune(study: StudyArgument = DEFAULT_STUDY,
         seconds: Annotated[float, typer.Option("--seconds", min=0, help="Of each measurement, start excluded")] = 2.0,
         minutes: Annotated[float, typer.Option("--minutes", min=0, help="After which nothing more is begun")] = 2.0,
         to_json: Annotated[Path | None, typer.Option("--json", help="File to write the numbers to")] = None,
         trust_plugins: TrustOption = False) -> None:  # fmt: skip
    """Measure steps with other threads, processes and precision on this machine; propose an edit, change nothing."""
    from redistill.performance.tune import show as show_tuned

    show_tuned(_plan(study), seconds, minutes, to_json)


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="All about this one: formula, source, needs, use")] = None,
) -> None:
    """List the methods of distillation, or say all about one."""
    from redistill import catalogue

    if name is not None:
        print(catalogue.in_text(catalogue.method(name)))
        return
    family = ""
    for found in catalogue.methods():
        if found.family != family:
            family = found.family
            print(f"{family}:")
        print(f"  {found.name:<22} {found.title}")


@app.command()
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


@app.command()
def teacher_outputs(experiment: Annotated[str, typer.Argument(help="The teacher's experiment")],
                    task: TaskOption = None, study: StudyOption = DEFAULT_STUDY,
                    trust_plugins: TrustOption = False) -> None:  # fmt: skip
    """Store what teachers say about the splits that their students learn from."""
    _make(_plan(study), f"teacher `{experiment}`", lambda n: n.kind == "outputs" and _matches(n, experiment, task))


@app.command()
def evaluate(experiment: Annotated[str, typer.Argument(help="Name of the experiment")], task: TaskOption = None,
             study: StudyOption = DEFAULT_STUDY, trust_plugins: TrustOption = False) -> None:  # fmt: skip
    """Compute metrics from stored predictions."""
    _make(_plan(study), f"cell of `{experiment}`", lambda n: n.kind == "cell" and _matches(n, experiment, task))


@app.command()
def table(name: Annotated[str, typer.Argument(help="Name of the table")], study: StudyOption = DEFAULT_STUDY,
          trust_plugins: TrustOption = False) -> None:  # fmt: skip
    """Make a table, with all that it needs."""
    _make(_plan(study), f"table `{name}`", lambda n: n.kind in ("table", "scores") and _matches(n, name))


@app.command()
def make(key: Annotated[str, typer.Argument(help="Key of something that was planned")],
         trust_plugins: TrustOption = False) -> None:  # fmt: skip
    """Make one planned thing from inputs that are there; what Snakemake's jobs do. Dies with its parent."""
    from redistill.jobs import make as make_one

    interruption.die_with_parent()
    interruption.listen()
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
def export(run: Annotated[str, typer.Argument(help="Key of a finished run, or an experiment")],
           to: Annotated[Path | None, typer.Option("--to", help="Folder to write; exports/KEY if not given")] = None,
           licence: Annotated[str | None, typer.Option("--licence", help="Licence of the model")] = None,
           language: Annotated[str | None, typer.Option("--language", help="Of the texts, such as en")] = None,
           force: Annotated[bool, typer.Option("--force", help="Replace an export that differs")] = False,
           task: TaskOption = None, seed: Annotated[int, typer.Option("--seed", help="Seed")] = 0,
           changes: SetOption = None, study: StudyOption = DEFAULT_STUDY,
           trust_plugins: TrustOption = False) -> None:  # fmt: skip
    """Make a folder for the Hugging Face hub of a finished run: weights, tokenizer, model card; verified first."""
    from redistill.export import export as export_run
    from redistill.performance.profile import is_key

    key, title = run, ""
    if not is_key(run):
        plan = _experiment_plan(run, study, task, [seed], changes)
        key, title = plan.runs[0].key, plan.nodes[plan.runs[0].key].title
    folder, written = export_run(_root(), key, to, licence, language, force, title)
    print(f"{folder}: {'written' if written else 'as it was'}")


@app.command()
def upload(folder: Annotated[Path, typer.Argument(help="Folder that `export` wrote")],
           repository: Annotated[str, typer.Argument(help="Model repository on the hub, as OWNER/NAME")],
           dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list; needs no network")] = False,
           private: Annotated[bool, typer.Option("--private", help="Where it is new, make it private")] = False,
           yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False) -> None:  # fmt: skip
    """Upload an export to the Hugging Face hub, after listing it and asking."""
    from redistill import upload as of

    of.refuse_name(repository)
    files = of.files_of(folder)
    print(of.listing(files, repository))
    if dry_run:
        print("Nothing was uploaded.")
        return
    of.refuse_without_token()
    if not yes and not sys.stdin.isatty():
        raise RedistillError("nobody can be asked here, so nothing was uploaded: say --yes, or --dry-run to list only")
    if not yes and not typer.confirm(f"Upload these to {repository}?"):
        print("Nothing was uploaded.")
        return
    print(of.upload(folder, files, repository, private))


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
def pin(source: Annotated[list[str] | None, typer.Argument(help="Only these sources")] = None) -> None:
    """Ask the hub for the newest commit of sources that are `unpinned`, and write it into configs/sources.yaml."""
    from redistill.data.pin import pin as pin_sources

    found = pin_sources(_root(), source or [])
    for name, commit in found.items():
        print(f"{name}: {commit}")
    print(f"{len(found)} sources pinned")


@app.command()
def submit(
    study: StudyArgument = DEFAULT_STUDY,
    name: Annotated[str | None, typer.Argument(help="Only this submission")] = None,
    record: Annotated[Path | None, typer.Option("--record", help="JSON of what the server said of it")] = None,
) -> None:
    """Make a study's submissions to GLUE's server, or record the scores that it gave one."""
    plan = _plan(study)
    nodes = _submissions(plan, name)
    if record is None:
        _make(plan, f"submission `{name}`", lambda node: node in nodes.values())
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
