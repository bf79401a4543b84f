"""Train published vision experiments for one step of each stage, on a few small images, and evaluate them.

python paper_probe.py ROOT FOLDER [--study STUDY] [--device DEVICE] NAME...

NAME is `experiment@task`, of the study `paper` and trained on a CPU where nothing else is said. Prints JSON: name ->
what came of it.

Models and recipes are the real ones, through the real engine; images are small, batches have two images a pass, and the
weights that would be fetched are drawn. A process of its own, because a runtime is pinned before torch is imported.
"""

import argparse
import copy
import json
from pathlib import Path
from typing import Any

from redistill import environment
from redistill.plan import Node, Plan, make_plan
from redistill.provenance.store import sha256_file

SIDE, A_PASS, TRAINED, SHOWN = 64, 2, 12, 3
DETECTORS = ("detector", "bottleneck_rcnn")
Config = dict[str, Any]


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("root", type=Path)
    asked.add_argument("folder", type=Path)
    asked.add_argument("--study", default="paper")
    asked.add_argument("--device", default="cpu")
    asked.add_argument("names", nargs="+")
    said = asked.parse_intermixed_args()
    folder, plan = said.folder, make_plan(said.root, said.study)
    runtime = {**plan.checked.study.runtime.model_dump(), "device": said.device}
    environment.pin(runtime)
    found = {}
    for name in said.names:
        experiment, _, task = name.partition("@")
        config = plan.configs[experiment, task]
        node = next(n for n in plan.nodes.values() if n.parts["kind"] == "run" and n.config == config)
        found[name] = came_of(made(plan, node, folder, runtime), config, plan.checked.tasks[task].metric or "")
    print(json.dumps(found))


def came_of(run: Path, config: Config, metric: str) -> Config:
    """The last losses of each stage, the metric of the run on `dev`, and the digest of its weights."""
    from redistill.evaluation.evaluate import score

    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [(line["stage"], line["loss"]) for line in lines if "loss" in line]
    losses = [[loss for stage, loss in steps if stage == i] for i in range(len(config["stages"]))]
    chosen = sum("dev" in line for line in lines)
    return {"losses": losses, "dev": score(run, metric, "dev"), "chosen": chosen, "stages": len(config["stages"]),
            "weights": sha256_file(run / "model.safetensors")}  # fmt: skip


def made(plan: Plan, node: Node, folder: Path, runtime: Config) -> Path:
    """Where a thing is, made small with what it is made of."""
    place = folder / node.key / "made"
    if place.is_dir():
        return place
    place.mkdir(parents=True)
    kind = node.parts["kind"]
    if kind == "dataset":
        data(node.config, place)
    elif kind == "model":
        drawn(plan, node, place)
    elif kind == "outputs":
        from redistill.distill.outputs import make_outputs

        inputs = {role: made(plan, plan.nodes[key], folder, runtime) for role, key in node.inputs.items()}
        make_outputs(small({**copy.deepcopy(node.config), "runtime": runtime}), inputs, place)
    else:
        from redistill.training.run import run

        inputs = {role: made(plan, plan.nodes[key], folder, runtime) for role, key in node.inputs.items()}
        run(small({**copy.deepcopy(node.config), "runtime": runtime}), inputs, place)
    return place


def drawn(plan: Plan, node: Node, place: Path) -> None:
    """Weights of the shapes that a source says, at random."""
    import torch
    from safetensors.torch import save_file

    from redistill.models import load

    torch.manual_seed(0)
    shape = plan.checked.sources[node.title].config
    model = load.of_source(shape)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, place / "model.safetensors")
    (place / load.ARCHITECTURE).write_text(json.dumps(shape), encoding="utf-8")


def small(config: Config) -> Config:
    """The same recipe on small images, one step long; or the same teacher outputs."""
    photographs = config["task"]["image_shape"] != [3, 32, 32]
    if photographs:
        config["task"]["image_shape"] = [3, SIDE, SIDE]
    if config.get("student", {}).get("architecture", {}).get("method") in DETECTORS:
        config["student"]["architecture"]["settings"]["options"] = {"min_size": SIDE, "max_size": SIDE + 32}
    stages = config.get("stages", [])
    views = [config.get("transforms", []), config.get("evaluation", {}).get("transforms", [])]
    views += [stage["transforms"] for stage in stages]
    for transform in (one for view in views for one in view if photographs):
        settings = transform["settings"]
        settings |= {key: SIDE for key in ("size", "least") if key in settings}
        settings |= {"most": SIDE + 32} if "most" in settings else {}
    for stage in stages:
        stage["steps"], stage["epochs"] = 1, None
        stage["batch_size"] = A_PASS * stage["accumulate"]
    return config


# --- data -------------------------------------------------------------------------------------------------------------


def data(config: Config, place: Path) -> None:
    """A prepared data set of noise: a few images to train on, fewer to evaluate."""
    for split, number in (("train", TRAINED), ("dev", SHOWN)):
        if config["type"] == "classification" and config["image_shape"] == [3, 32, 32]:
            pixels(config, place, split, number)
        else:
            pictures(config, place, split, number)


def pixels(config: Config, place: Path, split: str, number: int) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    drawn = np.random.default_rng(number).integers(0, 256, (number, 3 * 32 * 32), dtype=np.uint8)
    columns = {
        "id": pa.array([f"{split}-{i}" for i in range(number)]),
        "image": pa.array(list(drawn), pa.list_(pa.uint8())),
        "label": pa.array([i % len(config["labels"]) for i in range(number)], pa.int64()),
    }
    pq.write_table(pa.table(columns), place / f"{split}.parquet")


def pictures(config: Config, place: Path, split: str, number: int) -> None:
    from redistill.data.prepare_images import write_pictures

    examples = [picture(config, f"{split}-{i}", i) for i in range(number)]
    write_pictures(place, split, examples, config, labelled=True, read=lambda path: path.read_bytes())


def picture(config: Config, name: str, index: int) -> Config:
    """One image of noise, with what a task of this type has of it."""
    import numpy as np
    from picture_sets import mask_of
    from picture_sets import picture as encoded

    width, height = SIDE + 16, SIDE + 8
    said: Config = {"id": name, "image": encoded(width, height, seed=index)}
    if config["type"] == "classification":
        return {**said, "label": index % len(config["labels"])}
    if config["type"] == "detection":
        boxes = [[4.0, 4.0, 40.0, 50.0], [20.0, 10.0, 60.0 + index, 60.0]]
        return {**said, "boxes": boxes, "classes": [0, 16], "size": (width, height)}
    classes = np.zeros((height, width), dtype=np.uint8)
    classes[8:40, 8:50], classes[0] = 1 + index % 20, 255
    return {**said, "mask": mask_of(classes)}


if __name__ == "__main__":
    main()
