"""Commands that bring results to others, and from them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from redistill.cli.application import (
    DEFAULT_STUDY,
    RunArgument,
    SeedOption,
    SetOption,
    StudyOption,
    TaskOption,
    TrustOption,
    app,
    plan_of_experiment,
    root_of_project,
    run_or_experiment,
)
from redistill.cli.overview import SHARE
from redistill.errors import RedistillError

if TYPE_CHECKING:
    from redistill.provenance.remote import Moved
    from redistill.selected import Selected

PANEL = SHARE


@app.command(rich_help_panel=PANEL)
def export(run: RunArgument,
           form: Annotated[str, typer.Option("--to", help="`hub`, `onnx` in float32, or `int8`")] = "hub",
           to: Annotated[Path | None, typer.Option("--output", "-o", help="Folder to write; one in exports/ if not "
                         "given")] = None,
           licence: Annotated[str | None, typer.Option("--licence", help="Licence of the model")] = None,
           language: Annotated[str | None, typer.Option("--language", help="Of the texts, such as en")] = None,
           force: Annotated[bool, typer.Option("--force", help="Replace an export that differs")] = False,
           task: TaskOption = None, seed: Annotated[int, typer.Option("--seed", help="Seed")] = 0,
           changes: SetOption = None, study: StudyOption = DEFAULT_STUDY,
           trust_plugins: TrustOption = False) -> None:  # fmt: skip
    """Make a folder of a finished run, verified first: for the Hugging Face hub, or in ONNX, in float32 or int8."""
    from redistill.export import HUB, KINDS
    from redistill.export import export as export_run

    if form not in KINDS:
        raise RedistillError(f"--to takes {', '.join(KINDS)}, not `{form}`: name the folder to write with -o")
    key, title = _run_meant(run, study, task, seed, changes)
    folder, written = export_run(root_of_project(), key, to, licence, language, force, title, form)
    print(f"{folder}: {'written' if written else 'as it was'}")
    if form != HUB:
        from redistill.deploy.folder import scores_in
        from redistill.deploy.verify import in_words

        print(in_words(scores_in(folder)))


def _run_meant(run: str, study: str, task: str | None, seed: int, changes: list[str] | None) -> tuple[str, str]:
    """Key and title of a run: given by its key, which then is the title's place too, or as an experiment."""
    from redistill.performance.profile import is_key

    if is_key(run):
        return run, ""
    plan = plan_of_experiment(run, study, task, [seed], changes)
    return plan.runs[0].key, plan.nodes[plan.runs[0].key].title


@app.command(rich_help_panel=PANEL)
def predict(run: Annotated[str, typer.Argument(help="Key of a finished run, an experiment, or an exported folder",
                                           autocompletion=run_or_experiment)],
            given: Annotated[Path, typer.Argument(help="Table of texts (.csv, .tsv, .jsonl, .parquet), or pictures")],
            to: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; else it is printed")] = None,
            text: Annotated[str, typer.Option("--text", help="Column of the text")] = "text",
            pair: Annotated[str | None, typer.Option("--pair", help="Column of the second text")] = None,
            task: TaskOption = None, seed: Annotated[int, typer.Option("--seed", help="Seed")] = 0,
            changes: SetOption = None, study: StudyOption = DEFAULT_STUDY,
            trust_plugins: TrustOption = False) -> None:  # fmt: skip
    """Say what a run, or its ONNX folder, makes of your own texts or pictures, as CSV; masks as PNG files."""
    from redistill.deploy import folder
    from redistill.lineage import finished
    from redistill.predict import predict as said_by
    from redistill.predict import write

    if folder.is_exported(Path(run)):
        said = said_by(folder.read(Path(run)), given, text, pair)
    else:
        key, title = _run_meant(run, study, task, seed, changes)
        said = said_by(finished(root_of_project(), key, title), given, text, pair)
    write(said, to)
    if said.attrs.get("cut"):
        print(f"{said.attrs['cut']} texts were longer than the run reads and were cut", file=sys.stderr)


@app.command(rich_help_panel=PANEL)
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


WhatArgument = Annotated[list[str] | None, typer.Argument(help="Keys, or rows of the study; everything if not given")]
OfStudyOption = Annotated[str | None, typer.Option("--study", "-s", help="All of this study; or where rows are")]
TableOption = Annotated[str | None, typer.Option("--table", help="A table, with all that is behind it")]
RowOption = Annotated[str | None, typer.Option("--row", help="Only this row of it")]
ColumnOption = Annotated[str | None, typer.Option("--column", help="Only this column of it")]
UpstreamOption = Annotated[bool, typer.Option("--upstream", help="Also all that the named things are made of")]
RemoteOption = Annotated[str | None, typer.Option("--remote", "-r", help="Another of DVC's remotes than its default")]


