"""Images in the engine: the same views however they are made and whenever a run is stopped; teachers that see them."""

import io
import json
import multiprocessing
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Project
from engine_project import Engine, wait_until
from picture_sets import class_folders, put
from PIL import Image
from torch import Tensor, nn
from vision_project import NORMAL, files_of, own_folder, study, vision

from redistill import failures
from redistill.data.ahead import Ahead
from redistill.data.examples import Examples
from redistill.data.packed import Files, Joined
from redistill.data.pictures import Pictures
from redistill.errors import RedistillError
from redistill.training.loop import one_pass

TASK = """
title: Photos
type: classification
input: image
image_shape: [3, 16, 16]
source: photos
reader: {method: image_folder}
labels: [cat, dog]
metric: accuracy
splits: {train: 24, select: 0, dev: 8}
"""
DRAWN = (
    "[{method: colour_jitter, brightness: 0.4}, {method: random_crop, size: 16, padding: 2}, "
    f"{{method: horizontal_flip}}, {NORMAL}]"
)
FIXED = f"[{{method: centre_crop, size: 16}}, {NORMAL}]"
TEACHER = f"""
label: Teacher
student: {{architecture: {{method: cnn, channels: [4, 8], hidden: 8, dropout: 0.0}}}}
stages:
  - data: [train]
    epochs: 2
    batch_size: 8
    transforms: {DRAWN}
    optimiser: {{method: sgd, learning_rate: 0.05, weight_decay: 0.0, momentum: 0.9}}
    loss:
      hard: {{method: hard, weight: 1.0}}
evaluation: {{transforms: {FIXED}}}
"""
LEARNS = """
extends: teacher
label: Learns
teacher: {experiment: photos/teacher}
set:
  student.architecture: {method: cifar_resnet, depth: 8}
  stages.0.epochs: 5
  stages.0.teacher_outputs: OUTPUTS
  stages.0.transforms: TRANSFORMS
  stages.0.loss.soft: {method: kd, weight: 1.0}
"""
STILL = """
extends: teacher
label: Stands still
teacher: {experiment: photos/teacher}
set:
  student.start: {experiment: photos/teacher}
  stages.0.epochs: 4
  stages.0.optimiser.learning_rate: 1.0e-12
  stages.0.optimiser.momentum: 0.0
  stages.0.teacher_outputs: OUTPUTS
  stages.0.loss.soft: {method: kd, weight: 1.0}
"""
STEPS, EPOCH = 15, 3  # of `learns`, in all and in an epoch


def learns(outputs: str, transforms: str) -> str:
    return LEARNS.replace("OUTPUTS", outputs).replace("TRANSFORMS", transforms)


