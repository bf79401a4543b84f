"""Export: a finished run as a folder, for the Hugging Face hub or in ONNX, verified before it is put in place.

Imports no torch until it verifies.
"""

import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redistill import __version__
from redistill.deploy import FORMS
from redistill.deploy.folder import place as place_of_form
from redistill.errors import RedistillError, writing
from redistill.lineage import Finished, finished
from redistill.models import TOKENIZER_FILES
from redistill.provenance import store
from redistill.specification import read_specification

if TYPE_CHECKING:
    from numpy import ndarray

HUB = "hub"
KINDS = (HUB, *FORMS)
PROVENANCE = "provenance.json"
FILES = ("README.md", PROVENANCE, "config.json", "model.safetensors", "resolved.json", *TOKENIZER_FILES)
VERIFIED = 64  # examples; enough to see other weights, labels or tokens, and seconds for the largest models

Examples = tuple[list[str], "ndarray"]  # ids, and the logits on file (n, C)


def export(
    root: Path, key: str, to: Path | None = None, licence: str | None = None, language: str | None = None,
    force: bool = False, title: str = "", form: str = HUB,
) -> tuple[Path, bool]:  # fmt: skip
    """Write a run's export, verify it, and put it in place; returns its folder, and whether anything was written.

    Args:
        to: the folder; `place` of the project if not given.
        licence: of the model; else what its sources say.
        language: of the texts, for the hub.
        force: replace an export that differs.
        title: what the run is called where no record says so.
        form: `hub`, `onnx` or `int8`.

    Raises:
        RedistillError: there is no such run, the folder is another's, or the export does not give what is on file.
        IntegrityError: the run, or data that it is verified with, is not what its manifest says.
    """
    run = finished(root, key, title)
    target = Path(os.path.abspath(to if to is not None else place(root, key, form)))
    _refuse(root, target, form)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with writing(target):
            beside.mkdir(parents=True)
            if form == HUB:
                _copy(run, beside)
                verified = _verify_text(run, beside) if run.is_text else _verify_image(run, beside)
                _describe(run, beside, verified, licence, language)
            else:
                from redistill.deploy.write import write

                _know_plugins(run)
                write(run, form, _dataset(run), beside, licence)
            return target, _put(beside, target, force)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def place(root: Path, key: str, form: str) -> Path:
    """Where an export lies that was put nowhere else."""
    return root / "exports" / key if form == HUB else place_of_form(root, key, form)


def _refuse(root: Path, target: Path, form: str) -> None:
    """Refuse a place that holds anything but an export of this kind, before any work is done."""
    if target.is_relative_to(root / "store"):
        raise RedistillError(f"{target} is in the store, which has runs only: name another folder with -o")
    if not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir():
        raise RedistillError(f"{target} is no folder: name another with -o")
    if form == HUB:
        known = set(FILES)
    else:
        from redistill.deploy.write import FILES as FILES_IN_ONNX

        known = set(FILES_IN_ONNX)
    for file in sorted(target.iterdir()):
        if file.name not in known or file.is_symlink() or not file.is_file():
            raise RedistillError(f"{file} is no file of an export, so nothing was written: name another folder with -o")


def _copy(run: Finished, folder: Path) -> None:
    """What transformers, or redistill, opens. The tokenizer is told to cut texts where the run's were cut."""
    for name in ("model.safetensors", "resolved.json", *(("config.json", *TOKENIZER_FILES) if run.is_text else ())):
        if (run.folder / name).is_file():
            shutil.copyfile(run.folder / name, folder / name)
    if run.is_text:
        file = folder / "tokenizer_config.json"
        said = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        file.write_text(store.pretty({**said, "model_max_length": run.max_length}), encoding="utf-8")


def _describe(run: Finished, folder: Path, verified: int, licence: str | None, language: str | None) -> None:
    """Write the card, and the same for machines."""
    from redistill import card

    found = card.scores(run)
    card.model_card(run, found, verified, licence, language).save(folder / "README.md")
    said = {
        "redistill": __version__, "run": run.title, "key": run.key, "key_parts": run.parts,
        "files": run.manifest["files"], "code": card.code_digest(run), "made": card.made(run),
        "sources": [asdict(origin) for origin in run.origins],
        "upstream": {key: {"kind": p["kind"], "inputs": p["inputs"]} for key, p in run.upstream.items()},
        "results": {"split": "dev", "metrics": found}, "verified": verified,
    }  # fmt: skip
    (folder / PROVENANCE).write_text(store.pretty(said), encoding="utf-8")


