"""What a row's model costs: parameters, bytes, operations of one example, and what was measured of its speed.

Operations are counted by torch on a model without weights, so only where the configs still give the study that was
published. Speed is read where somebody measured it: store/latency/KEY.json, and results/STUDY/latency.json by key; what
exports score, where `redistill export` has put them.
"""

import json
from contextlib import suppress
from typing import Any

from redistill.deploy import FORMS
from redistill.deploy.folder import place, scores_in
from redistill.errors import RedistillError
from redistill.plan import Plan, make_plan
from redistill.provenance import store
from redistill.report.reading import Content, Study

WEIGHTS = "model.safetensors"
SPEED = ("form", "batch_size", "milliseconds", "per_second", "bytes", "score", "threads", "device")
SAME = {
    "latency_ms": "milliseconds",
    "throughput": "per_second",
    "variant": "form",
    "examples_per_second": "per_second",
}


def of_run(study: Study, key: str) -> Content:
    """Parameters and bytes of a run's weights, as far as they are known."""
    thing = study.things[key]
    if thing.kind == "outputs":
        thing = study.things.get(thing.inputs.get("teacher", ""), thing)
    found: Content = {"parameters": study.counts(thing).get("parameters")}
    weights = [said["size"] for name, said in thing.files.items() if name.endswith(".safetensors")]
    if WEIGHTS in thing.files:
        found["bytes"] = thing.files[WEIGHTS]["size"]
    elif weights:
        found["bytes"] = sum(weights)
    return {name: value for name, value in found.items() if value is not None}


def speed(study: Study, key: str) -> list[Content]:
    """What was measured of a run's speed, a line a form (float32, int8 ...); none if nobody did."""
    found: list[Content] = []
    beside = study.root / "store" / "latency" / f"{key}.json"
    together = study.root / "results" / study.name / "latency.json"
    with suppress(OSError, ValueError):
        found += _lines(json.loads(beside.read_text(encoding="utf-8")))
    with suppress(OSError, ValueError, AttributeError):
        found += _lines(json.loads(together.read_text(encoding="utf-8")).get(key, []))
    return found


def _lines(said: Any) -> list[Content]:
    lines = said.get("measurements", [said]) if isinstance(said, dict) else said
    found = []
    for line in lines if isinstance(lines, list) else []:
        if isinstance(line, dict):
            known = {SAME.get(name, name): value for name, value in line.items()}
            kept = {name: known[name] for name in SPEED if isinstance(known.get(name), (int, float, str))}
            if isinstance(kept.get("milliseconds"), (int, float)):
                found.append(kept)
    return found


def exported(study: Study, key: str, metric: str) -> list[Content]:
    """How a run's exports did beside it: form, both scores, and which share of the answers is the same (or None)."""
    found: list[Content] = []
    for form in FORMS:
        with suppress(RedistillError, ValueError, LookupError, TypeError):
            said = scores_in(place(study.root, key, form))
            scores = {name: float(said["metrics"][metric][name]) for name in ("run", "export")}
            agree = said["agree"] if isinstance(said["agree"], (int, float)) else None
            found.append({"form": form, **scores, "agree": agree})
    return found


def operations(study: Study) -> dict[tuple[str, str], float]:
    """Floating-point operations of the forward pass on one example by row and column; a text as long as its task's
    longest. Nothing where configs and published study are not the same any more, or models cannot be built here.
    """
    note = study.root / "store" / "work" / "operations" / f"report-{study.published.digest[:16]}.json"
    with suppress(OSError, ValueError):
        return {(row, task): float(n) for row, task, n in json.loads(note.read_text(encoding="utf-8"))}
    try:
        plan = make_plan(study.root, study.name)
    except (RedistillError, OSError):
        return {}
    if not {run.key for run in study.published.runs} <= {run.key for run in plan.runs}:
        return {}
    found = _counted(plan)
    lines = [[row, task, n] for (row, task), n in found.items()]
    with suppress(OSError):
        store.write_atomically(note, json.dumps(lines), sync=False)
    return found


def _counted(plan: Plan) -> dict[tuple[str, str], float]:
    from redistill.training.blank import META
    from redistill.training.check import UnknownShapeError, last_models

    build, done = last_models(plan), dict[tuple[int, int], float]()
    found: dict[tuple[str, str], float] = {}
    for (recipe, task), config in plan.configs.items():
        if "student" not in config:
            continue
        length = _length(plan, recipe, task)
        with suppress(UnknownShapeError, RedistillError, RuntimeError, TypeError, ValueError, NotImplementedError):
            with META:
                model = build(recipe, task)
                if (id(model), length) not in done:  # of equal models one is built, and kept
                    done[id(model), length] = _of_model(model, config["task"], length)
            found[recipe, task] = done[id(model), length]
    return found


def _length(plan: Plan, recipe: str, task: str) -> int:
    """Tokens of the longest text that the recipe's run reads; 0 of images."""
    for run in plan.runs:
        if (run.experiment, run.task) == (recipe, task):
            tokens = plan.nodes[run.key].inputs.get("tokens")
            return int(plan.nodes[tokens].config["max_length"]) if tokens else 0
    return 0


def _of_model(model: Any, task: dict[str, Any], length: int) -> float:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from redistill.models.detectors import needs_values
    from redistill.training import blank

    batch = blank.batch(task, 1)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        if needs_values(model):  # of a detector the backbone alone: the rest depends on what is found
            model.backbone(batch["image"][0][None])
        elif "image" in batch:
            model(batch["image"])
        else:
            model(**{name: _longer(ids, length) for name, ids in batch.items()})
    return float(counter.get_total_flops())


def _longer(ids: Any, length: int) -> Any:
    """A blank text (1, T) as one of so many tokens."""
    return ids[:, :1].expand(1, max(length, 1)).contiguous()
