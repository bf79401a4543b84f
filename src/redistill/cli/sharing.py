"""Commands that bring results to others, and from them."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from redistill.cli.application import (
    DEFAULT_STUDY,
    SetOption,
    StudyOption,
    TaskOption,
    TrustOption,
    app,
    plan_of_experiment,
    root_of_project,
)
from redistill.errors import RedistillError

PANEL = "Share"


@app.command(rich_help_panel=PANEL)
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
        plan = plan_of_experiment(run, study, task, [seed], changes)
        key, title = plan.runs[0].key, plan.nodes[plan.runs[0].key].title
    folder, written = export_run(root_of_project(), key, to, licence, language, force, title)
    print(f"{folder}: {'written' if written else 'as it was'}")


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


@app.command(rich_help_panel=PANEL)
def push() -> None:
    """Version the store with DVC and copy what is new to the remote. Commit store/*.dvc afterwards."""
    from redistill.provenance.versions import push as push_store

    push_store(root_of_project())


@app.command(rich_help_panel=PANEL)
def pull() -> None:
    """Bring what git's store/*.dvc name from the remote; nothing that is in the store is removed or overwritten."""
    from redistill.provenance.versions import pull as pull_store

    brought = pull_store(root_of_project())
    print(f"{brought} things pulled and verified")
