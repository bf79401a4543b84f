"""Curves of a run's training, from its log: the loss and its terms, the rate, the metric that choices were made by."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redistill.report.reading import Content

EVALUATED = ("select", "dev")
APART = ("stage", "step", "rate", *EVALUATED)


def curves(file: Path, most: int) -> Content:
    """What a log holds, as points of at most so many steps; steps are counted through all stages.

    Returns `loss`, by term, `rate`, and `select` or `dev` where an evaluation was logged: lists of (step, value).
    """
    found: dict[str, Any] = {"loss": {}, "rate": []}
    before, stage, last = 0, 0, -1  # steps of the stages before, and the last one that this stage logged
    with file.open(encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            if line.get("stage", 0) != stage:
                before, stage, last = before + last + 1, line.get("stage", 0), -1
            last = max(last, int(line["step"]))
            step = before + int(line["step"])
            for name, value in line.items():
                if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
                    continue
                if name in EVALUATED:
                    found.setdefault(name, []).append((step, value))
                elif name == "rate":
                    found["rate"].append((step, value))
                elif name not in APART and not name.startswith("weight "):
                    found["loss"].setdefault(name, []).append((step, value))
    if set(found["loss"]) - {"loss"} and len(found["loss"]) == 2:
        found["loss"].pop("loss")  # of one term, the loss is that term, times its weight
    thin = {name: thinned(points, most) for name, points in found.items() if name != "loss"}
    return {**thin, "loss": {name: thinned(points, most) for name, points in found["loss"].items()}}


def thinner(found: Content, most: int) -> Content:
    """Curves of at most so many points."""
    thin = {name: thinned(points, most) for name, points in found["loss"].items()}
    evaluated = {name: thinned(found[name], most) for name in ("rate", *EVALUATED) if name in found}
    return {**found, **evaluated, "loss": thin}


def thinned(points: Sequence[Sequence[float]], most: int) -> list[list[float]]:
    """At most so many of them, evenly, the first and the last among them; values of four digits."""
    if len(points) > most > 1:
        points = [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]
    return [[step, float(f"{value:.4g}")] for step, value in points[: max(most, 1)]]
