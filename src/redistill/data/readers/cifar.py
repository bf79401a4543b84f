"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): official binary files, parquet of the hub, or a folder for each class.

All hold the same images; those of folders come in the order of their names.
"""

from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np

from redistill.data.readers.image_folder import image_folder
from redistill.data.readers.parquet import parquet
from redistill.errors import RedistillError

Example = dict[str, Any]
SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
FILES = {
    10: {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]},
    100: {"train": ["train.bin"], "test": ["test.bin"]},
}
BINARY = {10: "cifar-10-batches-bin", 100: "cifar-100-binary"}  # the folders of the official archives
HUB = {10: "plain_text", 100: "cifar100"}


def cifar(
    folder: Path, labels: list[str], task_type: str, *, classes: Literal[10, 100], coarse: bool = False
) -> tuple[dict[str, list[Example]], dict[str, Any]]:
    """Read the splits `train` and `test`, those of them that are there.

    Args:
        folder: the source's folder: `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`, or `train.bin` and
            `test.bin`, also in the official archive's folder; `train-00000-of-00001.parquet` and so on; or
            `train/LABEL/*.png` and so on.
        labels: the task's labels.
        task_type: the task's type.
        classes: 10 for CIFAR-10, 100 for CIFAR-100.
        coarse: the 20 coarse labels of CIFAR-100.

    Returns:
        For each split, examples `{"id", "image", "label"}`; an image is uint8 (3, 32, 32), or the place of its file.
        And how many rows there are.

    Raises:
        RedistillError: a file is not laid out as the official one; names it, and what to do.
    """
    if coarse and classes == 10:
        raise RedistillError("reader `cifar`: CIFAR-10 has no coarse labels: leave `coarse` out")
    wanted = 20 if coarse else classes
    if task_type == "classification" and len(labels) != wanted:
        raise RedistillError(f"reader `cifar`: there are {wanted} classes, and the task names {len(labels)} labels")
    found: dict[str, list[Example]] = {}
    for split in ("train", "test"):
        examples = _split(folder, split, labels, task_type, classes, coarse)
        if examples is not None:
            found[split] = examples
    if not found:
        pickled = any((folder / name / "batches.meta").is_file() for name in ("", "cifar-10-batches-py"))
        advice = "what is there is the Python version, pickles, which are never opened: take" if pickled else "take"
        raise RedistillError(f"{folder}: holds no file of CIFAR-{classes}: {advice} the binary version, or parquet")
    return found, Counter(rows=sum(map(len, found.values())))


def _split(
    folder: Path, split: str, labels: list[str], task_type: str, classes: int, coarse: bool
) -> list[Example] | None:
    """The examples of a split by the first way in which it is there; None if it is in none."""
    for inner in ("", BINARY[classes]):
        files = [folder / inner / name for name in FILES[classes][split]]
        if any(file.is_file() for file in files):
            return _binary(files, split, classes, coarse)
    for inner in ("", HUB[classes]):
        name = f"{split}-00000-of-00001.parquet"
        if (folder / inner / name).is_file():
            label = "label" if classes == 10 else "coarse_label" if coarse else "fine_label"
            return parquet(folder / inner, files={split: name}, image="img", label=label)[0][split]
    if (folder / split).is_dir():
        by_split, _ = image_folder(folder, labels, task_type, splits={split: split})
        assert isinstance(by_split, dict)
        return by_split[split]
    return None


def _binary(files: list[Path], split: str, classes: int, coarse: bool) -> list[Example]:
    """Rows of a label, or a coarse and a fine one, and 3072 pixels: red, green and blue, row by row."""
    ahead = 1 if classes == 10 else 2
    examples: list[Example] = []
    for file in files:
        if not file.is_file():
            raise RedistillError(f"{file}: is missing, and other files of `{split}` are there: take the whole archive")
        content = np.fromfile(file, dtype=np.uint8)
        if not len(content) or len(content) % (ahead + PIXELS):
            raise RedistillError(
                f"{file}: has {len(content)} bytes, no whole number of images of {ahead + PIXELS}: take the official "
                f"file of CIFAR-{classes} anew"
            )
        rows = content.reshape(-1, ahead + PIXELS)
        labels = rows[:, 0 if coarse or ahead == 1 else 1]
        most = 20 if coarse else classes
        if (labels >= most).any():
            row = int((labels >= most).argmax())
            raise RedistillError(f"{file}, image {row}: has the label {labels[row]} of {most}: take the official file")
        for pixels, label in zip(rows[:, ahead:].reshape(-1, *SHAPE), labels.tolist(), strict=True):
            examples.append({"id": f"{split}-{len(examples)}", "image": pixels, "label": label})
    return examples
