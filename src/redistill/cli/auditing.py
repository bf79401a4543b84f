"""Commands that ask whether a number is true."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from redistill.cli.application import (
    DEFAULT_STUDY,
    StudyArgument,
    app,
    plan_of,
    root_of_project,
)

PANEL = "Trust"


@app.command(rich_help_panel=PANEL)
def audit(
    study: StudyArgument = DEFAULT_STUDY,
    table: Annotated[str | None, typer.Option("--table", "-T", help="Only this table")] = None,
    row: Annotated[str | None, typer.Option("--row", "-r", help="Only this experiment's row")] = None,
    column: Annotated[str | None, typer.Option("--column", "-c", help="Only this task's column")] = None,
) -> None:
    """Verify that everything behind a study, a table or a cell is there, unchanged, and what configs and code give."""
    from redistill.audit import audit as audit_plan

    report = audit_plan(plan_of(study), table, row, column)
    print("\n".join(report.chain))
    for problem in report.problems:
        print(f"WRONG: {problem}", file=sys.stderr)
    print(f"{report.things} things, {report.files} files checked; {len(report.problems)} problems")
    if report.problems:
        sys.exit(1)


@app.command(rich_help_panel=PANEL)
def keygen(file: Annotated[Path, typer.Argument(help="Where the private key goes; it must not exist")]) -> None:
    """Make a key to sign with, and print its public half, which is what others trust."""
    from redistill.provenance.signatures import new_key

    print(new_key(file))
    if _git_sees(file.absolute()):
        print(f"{file} lies where git sees it: never commit it, or move it away", file=sys.stderr)


def _git_sees(file: Path) -> bool:
    """Whether a file is in a work tree, and not ignored."""
    try:
        asked = subprocess.run(["git", "-C", file.parent, "check-ignore", "-q", file.name], capture_output=True)
    except OSError:
        return False
    return asked.returncode == 1


@app.command(rich_help_panel=PANEL)
def seal(
    study: StudyArgument = DEFAULT_STUDY,
    *,
    key: Annotated[Path, typer.Option("--key", help="File of the private key, from `redistill keygen`")],
) -> None:
    """Sign a published study with its records, so that whoever trusts the key sees if anything of it was changed."""
    from redistill.provenance import seal as seals

    root = root_of_project()
    file = seals.seal(root, study, key)
    content, signer = seals.read(root, study)
    records = content["records"]
    print(f"written: {file.relative_to(root)}; commit it")
    print(f"{len(content['published'])} files and {len(records['sha256'])} records, signed by {signer}")
    print(f"Merkle root of the manifests {content['manifests']}\nMerkle root of the records   {records['root']}")
    if records["without"]:
        print(f"{len(records['without'])} things have no record here, and nothing is signed of how they were made")
