"""The command that writes runs which are there to TensorBoard and MLflow."""

from typing import Annotated

import typer

from redistill.cli.application import DEFAULT_STUDY, StudyArgument, app, plan_of
from redistill.cli.overview import SHARE
from redistill.errors import RedistillError

PANEL = SHARE


@app.command(rich_help_panel=PANEL)
def track(
    study: StudyArgument = DEFAULT_STUDY,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Event files in tracking/tensorboard")] = False,
    mlflow: Annotated[str | None, typer.Option("--mlflow", help="Folder of the project, or a tracking URI")] = None,
) -> None:
    """Write the curves and scores of a study's runs to TensorBoard or MLflow; by default, where the study says."""
    from redistill import tracking
    from redistill.tracking.write import places, write_made

    plan = plan_of(study)
    said = plan.checked.study.tracking.model_dump()
    told = {"tensorboard": tensorboard, "mlflow": mlflow} if tensorboard or mlflow else said
    if not tracking.is_asked(told):
        raise RedistillError(
            "say where to write: --tensorboard or --mlflow URI, or `tracking: {tensorboard: true}` in the study"
        )
    tracking.refuse_without_packages(told)
    told["study"] = plan.checked.name
    nodes = [node for node in plan.nodes.values() if node.kind in ("teacher", "student")]
    there = [node for node in nodes if plan.done(node.key)]
    written = sum(write_made(plan.root, told, node.key, node.title) for node in there)
    print(
        f"{', '.join(places(plan.root, told))}: {written} runs written, {len(there) - written} were there as they are"
    )
    if len(there) < len(nodes):
        print(f"{len(nodes) - len(there)} runs of the study are not made yet")
