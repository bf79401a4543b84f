"""Commands that write a study's provenance in the forms that others read."""

from pathlib import Path
from typing import Annotated

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
from redistill.cli.overview import SHARE
from redistill.errors import RedistillError

PANEL = SHARE


@app.command(rich_help_panel=PANEL)
def crate(to: Annotated[Path, typer.Option("--to", help="Folder to write")], study: StudyArgument = DEFAULT_STUDY,
          runs: Annotated[str, typer.Option("--runs", help="Of each run: none, predictions or all")] = "predictions",
          licence: Annotated[str | None, typer.Option("--licence", help="Of the crate")] = None,
          author: Annotated[str | None, typer.Option("--author", help="Who made the study, to be named")] = None,
          force: Annotated[bool, typer.Option("--force", help="Replace a crate")] = False) -> None:  # fmt: skip
    """Write a study as a Workflow Run RO-Crate: results, records, what made them; it can be checked alone, anywhere."""
    from redistill.exports.crate import write

    folder, digest = write(root_of_project(), study, to, runs, licence, author, force)
    print(f"{folder}: {sum(1 for f in folder.rglob('*') if f.is_file())} files; SHA-256 of SHA256SUMS: {digest}")
    print(f"`python verify.py .` in it checks it; `redistill query {to}` lists what can be asked of it")


@app.command(rich_help_panel=PANEL)
def query(where: Annotated[Path, typer.Argument(metavar="CRATE", help="Folder of a crate")],
          question: Annotated[str | None, typer.Argument(help="Name, SPARQL, or file; none lists them")] = None,
          given: Annotated[list[str] | None, typer.Option("--with", help="What it is about: NAME=VALUE")] = None,
          as_json: JsonOption = False) -> None:  # fmt: skip
    """Ask a crate: one of eleven questions, or SPARQL of your own; needs no network."""
    from redistill.exports import queries

    if question is None:
        for one in queries.QUESTIONS:
            needs = "".join(f" --with {name}=..." for name in one.needs)
            print(f"{one.name}{needs}\n    {one.asked}")
        return
    if any("=" not in pair for pair in given or ()):
        raise RedistillError("--with takes NAME=VALUE, such as --with package=torch")
    columns, rows = queries.ask(where, question, dict(pair.split("=", 1) for pair in given or ()))
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    for row in (columns, *rows):
        print("\t".join("" if value is None else str(value) for value in row))


@app.command(rich_help_panel=PANEL)
def prov(to: Annotated[Path, typer.Option("--to", help="File to write")], study: StudyArgument = DEFAULT_STUDY) -> None:
    """Write a study as W3C PROV-JSON: entities, activities and agents."""
    from redistill.exports.prov import write

    print(f"{to}: {write(root_of_project(), study, to)} statements")


@app.command(rich_help_panel=PANEL)
def croissant(task: Annotated[str, typer.Argument(help="Task whose data set it is")],
              to: Annotated[Path, typer.Option("--to", help="Folder to write")],
              study: StudyOption = DEFAULT_STUDY) -> None:  # fmt: skip
    """Write a prepared data set with its description in Croissant: splits, digests, licence, citation."""
    from redistill.exports.croissant import write

    for file in write(root_of_project(), study, task, to):
        print(file)


@app.command(rich_help_panel=PANEL)
def slsa(key: Annotated[Path, typer.Option("--key", help="File of the private key; `redistill keygen` makes one")],
         to: Annotated[Path, typer.Option("--to", help="Folder to write")],
         study: StudyArgument = DEFAULT_STUDY) -> None:  # fmt: skip
    """Sign a statement about each run: its files, and from what they were made (in-toto, SLSA provenance)."""
    from redistill.exports.slsa import write

    print(f"{to}: {len(write(root_of_project(), study, key, to))} signed statements")


@app.command(rich_help_panel=PANEL)
def check_slsa(file: Annotated[Path, typer.Argument(help="A signed statement")],
               key: Annotated[str, typer.Option("--key", help="The public key that you trust: ed25519:..., or a file")],
               files: Annotated[Path | None, typer.Option("--files", help="Where the run's files are")] = None
               ) -> None:  # fmt: skip
    """Verify a signed statement: by whom, unchanged, and about the files that are here."""
    from redistill.exports.slsa import check
    from redistill.provenance.signatures import key_named

    said, right, absent = check(file, key_named(key), files or root_of_project())
    titles = [one["predicate"]["buildDefinition"]["externalParameters"]["title"] for one in said]
    print(f"signed by that key: {', '.join(titles)}")
    print("\n".join([*(f"right: {name}" for name in right), *(f"not here: {name}" for name in absent)]))


@app.command(rich_help_panel=PANEL)
def licences(study: StudyArgument = DEFAULT_STUDY, as_json: JsonOption = False) -> None:
    """List everything that a study used, with licence and citation: sources, packages, the project itself."""
    from redistill.exports import facts
    from redistill.exports.licences import as_json as said
    from redistill.exports.licences import markdown, report

    found = report(facts.read(root_of_project(), study))
    if as_json:
        print_json(said(found))
    else:
        print(markdown(found), end="")
