"""Write a study's report: results/STUDY/report.html, pages for hosting, or the files that Snakemake's report takes."""

import shutil
from pathlib import Path

from redistill.errors import RedistillError
from redistill.provenance.store import write_atomically
from redistill.report import charts, figures
from redistill.report.content import Report, gather
from redistill.report.page import INDEX, one_file, pages
from redistill.report.reading import read

NAME = "report.html"


def write(root: Path, study: str, to: Path | None = None, folder: Path | None = None) -> tuple[Path, Report]:
    """Make a report and return its file.

    Args:
        to: the file; results/STUDY/report.html if not given.
        folder: of the same as pages; it must not exist, or hold such pages.

    Raises:
        RedistillError: the study has no results, they cannot be read, or the report cannot be written.
        IntegrityError: a file of the store is not what was published.
    """
    if folder is not None and folder.exists() and any(folder.iterdir()) and not (folder / INDEX).is_file():
        raise RedistillError(
            f"{folder} holds other things than a report: name an empty folder, or a new one, with --pages"
        )
    report = gather(read(root, study))
    try:
        if folder is None:
            file = to if to is not None else root / "results" / study / NAME
            write_atomically(file, one_file(report), sync=False)
            return file, report
        for old in (folder / "data").glob("*.json"):
            old.unlink()
        for name, text in pages(report).items():
            write_atomically(folder / name, text, sync=False)
        return folder / INDEX, report
    except OSError as error:
        raise RedistillError(
            f"{error.filename or to or folder}: the report cannot be written ({error.strerror})"
        ) from None


def parts(root: Path, study: str, folder: Path) -> Report:
    """Write the page into a folder and to results/STUDY/, and beside it the tables as CSV and pictures of each as SVG.

    Raises:
        RedistillError: the study has no results, they cannot be read, or the folder cannot be written.
        IntegrityError: a file of the store is not what was published.
    """
    file, report = write(root, study)
    try:
        for name in ("tables", "pictures"):
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).mkdir(parents=True)
        for table in report.study.published.tables:
            shutil.copyfile(file.with_name(f"{table}.csv"), folder / "tables" / f"{table}.csv")
        for name, of in report.looked.items():
            for picture, chart in figures.of_table(report.study, of).items():
                drawn = figures.rendered(charts.finished(chart, f"{name}: {picture}", paper=True), "svg")
                (folder / "pictures" / f"{name}-{picture}.svg").write_text(str(drawn), encoding="utf-8")
        shutil.copyfile(file, folder / NAME)
    except OSError as error:
        raise RedistillError(f"{error.filename or folder}: the report cannot be written ({error.strerror})") from None
    return report