def configs() -> dict[str, str]:
    experiments = {
        "teacher": TEACHER,
        "learns": learns("live", DRAWN),
        "stored": learns("stored", FIXED),
        "live": learns("live", FIXED),
        "still-live": STILL.replace("OUTPUTS", "live"),
        "still-views": STILL.replace("OUTPUTS", "{views: 2}"),
    }
    rows = [f"experiment: photos/{name}" for name in experiments]
    return {
        "sources": own_folder("photos", "PHOTOS_DIR"),
        "tasks/photos": TASK,
        "studies/photos": study("photos", {"all": (["photos"], rows)}, "checkpoints: {steps: 1}"),
        **{f"experiments/photos/{name}": text for name, text in experiments.items()},
    }


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Photos and what is trained on them, without a stop. Only to be read."""
    folder = tmp_path_factory.mktemp("photos")
    class_folders(folder / "set", ["cat", "dog"], 16, ending=".jpg")
    with vision(folder / "project", configs(), {"PHOTOS_DIR": folder / "set"}, "photos") as made:
        done = made.forked("make", key(made, "learns"))
        assert done.returncode == 0, done.stdout + done.stderr
        yield made


def key(engine: Engine, name: str) -> str:
    return engine.keys["photos"][f"photos/{name} seed 0"]


def values(engine: Engine, folder: Path, name: str) -> list[dict[str, float]]:
    """The terms of every step."""
    made = engine.forked("make", *inputs(engine, name))
    assert made.returncode == 0, made.stdout + made.stderr
    done = engine.forked("watch", str(folder), key(engine, name))
    assert done.returncode == 0, done.stdout + done.stderr
    found: list[dict[str, float]] = json.loads((folder / key(engine, name) / "seen.json").read_text())["values"]
    return found


def inputs(engine: Engine, name: str) -> list[str]:
    told = json.loads((engine.root / "store" / "work" / "plans" / f"{key(engine, name)}.json").read_text())
    found: list[str] = list(told["parts"]["inputs"].values())
    return found


# --- the same views --------------------------------------------------------------------------------------------------


def test_images_made_ahead_by_other_processes_give_the_same_bytes(engine: Engine, tmp_path: Path) -> None:
    run = key(engine, "learns")
    other = engine.without(tmp_path / "project", run)
    other.told(run, workers=2)
    done = other.make(run)
    assert done.returncode == 0, done.stdout + done.stderr
    assert files_of(other, run) == files_of(engine, run)


def test_a_teacher_s_views_made_ahead_are_the_same_bytes(engine: Engine, tmp_path: Path) -> None:
    views = next(made for title, made in engine.keys["photos"].items() if title.endswith("2 views"))
    logits = []
    for workers in (0, 2):
        other = engine.without(tmp_path / str(workers), views)
        other.told(views, workers=workers)
        done = other.make(views)
        assert done.returncode == 0, done.stdout + done.stderr
        logits.append((other.root / "store" / "outputs" / views / "logits.npy").read_bytes())
    assert logits[0] == logits[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_amid_an_epoch_a_run_sees_the_same_images_again(engine: Engine, tmp_path: Path, workers: int) -> None:
    run = key(engine, "learns")
    other = engine.without(tmp_path / "project", run)
    other.told(run, workers=workers)
    with other.started("redistill", "make", run) as process:
        assert wait_until(process, lambda: amid(other, run))
        process.kill()
    assert not other.run(run).exists()
    done = other.make(run)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"goes on after step {int(other.record(run)['resumed'][0]['step'])} of {STEPS}" in done.stdout
    assert files_of(other, run) == files_of(engine, run)


def amid(engine: Engine, run: str) -> bool:
    steps = [int(name.split("-")[1]) for name in engine.checkpoints(run)]
    return bool(steps) and max(steps) > EPOCH and max(steps) % EPOCH != 0


def test_asked_to_stop_with_all_its_processes_a_run_saves_itself(engine: Engine, tmp_path: Path) -> None:
    run = key(engine, "learns")
    other = engine.without(tmp_path / "project", run)
    other.told(run, workers=2)
    with other.started("redistill", "make", run) as process:
        assert wait_until(process, lambda: bool(other.checkpoints(run)))
        os.killpg(process.pid, signal.SIGTERM)  # as a cluster does, or Ctrl-C
        assert process.wait(60) == 75
    done = other.make(run)
    assert done.returncode == 0, done.stdout + done.stderr
    assert files_of(other, run) == files_of(engine, run)


def pictures(count: int = 8) -> Examples:
    draw = np.random.default_rng(0)
    images = torch.from_numpy(draw.integers(0, 256, (count, 3, 12, 12), dtype=np.uint8))
    ids = [f"image {i}" for i in range(count)]
    said = [{"method": "random_crop", "settings": {"size": 8, "padding": 2}}]
    shown = Pictures(ids, images, 3, said)
    return Examples(ids, ["train"] * count, torch.arange(count), np.ones(count, dtype=np.int64), pictures=shown)


def asked(data: Examples) -> Iterator[tuple[np.ndarray, list[int] | None]]:
    for epoch, start in product(range(2), (0, 4)):
        indices = np.arange(start, start + 4)
        yield indices, data.seeds(indices, 7, epoch)


def test_batches_made_ahead_are_those_made_here_and_no_generator_is_touched():
    data = pictures()
    before = torch.get_rng_state()
    with closing(Ahead(data, asked(data), 2)) as ahead:
        for indices, seeds in asked(data):
            made, here = ahead.batch(indices), data.batch(indices, seeds=seeds)
            assert {name: torch.equal(made[name], here[name]) for name in here} == dict.fromkeys(here, True)
    assert torch.equal(torch.get_rng_state(), before)
    with closing(Ahead(data, asked(data), 1)) as ahead, pytest.raises(RuntimeError, match="another order"):
        ahead.batch(np.arange(4, 8))


@pytest.mark.parametrize("made", [0, 2], ids=["begins", "works"])
def test_processes_that_make_images_do_not_end_before_their_run(made):
    data = pictures()
    order = list(asked(data))
    with closing(Ahead(data, asked(data), 2)) as ahead:
        for indices, _ in order[:made]:  # by each of the two, one
            ahead.batch(indices)
        for worker in multiprocessing.active_children():
            for number in (signal.SIGTERM, signal.SIGINT):
                os.kill(int(worker.pid or 0), number)
        time.sleep(0.2)
        assert [len(ahead.batch(indices)["index"]) for indices, _ in order[made:]] == [4] * (len(order) - made)
    assert not multiprocessing.active_children()


LEFT_OPEN = """
import numpy as np
import torch
from redistill.data.ahead import Ahead
from redistill.data.examples import Examples
from redistill.data.pictures import Pictures

