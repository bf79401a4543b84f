"""Write a run that is there, or as it is made, to all that a study's `tracking` names."""

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError
from redistill.provenance import record, store
from redistill.tracking.curves import Curves, Point
from redistill.tracking.mlflow import Experiment, Run
from redistill.tracking.tensorboard import Board, has

Told = dict[str, Any]  # tensorboard, mlflow, and the name of the study


def places(root: Path, told: Told) -> Iterator[str]:
    """Where it is written, in words."""
    if told.get("tensorboard"):
        yield str((root / "tracking" / "tensorboard").relative_to(root))
    if told.get("mlflow"):
        yield str(told["mlflow"])


class Writers:
    """All places of one run, begun anew; or those alone that have not the whole of it."""

    def __init__(self, root: Path, told: Told, key: str, title: str, config: dict[str, Any], made: str | None = None):
        begin, self.end = _times(root, key)
        self.all: list[Board | Run] = []
        if told.get("tensorboard") and not (made and has(root, title, key, made)):
            self.all.append(Board(root, title, key))
        if told.get("mlflow"):
            experiment = Experiment(root, told["mlflow"], told["study"])
            if not (made and experiment.has(key, made)):
                self.all.append(Run(experiment, title, key, config, begin))

    def add(self, points: list[Point]) -> None:
        for writer in self.all if points else ():
            writer.add(points)

    def close(self, made: str | None) -> None:
        for writer in self.all:
            if isinstance(writer, Run):
                writer.close(made, self.end)
            else:
                writer.close(made)


def _times(root: Path, key: str) -> tuple[float | None, float | None]:
    """When a run was begun and done, in seconds since 1970, by its record."""
    with suppress(OSError, ValueError, LookupError, TypeError, RedistillError):
        noted = record.read(record.place(root, key))
        begin, end = (datetime.fromisoformat(noted[name]).timestamp() for name in ("start", "end"))
        return begin, end
    return None, None


def scores(folder: Path, last: int) -> list[Point]:
    """What a run that is there got on `dev`, every metric of its task, at its last step."""
    from redistill.card import metrics_for
    from redistill.evaluation.evaluate import score

    task = json.loads((folder / "resolved.json").read_text(encoding="utf-8"))["task"]
    if not (folder / "predictions.parquet").is_file():
        return []
    return [Point(f"dev/{name}", last, float(score(folder, name, "dev")["value"])) for name in metrics_for(task)]


def write_made(root: Path, told: Told, key: str, title: str) -> bool:
    """Write a run that is there; False if all places have it already.

    Raises:
        RedistillError: a place cannot be written to.
    """
    folder = root / "store" / "runs" / key
    made = store.digest_of(store.read_manifest(folder))
    config = json.loads((folder / "resolved.json").read_text(encoding="utf-8"))
    writers = Writers(root, told, key, title, config, made)
    if not writers.all:
        return False
    curves = Curves()
    writers.add(list(curves.new(folder / "log.jsonl")))
    writers.add(scores(folder, curves.before + curves.last))
    writers.close(made)
    return True
