"""What `redistill plan --profile` does: a study simulated on a machine."""

from pathlib import Path
from typing import Any

from redistill.errors import RedistillError, writing


def refuse_without_profile(**given: Any) -> None:
    """Refuse what belongs to a simulation where none is asked for.

    Raises:
        RedistillError: something of it is given.
    """
    for name, value in given.items():
        if value:
            raise RedistillError(f"--{name} is of a simulation: say on which machine, with --profile NAME")


def show_forecast(root: Path, study: str, machine: str, anew: bool, as_json: bool, picture: Path | None) -> None:
    """Simulate a study on a machine and print what it would take; draw it where a picture is wanted."""
    from redistill.cli.application import print_json
    from redistill.config.machines import read_machine
    from redistill.performance import forecast_picture
    from redistill.performance.forecast import forecast
    from redistill.plan import make_plan

    name, profile = read_machine(root, machine)
    found = forecast(make_plan(root, study), profile, name, anew)
    if as_json:
        print_json(found.numbers())
    elif not found.needs:
        print(f"{study}: everything is there, and nothing is left to simulate; --anew simulates all of it")
    if found.needs and picture is not None:
        with writing(picture):
            forecast_picture.write(found, picture)
    if found.needs and not as_json:
        print(found)
