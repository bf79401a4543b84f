"""Write a study's report: results/STUDY/report.html, or a folder of pages for hosting."""

from pathlib import Path

from redistill.errors import RedistillError
from redistill.provenance.store import write_atomically
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
        raise RedistillError(f"{folder} holds other things than a report: name an empty folder, or a new one, with --pages")
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
        raise RedistillError(f"{error.filename or to or folder}: the report cannot be written ({error.strerror})") from None