def _put(made: Path, target: Path, force: bool) -> bool:
    """Rename what was made into place; False if the same is there already."""
    there = _digests(target)
    if not there:
        made.rename(target)  # onto nothing, or onto an empty folder
        return True
    new = _digests(made)
    different = sorted(name for name in new.keys() | there.keys() if new.get(name) != there.get(name))
    if not different:
        return False
    if not force:
        raise RedistillError(
            f"{target / different[0]} is not what would be exported now, and nothing was written: replace the export "
            "with --force, or name another folder with -o"
        )
    old = made.with_name(f"{made.name}.old")
    target.rename(old)
    made.rename(target)
    shutil.rmtree(old)
    return True


def _digests(folder: Path) -> dict[str, str]:
    return {file.name: store.sha256_file(file) for file in folder.iterdir()} if folder.is_dir() else {}


# --- is it what is on file? -------------------------------------------------------------------------------------------


def _rows_on_file(run: Finished) -> list[dict[str, Any]]:
    """What the run says of some examples of `dev`, spread over all of them, in the order of their ids."""
    import numpy as np
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(run.folder / "predictions.parquet")
    table = table.filter(pc.equal(table["split"], "dev")).sort_by("id")
    rows: list[dict[str, Any]] = table.take(
        np.unique(np.linspace(0, len(table) - 1, min(VERIFIED, len(table))).astype(int))
    ).to_pylist()
    return rows


def _on_file(run: Finished) -> Examples:
    import numpy as np

    rows = _rows_on_file(run)
    return [row["id"] for row in rows], np.array([row["logits"] for row in rows], dtype=np.float32)


def _dataset(run: Finished) -> Path:
    """The folder of the examples that the predictions are of."""
    folder = run.root / "store" / "data" / run.parts["inputs"]["dataset"]
    if not store.is_done(folder):
        raise RedistillError(
            f"{run.title}: its dataset is not there ({folder.relative_to(run.root)}), and an export is verified on it: "
            "make it with `redistill prepare`, or bring it with `redistill pull`"
        )
    store.trust(run.root, folder)
    return folder


def _verify_text(run: Finished, folder: Path) -> int:
    """Compare what transformers' pipeline says with the logits on file; returns of how many examples."""
    import numpy as np
    import pyarrow.parquet as pq

    from redistill.deploy.verify import refuse_other_logits

    ids, logits = _on_file(run)
    rows = {row["id"]: row for row in pq.read_table(_dataset(run) / "dev.parquet").to_pylist()}
    given = [{part: rows[i][part] for part in ("text", "text_pair") if rows[i].get(part) is not None} for i in ids]
    labels = run.task["labels"] or ["score"]
    try:
        said = _pipeline(folder)(given, truncation=True, top_k=None, function_to_apply="none")
        by_label = [{one["label"]: one["score"] for one in of_text} for of_text in said]
        found = np.array([[scores[label] for label in labels] for scores in by_label])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise RedistillError(
            f"{run.title}: transformers' pipeline does not take it ({type(error).__name__}: {first}); nothing was "
            "exported"
        ) from None
    refuse_other_logits(run, ids, found, logits, "the export")
    return len(ids)


def _pipeline(folder: Path) -> Any:
    from transformers import pipeline
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return pipeline("text-classification", model=str(folder), device="cpu")


def _know_plugins(run: Finished) -> None:
    """Its architecture may be a plugin's, which the specification knows."""
    with suppress(RedistillError):
        read_specification(run.root, run.key)


def _verify_image(run: Finished, folder: Path) -> int:
    """Compare what the exported weights say with the logits on file; returns of how many examples."""
    _know_plugins(run)
    import numpy as np
    import torch

    from redistill.data import examples
    from redistill.data.pictures import STORED
    from redistill.deploy.verify import refuse_other_logits
    from redistill.models import agreement, load

    rows = _rows_on_file(run)
    model = load.load_run(folder, {**run.config["runtime"], "device": "cpu"})
    data = examples.load(run.task, {"dataset": _dataset(run)}, ["dev"], run.config["evaluation"]["transforms"])
    place = {i: index for index, i in enumerate(data.ids)}
    logits, shares = list[Any](), list[float]()
    with torch.inference_mode():
        for row in rows:  # one by one: images may have several sizes
            index = np.array([place[row["id"]]])
            said = load.said_of(model, data.batch(index, seeds=data.seeds(index, STORED, 0)))
            if run.task["type"] in ("segmentation", "detection"):
                shares.append(agreement.shared(said, row))
            else:
                logits.append(said["logits"][0].float().numpy())
    if logits:
        on_file = np.array([row["logits"] for row in rows], dtype=np.float32)
        refuse_other_logits(run, [row["id"] for row in rows], np.stack(logits), on_file, "the export")
    elif (share := float(np.mean(shares))) < agreement.ENOUGH:
        raise RedistillError(
            f"{run.title}: of {len(rows)} images of `dev` the export says the same as what is on file in "
            f"{100 * share:.1f} % alone; nothing was exported. Was it trained with other versions of the packages?"
        )
    return len(rows)
