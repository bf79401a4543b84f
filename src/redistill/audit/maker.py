"""The process in which things are made once more: `python -m redistill.audit.maker PARENT`, a task a line.

Answers go to standard output, a line each; whatever else is printed goes to standard error.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from redistill import environment, failures, registry
from redistill.interruption import die_with_parent
from redistill.jobs import function_of, other_processes
from redistill.provenance import store
from redistill.provenance.machine import machine

Told = dict[str, Any]


def main() -> None:
    """Do what is told until nothing more is; with a second argument, be one of several processes that make one run."""
    die_with_parent(int(sys.argv[1]))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if len(sys.argv) > 2:
        told = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
        _prepare(told)
        _make(told)
        return
    for line in sys.stdin:
        answers.write(json.dumps(_answer(json.loads(line))) + "\n")
        answers.flush()


def _answer(told: Told) -> dict[str, Any]:
    try:
        _prepare(told)
        trained = told["kind"] if told["predicted"] is None else "predictions"
        with other_processes(Path.cwd(), trained, told["runtime"], _beside(told)):
            counted = _make(told)
        return _compared(told, counted)
    except Exception as error:
        machine = isinstance(error, OSError | MemoryError)
        return {"differ": [], "error": failures.explained(error), "machine": machine}


def _prepare(told: Told) -> None:
    environment.pin(told["runtime"])
    registry.use(registry.Plugin(p["kind"], p["name"], Path(p["file"]), p["sha256"]) for p in told["plugins"])


def _work(told: Told) -> Path:
    return Path(told["folder"]) / "result"


def _beside(told: Told) -> list[str]:
    """The command of the other processes of a run that several train together."""
    file = Path(told["folder"]) / "task.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(told), encoding="utf-8")
    return [sys.executable, "-m", "redistill.audit.maker", str(os.getpid()), str(file)]


def _make(told: Told) -> dict[str, Any]:
    work, inputs = _work(told), {role: Path(folder) for role, folder in told["inputs"].items()}
    work.mkdir(parents=True, exist_ok=True)
    if told["predicted"] is not None:
        return _predict(told["config"], inputs, Path(told["predicted"]), work)
    return function_of(told["kind"])(told["config"], inputs, work)


def _predict(config: dict[str, Any], inputs: dict[str, Path], run: Path, work: Path) -> dict[str, Any]:
    """Write predictions.parquet, as the run did once it was trained, with the weights that are in its folder."""
    from redistill.data import examples  # only now, as what computes is imported once the runtime is pinned
    from redistill.evaluation.evaluate import read_choice
    from redistill.models import load, predict

    if "trials" in config:
        config = config["trials"][read_choice(inputs["choice"])["chosen"]]
    load.prepare_torch(config["runtime"], config["task"])
    splits = [split for split in ("dev", "select") if (inputs["dataset"] / f"{split}.parquet").is_file()]
    data = examples.load(config["task"], inputs, splits)
    model = load.load_run(run, config["runtime"])
    logits = predict.logits_over(model, data, config["evaluation"]["batch_size"], config["runtime"]["device"])
    predict.write_predictions(work / "predictions.parquet", data, logits)
    return {"examples": len(data)}


def _compared(told: Told, counted: dict[str, Any]) -> dict[str, Any]:
    """Which files differ; the new ones are in the folder afterwards, and nothing else."""
    folder, work = Path(told["folder"]), _work(told)
    if "counts.json" in told["files"]:
        (work / "counts.json").write_text(store.pretty(counted), encoding="utf-8")
    made = {name: entry["sha256"] for name, entry in store.manifest_of(work, {})["files"].items()}
    asked = told["files"]
    differ = sorted(name for name in asked.keys() | made.keys() if asked.get(name) != made.get(name))
    scores = _scores(told) if differ else {}
    for file in work.iterdir():
        shutil.move(file, folder / file.name)
    for left in (work, folder / "progress"):
        shutil.rmtree(left, ignore_errors=True)
    (folder / "task.json").unlink()
    return {"differ": differ, "scores": scores, "machine_here": machine() if differ else {}}


def _scores(told: Told) -> dict[str, list[float]]:
    if not told["metrics"]:
        return {}
    from redistill.evaluation.evaluate import score

    sides = (Path(told["stored"]), _work(told))
    return {metric: [float(score(side, metric, "dev")["value"]) for side in sides] for metric in told["metrics"]}


if __name__ == "__main__":
    main()
