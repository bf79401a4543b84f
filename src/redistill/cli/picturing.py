"""The command that draws what was predicted on images."""

from pathlib import Path
from typing import Annotated

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
)
from redistill.cli.overview import LOOK
from redistill.errors import RedistillError

PANEL = LOOK


@app.command(rich_help_panel=PANEL)
def pictures(run: RunArgument,
             to: Annotated[Path | None, typer.Option("--to", help="Folder; store/pictures/KEY if not given")] = None,
             images: Annotated[int, typer.Option("--images", help="How many", min=1)] = 8,
             task: TaskOption = None, seed: SeedOption = None, changes: SetOption = None,
             study: StudyOption = DEFAULT_STUDY, trust_plugins: TrustOption = False) -> None:  # fmt: skip
    """Draw what a run and its teachers say of some images beside what is there: labels, boxes, masks in colour."""
    from redistill.performance.profile import is_key
    from redistill.pictures.show import draw

    keys = [run]
    if not is_key(run):
        plan = plan_of_experiment(run, study, task, [seed if seed is not None else 0], changes)
        keys = [line.key for line in plan.runs if plan.nodes[line.key].config["task"]["input"] == "image"]
        if not keys:
            raise RedistillError(f"`{run}` reads no images: pictures are drawn of what was predicted of images")
    if to is not None and len(keys) > 1:
        raise RedistillError(f"these are {len(keys)} runs, and `--to` names one folder: say of which --task")
    for key in keys:
        print(draw(root_of_project(), key, to, images))
