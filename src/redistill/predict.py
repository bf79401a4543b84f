"""What a finished run, or its export in ONNX, says of examples of the user's own: texts of a table, or pictures."""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from redistill.deploy.folder import Exported
from redistill.errors import RedistillError, nearest, writing
from redistill.lineage import Finished

if TYPE_CHECKING:
    from pandas import DataFrame


Model: TypeAlias = Finished | Exported
BATCH = 64  # examples; those of a kind of task that takes more memory come one by one
# what pandas reads a file with, by its ending
READERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".csv": ("read_csv", {"keep_default_na": False}), ".tsv": ("read_csv", {"sep": "\t", "keep_default_na": False}),
    ".jsonl": ("read_json", {"lines": True}), ".parquet": ("read_parquet", {}),
}  # fmt: skip
SPLIT = "dev"  # what the examples are called on the way


def predict(run: Model, given: "Path | DataFrame", text: str = "text", pair: str | None = None) -> "DataFrame":
    """What a run says of every example, in their order.

    Of classes, `prediction` is a label, and there is a column for each label with its probability; of scores,
    `prediction` is the score. Of boxes, there is a line a box: label, score, left, top, right, bottom in pixels. Of
    masks, `prediction` is a PNG of classes by pixel. Numbers are those of the run's own evaluation, to rounding.

    Args:
        given: for texts, a table, or a file that has one (.csv, .tsv, .jsonl, .parquet); its columns are kept. For
            pictures, one, or a folder of them; the column `file` says which.
        text, pair: the columns of the text, and of the second one where the task is about two.

    Raises:
        RedistillError: the file cannot be read, has no such column, or lacks a text; or the run sees no files of
            pictures.
    """
    import pandas as pd

    with tempfile.TemporaryDirectory() as work:
        if run.is_text:
            table = given if isinstance(given, pd.DataFrame) else _read(given)
            return _of_texts(run, table, text, pair, Path(work))
        if isinstance(given, pd.DataFrame):
            raise RedistillError(f"{run.title} looks at pictures: give a file or a folder")
        return _of_pictures(run, given, Path(work))


def write(said: "DataFrame", to: Path | None) -> None:
    """Write what was said as CSV, to standard output if no file is given; masks as PNG files below a folder.

    Raises:
        RedistillError: masks have no folder to go to, or a file cannot be written.
    """
    if "prediction" in said and said["prediction"].map(lambda value: isinstance(value, bytes)).any():
        if to is None:
            raise RedistillError("masks are pictures: name a folder for them with -o")
        for file, mask in zip(said["file"], said["prediction"], strict=True):
            place = (to / file).with_suffix(".png")
            with writing(place):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(mask)
    elif to is None:
        said.to_csv(sys.stdout, index=False)
    else:
        with writing(to):
            to.parent.mkdir(parents=True, exist_ok=True)
            said.to_csv(to, index=False)


def _read(file: Path) -> "DataFrame":
    import pandas as pd

    if file.suffix.lower() not in READERS:
        raise RedistillError(f"{file}: it is read by its ending, which is to be one of {', '.join(READERS)}")
    reader, options = READERS[file.suffix.lower()]
    try:
        table: pd.DataFrame = getattr(pd, reader)(file, **options)
    except FileNotFoundError:
        raise RedistillError(f"{file}: there is no such file") from None
    except (OSError, ValueError) as error:  # pandas' and pyarrow's own are among them
        raise RedistillError(f"{file}: cannot be read as a table: {error}") from None
    return table


def _of_texts(run: Model, table: "DataFrame", text: str, pair: str | None, work: Path) -> "DataFrame":
    import pandas as pd

    from redistill.data.tokenise import tokenise

    columns = {"text": text} | ({"text_pair": pair} if pair else {})
    for column in columns.values():
        _check(table, column)
    if table.empty:
        return table.assign(prediction=pd.Series(dtype=object))
    given = pd.DataFrame({name: table[column].astype(str) for name, column in columns.items()})
    given = given.assign(id=[str(i) for i in range(len(table))], label=None)
    given.to_parquet(work / f"{SPLIT}.parquet", index=False)
    counted = tokenise({"max_length": run.max_length}, {"dataset": work, "tokenizer": run.folder}, work)
    said = _said(run, {"dataset": work, "tokens": work}, table)
    said.attrs["cut"] = counted["cut"]
    return said


def _check(table: "DataFrame", column: str) -> None:
    if column not in table.columns:
        names = [str(name) for name in table.columns]
        raise RedistillError(f"there is no column `{column}`; {nearest(column, names)}: name the text's with --text")
    empty = table[column].isna() | (table[column].astype(str).str.strip() == "")
    if empty.any():
        raise RedistillError(
            f"row {int(empty.to_numpy().argmax()) + 1} has nothing in `{column}`, as have {int(empty.sum())} rows in "
            "all: leave them out"
        )


def _of_pictures(run: Model, given: Path, work: Path) -> "DataFrame":
    import pandas as pd

    from redistill.data.listing import read
    from redistill.data.picture_files import files_below, is_picture
    from redistill.data.prepare_images import write_pictures

    if run.task["type"] == "classification" and not run.config["evaluation"]["transforms"]:
        raise RedistillError(
            f"{run.title} sees arrays as its data set has them, without transforms, so no file of a picture can be "
            "given to it: train one whose task reads files"
        )
    files = [given] if given.is_file() else [f for f in files_below(given) if is_picture(f)] if given.is_dir() else []
    if not files:
        raise RedistillError(f"{given}: there is no picture there; .jpg, .png and their like are read")
    names = [file.name if given.is_file() else file.relative_to(given).as_posix() for file in files]
    examples = [{"id": name, "image": file} for name, file in zip(names, files, strict=True)]
    write_pictures(work, SPLIT, examples, run.task, labelled=False, read=read)
    return _said(run, {"dataset": work}, pd.DataFrame({"file": names}))


def _said(run: Model, inputs: dict[str, Path], table: "DataFrame") -> "DataFrame":
    from redistill.data import examples
    from redistill.models.predict import predictions

    data = examples.load(run.task, inputs, [SPLIT], run.config["evaluation"]["transforms"])
    size = BATCH if run.is_text else min(BATCH, run.config["evaluation"]["batch_size"])
    return _in_words(predictions(run.model(), data, run.task, size, "cpu").to_pandas(), run.task, table)


def _in_words(said: "DataFrame", task: dict[str, Any], table: "DataFrame") -> "DataFrame":
    import numpy as np
    import pandas as pd
    from scipy.special import softmax

    labels = task["labels"]
    if task["type"] == "detection":
        lines = [
            {**given, "label": labels[label], "score": score,
             **dict(zip(("left", "top", "right", "bottom"), box, strict=True))}
            for given, found in zip(table.to_dict("records"), said.to_dict("records"), strict=True)
            for box, label, score in zip(found["boxes"], found["classes"], found["scores"], strict=True)
        ]  # fmt: skip
        return pd.DataFrame(lines, columns=[*table.columns, "label", "score", "left", "top", "right", "bottom"])
    kept = table.reset_index(drop=True)
    if task["type"] != "classification":
        return kept.assign(prediction=said["prediction"].to_numpy())
    shares = softmax(np.stack(said["logits"].tolist()).astype(np.float64), axis=1)
    kept = kept.assign(prediction=[labels[i] for i in said["prediction"]])
    return kept.assign(**{f"probability of {label}": shares[:, i] for i, label in enumerate(labels)})
