"""Curves as TensorBoard's event files, a folder a run. Needs tensorboard alone, not TensorFlow."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from redistill.extras import bring
from redistill.tracking.curves import Point

FINISHED = "finished.txt"  # in a run's folder, once all of it was written: its manifest's digest


def folder_of(root: Path, title: str, key: str) -> Path:
    """Where a run's event files are, below a folder for each part of its title."""
    parts = [part.replace(" ", "-") for part in title.split(" · ")]
    return root / "tracking" / "tensorboard" / Path(*parts[:-1]) / f"{parts[-1]}-{key}"


class Board:
    """One run's event files, begun anew."""

    def __init__(self, root: Path, title: str, key: str):
        summary = bring("tensorboard.summary", "tracking", "TensorBoard's event files")
        self.folder = folder_of(root, title, key)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.writer: Any = summary.Writer(str(self.folder))

    def add(self, points: Iterable[Point]) -> None:
        for point in points:
            self.writer.add_scalar(point.name, point.value, point.step)
        self.writer.flush()

    def close(self, made: str | None) -> None:
        """Args:
        made: the digest of the run's manifest; None if it was not made.
        """
        self.writer.close()
        if made is not None:
            (self.folder / FINISHED).write_text(f"{made}\n", encoding="utf-8")


def has(root: Path, title: str, key: str, made: str) -> bool:
    """Whether all of a run was written before."""
    file = folder_of(root, title, key) / FINISHED
    return file.is_file() and file.read_text(encoding="utf-8").strip() == made
