"""The process in which things are made once more: `python -m redistill.audit.maker PARENT`, a task a line.

Answers go to standard output, a line each; whatever else is printed goes to standard error.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from redistill import environment, failures, ranks, registry
from redistill.interruption import die_with_parent
from redistill.jobs import function_of, several
from redistill.provenance import store
from redistill.provenance.machine import machine

Told = dict[str, Any]


def main() -> None:
    """Do what is told until nothing more is; with a second argument, be one of several processes at one thing."""
    die_with_parent(int(sys.argv[1]))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if len(sys.argv) > 2:
        told = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
        ranks.be_one(lambda: _join(told), lambda error: failures.explained(error))
    for line in sys.stdin:
        answers.write(json.dumps(_answer(json.loads(line))) + "\n")
        answers.flush()


def _answer(told: Told) -> dict[str, Any]:
    try:
        _prepare(told)
        made = told["kind"] if told["predicted"] is None else "predictions"
        counted = _together(told) if several(made, told["runtime"]) else _make(told)
        return _compared(told, counted)
    except Exception as error:
        machine = isinstance(error, OSError | MemoryError)
        return {"differ": [], "error": failures.explained(error), "machine": machine}


def _prepare(told: Told) -> None:
    environment.pin(told["runtime"])
    registry.use(registry.Plugin(p["kind"], p["name"], Path(p["file"]), p["sha256"]) for p in told["plugins"])


def _work(told: Told) -> Path:
    return Path(told["folder"]) / "result"


def _together(told: Told) -> dict[str, Any]:
    """What was counted by processes that make a thing together, as several devices did."""
    file = Path(told["folder"]) / "task.json"
    _work(told).mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(told), encoding="utf-8")
    command = [sys.executable, "-m", "redistill.audit.maker", str(os.getpid()), str(file)]
    ranks.together(Path.cwd(), command, environment.devices(told["runtime"]))
    counted: dict[str, Any] = json.loads(_counted(told).read_text(encoding="utf-8"))
    for left in (file, _counted(told)):
        left.unlink()
    return counted


def _join(told: Told) -> None:
    _prepare(told)
    counted = _make(told)
    if not int(os.environ["RANK"]):
        _counted(told).write_text(json.dumps(counted), encoding="utf-8")


def _counted(told: Told) -> Path:
    return Path(told["folder"]) / "counted.json"


def _make(told: Told) -> dict[str, Any]:
    work, inputs = _work(told), {role: Path(folder) for role, folder in told["inputs"].items()}
    work.mkdir(parents=True, exist_ok=True)
    if told["predicted"] is not None:
        return predict_again(told["config"], inputs, Path(told["predicted"]), work)
    return function_of(told["kind"])(told["config"], inputs, work)


def predict_again(config: dict[str, Any], inputs: dict[str, Path], run: Path, work: Path) -> dict[str, Any]:
    """Write predictions.parquet, as the run did once it was trained, with the weights that are in its folder."""
    from redistill.evaluation.evaluate import read_choice  # now, as what computes waits until the runtime is pinned
    from redistill.models import load, predict

    if "trials" in config:
        config = config["trials"][read_choice(inputs["choice"])["chosen"]]
    load.prepare_torch(config["runtime"], config["task"])
    model, data = load.load_run(run, config["runtime"]), predict.unseen(config, inputs)
    predict.write(model, data, config, work)
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
    return {"differ": differ, "scores": scores, "machine_here": machine() if differ else {}}


def _scores(told: Told) -> dict[str, list[float]]:
    if not told["metrics"]:
        return {}
    from redistill.evaluation.evaluate import score

    sides = (Path(told["stored"]), _work(told))
    return {metric: [float(score(side, metric, "dev")["value"]) for side in sides] for metric in told["metrics"]}


if __name__ == "__main__":
    main()
