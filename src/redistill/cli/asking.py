"""Commands that ask what a number came from and what depends on it."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from redistill.cli.application import (
    DEFAULT_STUDY,
    JsonOption,
    StudyArgument,
    StudyOption,
    app,
    print_json,
    root_of_project,
)
from redistill.cli.overview import AUDIT, LOOK
from redistill.exits import Exit

PANEL = LOOK


def _print(text: str, content: Any, as_json: bool) -> None:
    if as_json:
        print_json(content)
    else:
        print(text.rstrip("\n"))


@app.command(rich_help_panel=PANEL)
def why(
    cell: Annotated[str | None, typer.Argument(help="TABLE/ROW/COLUMN, ROW/COLUMN, or the key of a thing")] = None,
    study: StudyOption = DEFAULT_STUDY,
    table: Annotated[str | None, typer.Option("--table", "-T", help="Table of the cell")] = None,
    row: Annotated[str | None, typer.Option("--row", "-r", help="Row of the cell")] = None,
    column: Annotated[str | None, typer.Option("--column", "-c", help="Column of the cell")] = None,
    commit: Annotated[str | None, typer.Option("--commit", help="The results as this commit has them")] = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="SVG file to draw the chain in")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the chain behind a number: its runs, their recipe, teacher and data, sources, code, machine, packages."""
    from redistill.questions import tree
    from redistill.questions.why import why as chain_of

    chain = chain_of(root_of_project(), study, cell, table, row, column, commit)
    if picture is not None:
        from redistill.questions import picture as of

        of.write(chain, picture)
    _print(tree.in_text(chain), tree.content(chain), as_json)


@app.command(rich_help_panel=PANEL)
def used_by(
    what: Annotated[str, typer.Argument(help="A file, data set, package, commit, key, experiment or method")],
    as_json: JsonOption = False,
) -> None:
    """Say which numbers depend on a file, a data set, a package, a commit, a key, an experiment or a method."""
    from redistill.questions import used_by as of

    answer = of.used_by(root_of_project(), what)
    _print(of.in_text(answer), of.content(answer), as_json)


@app.command(rich_help_panel=PANEL)
def diff(
    old: Annotated[str, typer.Argument(help="A study, a commit, or STUDY@COMMIT")],
    new: Annotated[str, typer.Argument(help="The same; `.` are the results as they are")] = ".",
    study: StudyOption = DEFAULT_STUDY, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Say which cells differ between two studies, or two commits, by how much, and which changed inputs explain it."""
    from redistill.questions import shown
    from redistill.questions.sides import between

    found = between(root_of_project(), old, new, study)
    _print(shown.in_text(found), shown.content(found), as_json)


@app.command(rich_help_panel=AUDIT)
def stale(study: StudyArgument = DEFAULT_STUDY, as_json: JsonOption = False) -> None:
    """Say which results today's configs and code would no longer give, and why; exit code 1 if there are any."""
    from redistill.questions import shown
    from redistill.questions.stale import stale as find_stale

    found = find_stale(root_of_project(), study)
    _print(shown.in_text(found), shown.content(found), as_json)
    if not found.same:
        sys.exit(Exit.WRONG)
