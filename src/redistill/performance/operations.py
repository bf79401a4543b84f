"""Floating-point operations and parameters of the models of a plan, counted by torch on models without weights.

For what was never made and whose shape no formula says: images. Counted once a plan, and noted in the store's scratch.
"""

import json
from dataclasses import dataclass
from typing import Any

from redistill.plan import Plan
from redistill.provenance import store

Pair = tuple[str, str]  # a recipe and a task


@dataclass(frozen=True)
class Counted:
    """A model: operations of its forward pass on one example (on the blank text that `check` passes, for texts), and
    how many parameters it has.
    """

    operations: float
    parameters: int


def counted(plan: Plan) -> dict[Pair, Counted]:
    """The model that each recipe ends with, on each task; what cannot be built without weights is left out.

    Of a detector the backbone alone is counted: the rest depends on what is found.
    """
    note = plan.root / "store" / "work" / "operations" / f"{plan.target.key}.json"
    if not note.is_file():
        found = [[*pair, one.operations, one.parameters] for pair, one in _count(plan).items()]
        store.write_atomically(note, json.dumps(found), sync=False)
    return {(recipe, task): Counted(*values) for recipe, task, *values in json.loads(note.read_text(encoding="utf-8"))}


def _count(plan: Plan) -> dict[Pair, Counted]:
    from redistill.errors import RedistillError
    from redistill.training import blank
    from redistill.training.check import UnknownShapeError, last_models

    build, found, done = last_models(plan), dict[Pair, Counted](), dict[int, Counted]()
    for (recipe, task), config in plan.configs.items():
        if "student" not in config:
            continue
        try:
            with blank.META:
                model = build(recipe, task)
                if id(model) not in done:  # of equal models one is built, and kept
                    done[id(model)] = _counted(model, config["task"])
        except (UnknownShapeError, RedistillError, RuntimeError, TypeError, ValueError, NotImplementedError):
            continue  # of these nothing is known, which a forecast says
        found[recipe, task] = done[id(model)]
    return found


def _counted(model: Any, task: dict[str, Any]) -> Counted:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from redistill.models.detectors import needs_values
    from redistill.training import blank

    batch = blank.batch(task, 1)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        if needs_values(model):
            model.backbone(batch["image"][0][None])
        elif "image" in batch:
            model(batch["image"])
        else:
            model(**batch)
    return Counted(float(counter.get_total_flops()), sum(p.numel() for p in model.parameters()))