@app.command(rich_help_panel=PANEL)
def push(what: WhatArgument = None, study: OfStudyOption = None, table: TableOption = None, row: RowOption = None,
         column: ColumnOption = None, task: TaskOption = None, seed: SeedOption = None,
         upstream: UpstreamOption = False, remote: RemoteOption = None,
         replace: Annotated[bool, typer.Option("--replace", help="Let these KEYs be what is here")] = False,
         forget: Annotated[bool, typer.Option("--forget", help="Let store.dvc forget what is not here")] = False,
         ) -> None:  # fmt: skip
    """Copy what is new in the store, or some of it, to DVC's remote. Commit store.dvc afterwards."""
    from redistill.provenance.versions import push as push_things

    root = root_of_project()
    meant = _meant(root, what or [], study, (table, row, column), task, seed, upstream)
    if forget and meant.keys is not None:
        raise RedistillError("--forget is for all of the store: name nothing beside it")
    if replace and (not what or upstream):
        raise RedistillError("--replace takes the place of what others have pushed: name the keys, and nothing else")
    moved = push_things(root, meant.keys, remote, also=meant.also, replace=replace, forget=forget)
    print(f"pushed: {_in_words(moved)}")
    print("store.dvc names it now: `git add store.dvc` and commit" if moved.changed else "store.dvc is as it was")


@app.command(rich_help_panel=PANEL)
def pull(what: WhatArgument = None, study: OfStudyOption = None, table: TableOption = None, row: RowOption = None,
         column: ColumnOption = None, task: TaskOption = None, seed: SeedOption = None,
         upstream: UpstreamOption = False, remote: RemoteOption = None) -> None:  # fmt: skip
    """Bring what store.dvc names, or some of it, from DVC's remote, verified; nothing that is here is touched."""
    from redistill.provenance.versions import pull as pull_things

    root = root_of_project()
    meant = _meant(root, what or [], study, (table, row, column), task, seed, upstream)
    moved = pull_things(root, meant.keys, remote, also=meant.also)
    print(f"pulled and verified: {_in_words(moved)}")
    if moved.busy:
        print(f"left out: {moved.busy} that somebody is making here now")


@app.command(rich_help_panel=PANEL)
def prune(
    also: Annotated[list[str] | None, typer.Option("--also", help="A commit, whose results are kept too")] = None,
    history: Annotated[bool, typer.Option("--history", help="Keep what any commit's results name")] = False,
    keep_days: Annotated[float, typer.Option("--keep-days", min=0, help="Keep what is younger")] = 0.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False,
) -> None:
    """List what no table reaches, ask, and remove it from the store. Records stay; DVC's cache and remote too."""
    from redistill import reach
    from redistill.provenance import prune as of

    root = root_of_project()

    def unreached() -> tuple[list[of.Garbage], list[str]]:
        commits = [*(also or []), *(reach.commits_with_results(root) if history else [])]
        keys, elsewhere = reach.reached(root, commits)
        return of.garbage(root, keys, keep_days), elsewhere

    found, elsewhere = unreached()
    for study in elsewhere:
        print(f"not planned on this machine, so what it asked for when it was begun last is kept: {study}")
    for one in found:
        print(f"{one.key}  {_bytes(one.size):>12}  {one.days:5.0f} days  {one.kind:10}  {one.title}")
    print(f"{len(found)} things that no table reaches, {_bytes(sum(one.size for one in found))}")
    begun = of.in_progress(root)
    if begun:
        print(f"kept with all that they need: {len(begun)} things that are being made, or were begun (store/work/KEY)")
    if not found or dry_run:
        return
    if not yes and not sys.stdin.isatty():
        raise RedistillError("nobody can be asked here, so nothing was removed: say --yes, or --dry-run to list only")
    if not yes and not typer.confirm("Remove these?"):
        print("Nothing was removed.")
        return
    still = {one.key for one in unreached()[0]}  # it may have taken a while to answer
    removed = of.remove(root, [one for one in found if one.key in still])
    print(f"removed: {len(removed)} things, {_bytes(sum(one.size for one in removed))}")


def _bytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size / 2**10:.1f} KiB"


def _meant(root: Path, what: list[str], study: str | None, cell: tuple[str | None, str | None, str | None],
           task: str | None, seed: int | None, upstream: bool) -> "Selected":  # fmt: skip
    """What the options of `push` and `pull` name.

    Raises:
        RedistillError: they do not go together.
    """
    from redistill import selected

    by_cell = any(part is not None for part in cell)
    if (task is not None or seed is not None or upstream) and not what:
        raise RedistillError("--task, --seed and --upstream say more of a run: name its row or its key first")
    if what and by_cell:
        raise RedistillError("either keys and rows as they are, or --table, --row and --column with all behind them")
    if what:
        return selected.things(root, study or DEFAULT_STUDY, what, task, seed, upstream)
    if by_cell:
        return selected.cells(root, study or DEFAULT_STUDY, *cell)
    return selected.study(root, study) if study is not None else selected.Selected(None)


def _in_words(moved: "Moved") -> str:
    size = _bytes(moved.size)
    return f"{moved.things} things and {moved.records} records; {moved.objects} files moved, {size}"
