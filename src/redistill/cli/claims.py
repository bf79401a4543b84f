"""Commands about claims: verdicts, attestations, a plan that was sealed."""

import sys
from typing import Annotated

import typer

from redistill.cli.application import DEFAULT_STUDY, StudyArgument, app, root_of_project

PANEL = "Trust"
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON")]


@app.command(rich_help_panel=PANEL)
def verdict(study: StudyArgument = DEFAULT_STUDY,
            table: Annotated[str | None, typer.Option("--table", "-T", help="Only this table")] = None,
            other: Annotated[str | None, typer.Option("--against", help="Judge this instead: the study's results at a "
                             "commit, those of another study, or COMMIT:STUDY")] = None,
            margin: Annotated[float | None, typer.Option("--margin", min=0, help="Points, for --against; 1.0 if not "
                              "given")] = None,
            as_json: JsonOption = False) -> None:  # fmt: skip
    """Say of each published number that a study names whether it was reproduced; exit 1 if one was not."""
    from redistill.claims import against, verdict
    from redistill.claims.claimed import DEFAULT_MARGIN
    from redistill.claims.decide import NOT_REPRODUCED

    root = root_of_project()
    found: list[verdict.Verdict] | list[against.Rerun]
    if other is None:
        found = verdict.verdicts(root, study, table)
    else:
        found = against.against(root, study, other, table, DEFAULT_MARGIN if margin is None else margin)
    if as_json:
        _print_json([one.content() for one in found])
    else:
        for one in found:
            print(one)
        counts = {one.verdict: sum(other.verdict == one.verdict for other in found) for one in found}
        print(", ".join(f"{count} {what}" for what, count in counts.items()) or _no_claims(study))
    if any(one.verdict == NOT_REPRODUCED for one in found):
        sys.exit(1)


def _no_claims(study: str) -> str:
    return f"{study} names no published numbers: say which in `claims` of a table (docs/claims.md)"


def _print_json(value: object) -> None:
    from redistill.provenance.store import pretty

    print(pretty(value), end="")
