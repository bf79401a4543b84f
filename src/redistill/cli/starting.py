"""The command that starts a study on data of one's own."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from redistill.cli.application import app, root_of_project
from redistill.cli.overview import STUDY
from redistill.errors import RedistillError

if TYPE_CHECKING:
    from redistill.new import Data

PANEL = STUDY


@app.command(rich_help_panel=PANEL)
def new(name: Annotated[str | None, typer.Argument(help="What the study is called; as its data if not given")] = None,
        table: Annotated[Path | None, typer.Option("--from-csv", help="Table of labelled texts, .csv or .tsv")] = None,
        images: Annotated[Path | None, typer.Option("--from-images", help="Folder with a folder of images for each "
                          "class")] = None,
        hub: Annotated[str | None, typer.Option("--from-hub", help="Data set of texts on the hub: OWNER/NAME")] = None,
        text: Annotated[str | None, typer.Option("--text", help="Column of the text; `text` if not given")] = None,
        label: Annotated[str | None, typer.Option("--label", help="Column of the label, or of the score")] = None,
        pair: Annotated[str | None, typer.Option("--pair", help="Column of a second text")] = None,
        scores: Annotated[bool, typer.Option("--scores", help="Labels are numbers to be predicted")] = False,
        labels: Annotated[str | None, typer.Option("--labels", help="Of the hub's numbers, such as no,yes")] = None,
        teacher: Annotated[str | None, typer.Option("--teacher", help="Source of a pretrained model")] = None,
        student: Annotated[list[str] | None, typer.Option("--student", help="Layers of the teacher's, such as 1,3,5; "
                           "of images, a network of timm; repeatable")] = None,
        methods: Annotated[list[str] | None, typer.Option("--method", help="Of distillation; repeatable; kd if not "
                           "given")] = None,
        seeds: Annotated[int, typer.Option("--seeds", min=1, help="Of each row")] = 3) -> None:  # fmt: skip
    """Write a study on your own data: task, teacher, students and floors, as files that you can change; checked."""
    from redistill import new as of

    asked = table is images is hub is None
    if asked:
        table, images, hub = _asked_for_data()
    given = [one for one in (table, images, hub) if one is not None]
    if len(given) > 1:
        raise RedistillError("a study begins with one of --from-csv, --from-images and --from-hub")
    data = _data(table, images, hub, text, label, pair, scores, labels)
    name = name or of.name_from(str(given[0]))
    if asked:
        name, teacher, student, methods, seeds = _asked_for_more(name, teacher, student, methods, seeds)
    root = root_of_project()
    wish = of.Wish(name, teacher, tuple(student or ()), tuple(methods or ["kd"]), seeds)
    for file in of.write(root, wish, data):
        print(file.relative_to(root))
    print(f"\nsnakemake --cores all --config study={name}     makes its table, results/{name}/main.md\n"
          f"redistill plan {name}                             says what that will take")  # fmt: skip


def _data(table: Path | None, images: Path | None, hub: str | None, text: str | None, label: str | None,
          pair: str | None, scores: bool, labels: str | None) -> "Data":  # fmt: skip
    """What was named, with its columns; who sits at a terminal is asked for those."""
    if images is not None:
        from redistill.new.images import Images

        return Images(images)
    if table is not None:
        from redistill.new import texts

        text, label = _columns(text, label, lambda: texts.columns_of(table))
        return texts.Table(table, text, label, pair, scores)
    from redistill.new import hub as of_hub

    assert hub is not None
    text, label = _columns(text, label, lambda: of_hub.columns_of(hub))
    return of_hub.OfHub(hub, text, label, pair, scores, tuple(labels.split(",")) if labels else ())


def _columns(text: str | None, label: str | None, there: Callable[[], list[str]]) -> tuple[str, str]:
    if text is not None and label is not None:
        return text, label
    columns = there()
    return _column(text, "--text", "text", columns), _column(label, "--label", "label", columns)


def _column(given: str | None, flag: str, what: str, columns: list[str]) -> str:
    """The column that was named, or is called so; else who sits at a terminal is asked."""
    if given is not None or what in columns:
        return given or what
    if not sys.stdin.isatty():
        raise RedistillError(f"say which column has the {what}, by {flag}; there are {', '.join(columns)}")
    answer: str = typer.prompt(f"Which column has the {what} ({', '.join(columns)})")
    return answer


def _asked_for_data() -> tuple[Path | None, Path | None, str | None]:
    """Table, folder of images or data set of the hub, whichever was typed."""
    if not sys.stdin.isatty():
        raise RedistillError(
            "say what the study is on: --from-csv FILE, --from-images FOLDER, or --from-hub OWNER/NAME"
        )
    typed: str = typer.prompt("Data: a table (.csv, .tsv), a folder of images, or OWNER/NAME of the hub")
    place = Path(typed.strip()).expanduser()
    if place.is_dir():
        return None, place, None
    return (place, None, None) if place.suffix.lower() in (".csv", ".tsv") else (None, None, typed.strip())


def _asked_for_more(
    name: str, teacher: str | None, student: list[str] | None, methods: list[str] | None, seeds: int
) -> tuple[str, str | None, list[str] | None, list[str] | None, int]:
    """What was not said is asked for; an empty line takes what is proposed."""
    name = typer.prompt("Name of the study", default=name)
    if teacher is None:
        teacher = typer.prompt("Teacher, of configs/sources.yaml", default="", show_default=False) or None
    if not student:
        written = typer.prompt("Students, with spaces between", default="", show_default=False)
        student = written.split() or None
    if not methods:
        methods = typer.prompt("Methods of distillation, with spaces between", default="kd").split()
    return name, teacher, student, methods, typer.prompt("Seeds of each row", default=seeds, type=int)
