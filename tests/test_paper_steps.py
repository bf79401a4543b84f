"""One step of each stage, and one evaluation, of every published vision experiment on tiny data, through the engine.

`make test` takes a few of them, which between them have every kind of task, teacher, stage and module; `make steps`
takes all.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT, HERE = Path(__file__).parents[1], Path(__file__).parent
VISION = json.loads((HERE / "paper_vision.json").read_text(encoding="utf-8"))["experiments"]
CIFAR = json.loads((HERE / "paper_experiments.json").read_text(encoding="utf-8"))["experiments"]
BASELINE = "imagenet/resnet-18@imagenet/ilsvrc2012"
ALL = [
    *sorted(f"{said['experiment']}@{said['task']}" for said in VISION.values()),
    *sorted(f"{said['experiment']}@{said['task']}" for said in CIFAR.values() if said["task"].startswith("cifar/")),
    BASELINE,
]
FEW = (
    "cifar/resnet-20@cifar/cifar10", "imagenet/kd@imagenet/ilsvrc2012", "imagenet/ft@imagenet/ilsvrc2012",
    "imagenet/sskd@imagenet/ilsvrc2012", "imagenet/pad-l2@imagenet/ilsvrc2012", BASELINE,
    "coco/ghnd-fasterrcnn@coco/detection", "coco/ktaad-lraspp@coco/segmentation",
    "voc/deeplabv3-resnet50@voc/segmentation",
)  # fmt: skip
EVERY = os.environ.get("REDISTILL_PAPER_STEPS") == "all"
CHOSEN = ALL if EVERY else FEW


def test_every_published_vision_experiment_is_taken():
    assert len(ALL) == len(set(ALL)) == 19 + 13 + 1
    assert set(FEW) <= set(ALL)


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of each, from one process."""
    folder = tmp_path_factory.mktemp("paper")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(HERE)])}
    environment = {name: value for name, value in environment.items() if not name.endswith("_DIR")}
    done = subprocess.run(
        [sys.executable, str(HERE / "paper_probe.py"), str(ROOT), str(folder), *CHOSEN],
        env=environment, capture_output=True, text=True, timeout=3000, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", CHOSEN)
def test_an_experiment_takes_a_step_of_each_stage_and_is_evaluated(taken, name):
    came = taken[name]
    assert len(came["losses"]) == came["stages"]
    assert all(len(losses) == 1 and math.isfinite(losses[0]) for losses in came["losses"])
    assert came["dev"]["examples"] == 3
    assert 0 <= came["dev"]["value"] <= 1
    # of each stage that trains the student, the best epoch is looked for; what is as published has no stage
    assert (came["chosen"] > 0) == (came["stages"] > 0)