ids, ones = ["a", "b"], np.ones(2, dtype=np.int64)
shown = Pictures(ids, torch.zeros(2, 3, 8, 8, dtype=torch.uint8), 3, [])
data = Examples(ids, ["train"] * 2, torch.zeros(2), ones, pictures=shown)
ahead = Ahead(data, ((np.arange(2), None) for _ in range(1000)), 2)
ahead.batch(np.arange(2))
raise SystemExit(75)
"""


def test_a_run_that_ends_amid_a_stage_leaves_no_process_and_waits_for_none(python):
    assert python("-c", LEFT_OPEN).returncode == 75  # within the time that the fixture gives


def test_a_broken_image_that_another_process_meets_is_named_in_one_sentence():
    images = encoded(Image.new("RGB", (8, 8)))
    files = Files(images.parts[0].content, np.array([0, 40]))
    data = Examples(["a"], ["train"], torch.zeros(1), np.ones(1, dtype=np.int64),
                    pictures=Pictures(["a"], Joined([files]), 3, []))  # fmt: skip
    with (
        closing(Ahead(data, iter([(np.arange(1), None)]), 1)) as ahead,
        pytest.raises(RedistillError, match="^image `a` cannot be decoded .*: fetch it again$"),
    ):
        ahead.batch(np.arange(1))


def batches_of_a_process_that_is_killed():
    with closing(Ahead(pictures(), ((np.arange(4), None) for _ in range(1000)), 1)) as ahead:
        ahead.batch(np.arange(4))
        for worker in multiprocessing.active_children():
            worker.kill()
        for _ in range(100):
            ahead.batch(np.arange(4))


def test_a_process_that_makes_images_and_is_gone_is_said():
    with pytest.raises((RedistillError, RuntimeError)) as gone:  # torch's own where its signal comes first
        batches_of_a_process_that_is_killed()
    sentence = r"^a process that makes images is gone .*: give the machine more memory.*`loading.workers`$"
    assert re.match(sentence, failures.explained(gone.value))


# --- what an image may be --------------------------------------------------------------------------------------------


def encoded(*images: Image.Image) -> Joined:
    contents = []
    for image in images:
        stream = io.BytesIO()
        image.save(stream, "PNG")
        contents.append(stream.getvalue())
    starts = np.cumsum([0, *map(len, contents)])
    return Joined([Files(np.frombuffer(b"".join(contents), dtype=np.uint8), starts)])


def test_a_grey_image_with_a_palette_is_as_grey_as_its_colours_and_a_mask_is_its_numbers():
    image = Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4)).convert("P")
    image.putdata([*range(16)])
    image.putpalette([value for i in range(256) for value in (255 - i, 255 - i, 255 - i)])
    shown, target = Pictures(["a"], encoded(image), 1, [], masks=encoded(image)).get(0, 0)
    assert (shown * 255).round().flatten().tolist() == [255 - i for i in range(16)]
    assert target["mask"].flatten().tolist() == [*range(16)]


def test_a_small_box_of_an_image_that_is_not_changed_is_there_to_be_found():
    box = {"boxes": torch.tensor([[1.0, 1.0, 1.5, 3.0]]), "classes": torch.tensor([0]), "crowd": torch.tensor([False])}
    image = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    assert len(Pictures(["a"], image, 3, [], boxes=[box]).get(0, 0)[1]["boxes"]) == 1
    cut = [{"method": "centre_crop", "settings": {"size": 4}}]
    assert len(Pictures(["a"], image, 3, cut, boxes=[box]).get(0, 0)[1]["boxes"]) == 0


def test_images_of_a_batch_that_differ_in_size_are_named():
    ids = ["tall", "wide"]
    images = encoded(Image.new("RGB", (4, 6)), Image.new("RGB", (6, 4)))
    data = Examples(ids, ["dev"] * 2, torch.zeros(2), np.ones(2, dtype=np.int64), pictures=Pictures(ids, images, 3, []))
    assert data.batch(np.array([1]))["image"].shape == (1, 3, 4, 6)
    with pytest.raises(RedistillError, match=r"`wide` and `tall` .* \[3, 4, 6\] and \[3, 6, 4\]: end the `transforms`"):
        data.batch(np.array([1, 0]))


def test_a_pass_of_one_image_that_a_norm_cannot_learn_from_is_said():
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, batch: Any, *_: Any) -> dict[str, Tensor]:
            return {"hard": self.norm(batch["image"].mean((2, 3), keepdim=True)).sum()}

    stage: Any = SimpleNamespace(
        index=1, step=0, steps=2, noise=0, common=0, said={"rotations": False}, data=pictures(5),
        prepared=Pooled().train(),
        accelerator=SimpleNamespace(device="cpu", autocast=nullcontext), seeds=lambda *_: None, view=lambda _: 0,
        learner=SimpleNamespace(exact=lambda _: nullcontext(), taps={}), loss=SimpleNamespace(total=lambda *_: 0),
        teachers=SimpleNamespace(see=lambda *_: {}),
    )  # fmt: skip
    assert one_pass(stage, np.arange(2))["hard"].isfinite()
    with pytest.raises(RedistillError, match=r"stages.1: .* a pass of 1 image.*left of 5 .* another `batch_size`"):
        one_pass(stage, np.arange(1))


# --- teachers --------------------------------------------------------------------------------------------------------


def test_what_a_teacher_says_now_is_what_it_said_before_of_images_as_they_are(engine: Engine, tmp_path: Path) -> None:
    stored, live = (values(engine, tmp_path, name) for name in ("stored", "live"))
    assert len(stored) == len(live) == STEPS
    for before, now in zip(stored, live, strict=True):
        assert now == pytest.approx(before, abs=1e-5)
    assert max(step["soft"] for step in live) > 0.01


@pytest.mark.parametrize("name", ["still-live", "still-views"])
def test_a_teacher_sees_the_view_that_its_student_sees(engine: Engine, tmp_path: Path, name: str) -> None:
    steps = values(engine, tmp_path, name)
    assert all(abs(step["soft"]) < 1e-6 for step in steps)  # the student is its teacher, and hardly moves
    epochs = [np.mean([step["hard"] for step in steps[i : i + EPOCH]]) for i in range(0, len(steps), EPOCH)]
    assert abs(epochs[1] - epochs[0]) > 1e-4
    again = [abs(epochs[2] - epochs[0]), abs(epochs[3] - epochs[1])]
    assert (max(again) < 1e-5) == (name == "still-views")


def keys(project: Project) -> dict[str, tuple[str, str]]:
    """What is planned by its key: kind and title."""
    return {node.key: (node.kind, node.title) for node in project.plan("photos").nodes.values()}


@pytest.fixture
def planned(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("PHOTOS_DIR", str(class_folders(tmp_path / "set", ["cat", "dog"], 16)))
    written = configs()
    with project.file("sources.yaml").open("a", encoding="utf-8") as stream:
        stream.write(written.pop("sources"))
    put(project.root / "configs", {f"{name}.yaml": text for name, text in written.items()})
    return project


@pytest.mark.parametrize(
    ("experiment", "old", "new", "reached", "outputs"),
    [
        ("still-views", "{views: 2}", "{views: 3}", {"still-views"}, 1),
        ("still-views", "{views: 2}", "live", {"still-views"}, 1),
        ("learns", "brightness: 0.4", "brightness: 0.3", {"learns"}, 0),
        ("stored", "size: 16", "size: 15", {"stored"}, 1),
        ("live", "size: 16", "size: 15", {"live"}, 0),
        ("stored", "teacher_outputs: stored", "teacher_outputs: live", {"stored"}, 1),
    ],
)
def test_views_and_transforms_reach_the_keys_that_depend_on_them(planned, experiment, old, new, reached, outputs):
    before = keys(planned)
    planned.edit(f"experiments/photos/{experiment}.yaml", old, new)
    after = keys(planned)
    left = [what for key, what in before.items() if key not in after]
    runs = {title.split()[0].removeprefix("photos/") for kind, title in left if kind in ("student", "teacher")}
    assert runs == reached
    assert sum(kind == "outputs" for kind, _ in left) == outputs
    assert {kind for kind, _ in left} <= {"student", "outputs", "cell", "table", "study"}


def test_the_workers_that_load_images_are_in_no_key(planned):
    before = keys(planned)
    planned.edit("studies/photos.yaml", "checkpoints:", "loading: {workers: 2}\ncheckpoints:")
    assert keys(planned) == before
