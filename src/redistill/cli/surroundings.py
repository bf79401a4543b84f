"""The command that looks at what redistill runs in."""

import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from redistill.cli.application import DEFAULT_STUDY, StudyArgument, app, plan_of, root_of_project
from redistill.cli.overview import STUDY
from redistill.errors import RedistillError
from redistill.exits import Exit

if TYPE_CHECKING:
    from redistill.provenance.locked import Difference

PANEL = STUDY


@app.command(rich_help_panel=PANEL)
def environment(
    study: StudyArgument = DEFAULT_STUDY,
    lock: Annotated[Path | None, typer.Option("--lock", help="Another lock file than envs/requirements.lock")] = None,
) -> None:
    """Say how what is installed differs from the lock, and what that means for keys and bytes; exit 1 if it does."""
    from redistill.provenance import locked, machine

    root = root_of_project()
    wanted, found = locked.locked(root, lock or locked.LOCK), locked.here()
    used, trouble = list[list[str]](), ""
    try:
        used = [list(node.parts["packages"]) for node in plan_of(study).nodes.values()]
    except RedistillError as error:  # it needs the packages, and one may not be there
        trouble = str(error)
    differing = locked.differences(wanted, found, used)
    wrong = [each for each in differing if each.locked]
    how_many = f"{len(wrong)} of {len(wanted)} packages are not" if wrong else f"all {len(wanted)} packages are"
    print(f"{lock or locked.LOCK}: {how_many} installed as locked")
    for each in wrong:
        print(f"  {each.name} {each.here or 'not installed'}, locked {each.locked}: {_means(each, len(used), study)}")
    more = [f"{each.name} {each.here}" for each in differing if not each.locked]
    if more:
        print(f"not locked, and imported by nothing of redistill's: {', '.join(more)}")
    other_python = locked.python_differs()
    print(other_python or f"Python {platform.python_version()}, of the series that the lock is made for")
    digests = root / "tests" / "nano_digests.json"
    proven = json.loads(digests.read_text(encoding="utf-8"))["proven"] if digests.is_file() else []
    print(f"processor: {locked.processor(machine.machine(), proven)}")
    print(f"image: {machine.image() or 'none is named'}")
    if trouble:
        print(f"{study} cannot be planned here: {trouble}")
    if wrong or other_python:
        raise typer.Exit(Exit.WRONG)


def _means(each: "Difference", of: int, study: str) -> str:
    """What follows for the study, which has so many things."""
    if each.here is None:
        return "what imports it stops"
    if each.things:
        return f"in the keys of {each.things} of {of} things of {study}, which are made anew, perhaps with other bytes"
    return f"in no key of {study}: nothing is made anew, and that its bytes stay was not compared"
