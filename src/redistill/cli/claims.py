"""Commands about claims: verdicts, attestations, a plan that was sealed."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from redistill.cli.application import DEFAULT_STUDY, JsonOption, StudyArgument, app, print_json, root_of_project
from redistill.cli.overview import AUDIT
from redistill.errors import RedistillError
from redistill.exits import Exit
from redistill.plan import Plan, make_plan
from redistill.questions.kinds import plural

PANEL = AUDIT


@app.command(rich_help_panel=PANEL)
def verdict(study: StudyArgument = DEFAULT_STUDY,
            table: Annotated[str | None, typer.Option("--table", "-T", help="Only this table")] = None,
            other: Annotated[str | None, typer.Option("--against", help="Compare with this instead: another study's "
                             "results, those at a commit, or STUDY@COMMIT")] = None,
            margin: Annotated[float | None, typer.Option("--margin", min=0, help="Points, for --against; 1.0 if not "
                              "given")] = None,
            as_json: JsonOption = False) -> None:  # fmt: skip
    """Say of each published number that a study names whether it was reproduced; exit 1 if one was not."""
    from redistill.claims import against, verdict
    from redistill.claims.claimed import DEFAULT_MARGIN
    from redistill.claims.decide import NOT_REPRODUCED, REPRODUCED, several

    if margin is not None and other is None:
        raise RedistillError("--margin is for --against: each claim has its own, `margin` in the study or its file")
    root = root_of_project()
    found: list[verdict.Verdict] | list[against.Rerun]
    if other is None:
        found = verdict.verdicts(root, study, table)
    else:
        found = against.against(root, study, other, table, DEFAULT_MARGIN if margin is None else margin)
    if as_json:
        print_json([one.content() for one in found])
    else:
        for one in found:
            print(one)
        counts = {one.verdict: sum(other.verdict == one.verdict for other in found) for one in found}
        print(
            ", ".join(f"{count} {what}" for what, count in counts.items())
            or f"{study} names no published numbers: say which in `claims` of a table (docs/claims.md)"
        )
        print(several([(one.low, one.high) for one in found if one.verdict in (REPRODUCED, NOT_REPRODUCED)]), end="")
        _say_deviations(root, study)
    if any(one.verdict == NOT_REPRODUCED for one in found):
        sys.exit(Exit.WRONG)


@app.command(rich_help_panel=PANEL)
def attest(study: StudyArgument = DEFAULT_STUDY,
           key: Annotated[Path | None, typer.Option("--key", help="File of your private key; `redistill keygen` makes "
                          "one")] = None,
           sample: Annotated[str | None, typer.Option("--sample", help="Runs to make again, such as 3 or 5%; 5% of a "
                             "study, or all behind a cell, if not given")] = None,
           seed: Annotated[int, typer.Option("--seed", help="Draws the sample, with the study's root")] = 0,
           table: Annotated[str | None, typer.Option("--table", "-T", help="Only what is behind this table")] = None,
           row: Annotated[str | None, typer.Option("--row", "-r", help="Only what is behind this row")] = None,
           column: Annotated[str | None, typer.Option("--column", "-c", help="Only what is behind this column")] = None,
           run: Annotated[list[str] | None, typer.Option("--run", help="Key of a run to make; repeatable")] = None,
           trace: Annotated[bool, typer.Option("--trace", help="Publish the digests of the runs' steps too")] = False,
           ) -> None:  # fmt: skip
    """Make a sample of a study's runs again on this machine, and sign whether they came out the same; exit 1 if not."""
    from redistill.claims import attest, parted
    from redistill.claims.envelopes import read
    from redistill.questions.state import whole

    if key is None:
        raise RedistillError("say with whose name, --key FILE; `redistill keygen FILE` makes a key")
    made = whole(root_of_project(), study)
    whole_study = (table, row, column) == (None, None, None)
    cells = None if whole_study else [cell.key for cell in made.find_cells(table, row, column).values()]
    among = [parted.run_of(made, named) for named in run] if run else attest.runs_behind(made, cells)
    asked = sample or (attest.SAMPLE if whole_study and not run else "100%")
    file = attest.attest(made, key, among, asked, seed, trace)
    value, _ = read(file, attest.PAYLOAD_TYPE)
    for one in value["runs"]:
        print(f"{one['outcome']:10}  {one['title']} ({one['key']}){_more(one)}")
    print(f"signed: {file.relative_to(made.root)}; commit it with what else is new in that folder")
    if any(one["outcome"] == attest.DIFFERS for one in value["runs"]):
        sys.exit(Exit.WRONG)


