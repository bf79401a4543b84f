"""Commands that show a study: as a page, and as figures for papers."""

from pathlib import Path
from typing import Annotated

import typer

from redistill.cli.application import DEFAULT_STUDY, StudyArgument, app, root_of_project
from redistill.cli.overview import LOOK
from redistill.errors import RedistillError

PANEL = LOOK


@app.command(rich_help_panel=PANEL)
def report(
    study: StudyArgument = DEFAULT_STUDY,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File; results/STUDY/report.html if not given")
    ] = None,
    pages: Annotated[
        Path | None, typer.Option("--pages", help="Folder for the same as several files, for a web server")
    ] = None,
    parts: Annotated[
        Path | None, typer.Option("--parts", help="Folder for it with tables and pictures, as Snakemake takes them")
    ] = None,
) -> None:
    """Write a study as one page that opens offline: tables whose numbers open, pictures, times, licences."""
    from redistill.report import write

    if sum(given is not None for given in (output, pages, parts)) > 1:
        raise RedistillError("--output, --pages and --parts each say where the report goes: give one of them")
    root = root_of_project()
    if parts is not None:
        file, made = parts / write.NAME, write.parts(root, study, parts)
    else:
        file, made = write.write(root, study, output, pages)
    print(f"{file}: {len(made.overview['cells'])} numbers, {file.stat().st_size / 1e6:.1f} MB")
    for line in made.cut:
        print(f"  {line}")


@app.command(rich_help_panel=PANEL)
def figure(
    study: StudyArgument,
    name: Annotated[str, typer.Argument(help="bars, pareto, gap, pairs, curves, reliability, confusion; or table")],
    form: Annotated[str, typer.Option("--format", "-f", help="svg, pdf or png; tex of a table")] = "",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File; STUDY-NAME.FORMAT if not given")] = None,
    table: Annotated[str | None, typer.Option("--table", "-T", help="Table; the first if not given")] = None,
    column: Annotated[str | None, typer.Option("--column", "-c", help="Column; the first if not given")] = None,
    row: Annotated[str | None, typer.Option("--row", "-r", help="Row, of curves, reliability and confusion")] = None,
    cost: Annotated[
        str, typer.Option("--cost", help="Of pareto: parameters, operations, bytes or milliseconds")
    ] = "parameters",
) -> None:
    """Draw one figure of a study for a paper, as SVG, PDF or PNG; or a table for LaTeX, the best marked where it is."""
    from redistill.report.figures import TABLE, draw

    said = output.suffix.lstrip(".") if output is not None else ""
    chosen = form or said or ("tex" if name == TABLE else "svg")
    print(draw(root_of_project(), study, name, chosen, output, table, column, row, cost))
