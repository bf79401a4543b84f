"""Write an exported folder: graph, what its inputs are made with, scores beside the run's, README, digests."""

import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from redistill import __version__
from redistill.deploy import DESCRIPTION, MODEL, README, RESOLVED, SCORES
from redistill.lineage import Finished
from redistill.models import TOKENIZER_FILES
from redistill.provenance import store

FILES = (MODEL, SCORES, DESCRIPTION, README, RESOLVED, *TOKENIZER_FILES)
PACKAGES = ("onnx", "onnxruntime", "onnxscript", "torch", "transformers")


def write(run: Finished, form: str, dataset: Path, folder: Path, licence: str | None) -> dict[str, Any]:
    """Fill a folder with a run in ONNX, checked on `dev`; returns the scores.

    Args:
        form: `onnx` or `int8`.
        dataset: the folder of the run's examples.

    Raises:
        RedistillError: it cannot be exported, or says something else than the run.
    """
    from redistill.deploy import graph, quantise, readme, verify

    for name in (RESOLVED, *(TOKENIZER_FILES if run.is_text else ())):
        if (run.folder / name).is_file():
            shutil.copyfile(run.folder / name, folder / name)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        data = verify.on_dev(run, dataset, folder, work)
        whole = folder / MODEL if form == "onnx" else work / "whole.onnx"
        graph.write(run, data, whole)
        made = "float32" if form == "onnx" else quantise.quantise(run, dataset, whole, folder / MODEL)
        scores = {"run": run.key, "form": form, "made": made, **verify.compare(run, form, folder / MODEL, data)}
    (folder / SCORES).write_text(store.pretty(scores), encoding="utf-8")
    inputs = _described(folder / MODEL)
    (folder / README).write_text(readme.readme(run, form, inputs, scores, licence), encoding="utf-8")
    files = {file.name: _digest(file) for file in sorted(folder.iterdir())}
    said = {
        "redistill": __version__, "run": run.title, "key": run.key, "form": form, **inputs,
        "labels": run.task["labels"] or ["score"], "max_length": run.max_length if run.is_text else None,
        "packages": {name: version(name) for name in PACKAGES}, "files": files,
    }  # fmt: skip
    (folder / DESCRIPTION).write_text(store.pretty(said), encoding="utf-8")
    return scores


def _digest(file: Path) -> dict[str, Any]:
    return {"sha256": store.sha256_file(file), "size": file.stat().st_size}


def _described(file: Path) -> dict[str, Any]:
    """Inputs and outputs of a graph: name, type, and shape with names where a size is free."""
    from redistill.deploy.session import opened

    session = opened(file)
    return {
        side: [{"name": one.name, "type": one.type, "shape": list(one.shape)} for one in found]
        for side, found in (("inputs", session.get_inputs()), ("outputs", session.get_outputs()))
    }