def _more(run: dict[str, Any]) -> str:
    """What is said of a run beside its outcome."""
    said = [run["said"]] if "said" in run else []
    said += [", ".join(run["files"])] if run.get("files") else []
    for metric, score in run.get("metrics", {}).items():
        said.append(f"{metric} {100 * score['published']:.2f} as published, {100 * score['again']:.2f} now")
    return "".join(f"\n            {line}" for line in [*said, *run.get("parted", {}).get("words", [])])


@app.command(rich_help_panel=PANEL)
def reproductions(study: StudyArgument = DEFAULT_STUDY,
                  keys: Annotated[list[str] | None, typer.Option("--key", help="Public key that you trust, or its "
                                  "file: only its attestations count; repeatable")] = None,
                  as_json: JsonOption = False) -> None:  # fmt: skip
    """Show on how many machines each cell was reproduced, and the attestations that say so; exit 1 if one is forged."""
    from redistill.claims import reproductions
    from redistill.provenance.signatures import key_named

    root = root_of_project()
    trusted = {key_named(key) for key in keys} if keys else None
    cells = reproductions.reproductions(root, study, trusted)
    found, problems = reproductions.attestations(root, study)
    if as_json:
        print_json({"cells": {name: cell._asdict() for name, cell in cells.items()}, "problems": problems,
                     "attestations": [one.content(trusted) for one in found]})  # fmt: skip
    else:
        for name, cell in cells.items():
            print(f"{name}: {cell}")
        for one in found:
            print(one.line(trusted))
    for problem in problems:
        print(f"WRONG: {problem}", file=sys.stderr)
    if problems:
        sys.exit(Exit.WRONG)


@app.command(rich_help_panel=PANEL)
def parted(run: Annotated[str, typer.Argument(help="Key of a published run")], study: StudyArgument = DEFAULT_STUDY,
           stage: Annotated[int, typer.Option("--stage", help="Stage of that step")] = 0,
           step: Annotated[int | None, typer.Option("--step", help="Look into every operation of this step")] = None,
           ) -> None:  # fmt: skip
    """Train a run once more beside the store; say in which step and tensor it parts from the traces of others."""
    from redistill.claims import parted
    from redistill.questions.state import whole

    made = whole(root_of_project(), study)
    thing = parted.run_of(made, run)
    found = parted.parting(made, thing) if step is None else parted.into(made, thing, stage, step)
    for line in found.words:
        print(line)
    for file in found.written:
        print(f"written: {file.relative_to(made.root)}")


def seal_plan(plan: Plan, key: Path | None) -> None:
    """What `redistill plan --seal` does."""
    from redistill.claims import declared, sealed_plan

    if key is None:
        raise RedistillError("say with whose name, --key FILE; `redistill keygen FILE` makes a key")
    seal, new = sealed_plan.seal_plan(plan, key)
    runs = declared.runs_of(seal.declared)
    rows = sum(len(table["rows"]) for table in seal.declared["tables"].values())
    where = sealed_plan.place(plan.root, plan.checked.name).relative_to(plan.root)
    said = "sealed" if new else f"as it was sealed on {seal.date}"
    print(f"{where}: {said}; {rows} rows, {len(runs)} runs, stopping: {_stopping(seal.declared)}")
    print(f"by {seal.key}, SHA-256 {seal.digest}" + ("; commit it before the first run" if new else ""))
    made = [title for run, title in runs.items() if run in seal.made_before]
    if made:
        print(f"BEWARE: {len(made)} of the {len(runs)} runs were made before, and the seal says so: {made[0]} ...")


def _say_deviations(root: Path, study: str) -> None:
    """How many there are, where a plan was sealed: a verdict on another study than was planned is another verdict."""
    from redistill.claims import deviations, sealed_plan

    if sealed_plan.place(root, study).is_file():
        count = len(deviations.deviations(make_plan(root, study)))
        more = f": `redistill plan {study} --deviations` lists them" if count else ""
        print(f"{count} {plural('deviation', count)} from the sealed plan{more}")


def _stopping(said: dict[str, Any]) -> str:
    rule = said["stopping"] or {}
    words = [f"{rule['seeds']} seeds a row"] if rule.get("seeds") else []
    return "; ".join([*words, *([rule["rule"]] if rule.get("rule") else [])]) or "no rule is declared"


def show_deviations(plan: Plan) -> None:
    """What `redistill plan --deviations` does."""
    from redistill.claims.deviations import deviations

    found = deviations(plan)
    for one in found:
        print(one)
    if found:
        print(f"{len(found)} {plural('deviation', len(found))} from the sealed plan")
        sys.exit(Exit.WRONG)
    print("the sealed plan was followed")
