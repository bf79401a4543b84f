"""Commands that ask whether a number is true."""

import sys
from typing import Annotated

import typer

from redistill.cli.application import (
    DEFAULT_STUDY,
    StudyArgument,
    app,
    plan_of,
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
