"""The notebooks of the docs run from top to bottom, on a small study."""

import os
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nano_study import ROOT, Nano
from nbclient import NotebookClient

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
INSTEAD = {'"embedded"': '"nano"', '"image/student-kd"': '"nano/image-kd"', '"digits"': '"nano-digits"',
           '"text/student-kd"': '"nano/student-kd"', '"text/teacher"': '"nano/teacher"',
           '"movie"': '"nano-movie"'}  # fmt: skip


def read(file: Path) -> Any:
    return nbformat.read(file, as_version=4)


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.name)
def test_a_notebook_runs_from_top_to_bottom(
    file: Path, finished_nano: Nano, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    for name in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    _kernel(tmp_path / "jupyter_data_dir" / "kernels" / "python3")
    notebook = read(file)
    for cell in notebook.cells:
        for old, new in INSTEAD.items() if cell.cell_type == "code" else ():
            cell.source = cell.source.replace(old, new)
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(finished_nano.root)}})
    client.execute()  # raises with the cell that fails
    last = [cell for cell in notebook.cells if cell.cell_type == "code"][-1]
    assert last.outputs, "the last cell shows something"


def _kernel(folder: Path) -> None:
    """This very Python as the kernel `python3`."""
    folder.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    said = f'{{"argv": {argv!r}, "display_name": "Python 3", "language": "python"}}'.replace("'", '"')
    (folder / "kernel.json").write_text(said, encoding="utf-8")


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.name)
def test_a_notebook_in_git_has_no_output_and_no_trace_of_a_machine(file: Path) -> None:
    notebook = read(file)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert len(notebook.cells) < 25
