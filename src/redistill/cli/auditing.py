"""Commands that ask whether a number is true."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from redistill.cli.application import (
    DEFAULT_STUDY,
    JsonOption,
    StudyArgument,
    TrustOption,
    app,
    print_json,
    root_of_project,
)
from redistill.cli.overview import AUDIT

if TYPE_CHECKING:
    from redistill.audit import Report

PANEL = AUDIT
SHOWN = 20  # findings of what was not checked; a clone without a store has one for each thing


@app.command(rich_help_panel=PANEL)
def audit(
    what: Annotated[str, typer.Argument(help="A study, the key of anything, or a file of results/ or store/")] = (
        DEFAULT_STUDY
    ),
    level: Annotated[
        str, typer.Option("--level", "-l", help="trace, integrity, recompute, replay or rerun; each with those before")
    ] = "integrity",
    table: Annotated[str | None, typer.Option("--table", "-T", help="Of the study, only this table")] = None,
    row: Annotated[str | None, typer.Option("--row", "-r", help="Only this experiment's row")] = None,
    column: Annotated[str | None, typer.Option("--column", "-c", help="Only this task's column")] = None,
    sample: Annotated[
        str | None, typer.Option("--sample", help="Replay and rerun so many things, or a share such as 5%")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="What the sample is drawn by")] = 0,
    key: Annotated[
        str | None, typer.Option("--key", help="The public key, or its file, that is trusted to have sealed the study")
    ] = None,
    as_json: JsonOption = False,
    trust_plugins: TrustOption = False,
) -> None:
    """Is it true? Check the chain behind a study, a number or a file: links, digests, and what comes out once more."""
    from redistill.audit import audit as look

    trusted = None
    if key is not None:
        from redistill.provenance.signatures import key_named

        trusted = key_named(key)
    root = root_of_project()
    report = look(root, what, level, table=table, row=row, column=column, sample=sample, seed=seed, trusted=trusted)
    if as_json:
        print_json(report.content())
    else:
        _show(report)
    sys.exit(report.status)


def _show(report: "Report") -> None:
    """The report for people: what is wrong or stale goes to standard error."""
    print("\n".join(report.chain), end="\n" if report.chain else "")
    for said, findings in (("WRONG", report.wrong), ("STALE", report.stale)):
        for finding in findings:
            print(f"{said}: {finding}", file=sys.stderr)
    for finding in report.unchecked[:SHOWN]:
        print(f"not checked at {finding.level}: {finding}")
    if len(report.unchecked) > SHOWN:
        print(f"not checked: {len(report.unchecked) - SHOWN} more, which --json lists")
    print("\n".join(report.summary()))
    print("".join(f"{line}\n" for line in _advice(report)), end="", file=sys.stderr)


def _advice(report: "Report") -> Iterator[str]:
    """What to type where something is wrong."""
    wrong = [finding.file for finding in report.wrong]
    if any(file.startswith("results/") for file in wrong):
        yield "results/: `redistill publish STUDY` writes it again from the store; `git diff results` says what is new"
    if any(file.startswith("store/") for file in wrong):
        yield (
            "store/: remove the folder that is named; `snakemake --cores all --config study=STUDY` makes it again, or "
            "`redistill pull KEY` brings it"
        )


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
