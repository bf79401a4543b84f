"""What the runs of benchmarks/gpu.py are made of: weights and data of the right shapes, at random."""

from pathlib import Path
from typing import Any

from redistill.plan import Node, Plan
from redistill.provenance import store

Config = dict[str, Any]
SIDES = (800, 1066)  # of an image of COCO, as a detector brings it to its size


def made_batch(task: Config, examples: int, tokens: int) -> Config:
    """Random inputs and labels, as `Examples.batch` gives them."""
    import torch

    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(len(task["labels"]), (examples,), generator=draw)
    batch: Config = {"index": torch.arange(examples), "labels": labels}
    if task["type"] == "detection":
        images = [torch.rand(3, *SIDES, generator=draw) for _ in range(examples)]
        boxes = torch.tensor([[50.0, 60.0, 400.0, 500.0], [300.0, 100.0, 900.0, 700.0]])
        target = {"boxes": boxes, "classes": torch.tensor([0, 16]), "crowd": torch.zeros(2, dtype=torch.bool)}
        return {**batch, "image": images, "targets": [target] * examples}
    if task["input"] == "image":
        shape = task["image_shape"] if min(task["image_shape"][1:]) < 224 else [3, 224, 224]
        return {**batch, "image": torch.randn(examples, *shape, generator=draw)}
    ids = torch.randint(1000, 30000, (examples, tokens), generator=draw)
    types = (torch.arange(tokens) >= tokens // 2).long().expand(examples, tokens).clone()
    return {**batch, "input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": types}


def inputs_of(plan: Plan, node: Node, folder: Path) -> dict[str, Path]:
    """Folders with what a run asks for: weights of the right shapes, at random, and a data set of two examples."""
    config = node.config
    inputs = {"dataset": data(config["task"], folder / "data")}
    if config["task"]["input"] == "text":
        inputs["tokens"] = tokens(folder / "tokens")
    for role, key in node.inputs.items():
        name, place = role.split()[0], folder / role.replace(" ", "-")
        if name == "tokenizer":
            inputs[role] = place
            place.mkdir()
            for file in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
                (place / file).write_text("{}", encoding="utf-8")
        if name == "start":
            inputs[role] = start(plan, plan.nodes[key], config, place)
    for role, key in node.inputs.items():
        if role.startswith(("teacher ", "outputs ")):
            name = role.split()[1]
            key = plan.nodes[key].inputs["teacher"] if role.startswith("outputs ") else key
            inputs.setdefault(f"teacher {name}", teacher(plan, plan.nodes[key], inputs, folder / f"teacher-{name}"))
    return inputs


def start(plan: Plan, source: Node, config: Config, place: Path) -> Path:
    """Weights that a student starts from."""
    import torch
    from safetensors.torch import save_file

    from redistill.models import load

    torch.manual_seed(0)
    place.mkdir()
    shape = plan.checked.sources[source.title].config
    if config["task"]["input"] == "text":
        from transformers import AutoConfig, AutoModel

        kind = {key: value for key, value in shape.items() if key != "model_type"}
        AutoModel.from_config(AutoConfig.for_model(shape["model_type"], **kind)).save_pretrained(place)
    else:
        state = load.of_source(shape).state_dict()
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, place / "model.safetensors")
    return place


def teacher(plan: Plan, node: Node, inputs: dict[str, Path], place: Path) -> Path:
    """A teacher's run, untrained."""
    if place.is_dir():
        return place
    import torch
    from safetensors.torch import save_file

    from redistill.models import load, text

    config = node.config
    if config["task"]["input"] == "text":
        source = start(plan, plan.nodes[node.inputs["start"]], config, place.with_name(f"{place.name}-start"))
        model = text.start(source, config["student"]["start"], config["task"], 0)
        place.mkdir()
        text.save(model, inputs["tokenizer"], place)
    else:
        torch.manual_seed(1)
        state = load.architecture(config["student"]["architecture"], config["task"]).state_dict()
        place.mkdir()
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, place / "model.safetensors")
    (place / "resolved.json").write_text(store.pretty(config), encoding="utf-8")
    return place


def data(task: Config, place: Path) -> Path:
    """Two examples of each split, which nobody looks at but to learn shapes."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    place.mkdir()
    columns: Config = {"id": pa.array(["a", "b"])}
    if task["type"] != "detection":
        columns["label"] = pa.array([0, 1], pa.int64())
    for split in ("train", "dev"):
        if task["input"] == "text":
            pq.write_table(pa.table(columns), place / f"{split}.parquet")
            continue
        drawn = np.random.default_rng(0)
        if task["image_shape"][1] <= 32:
            pixels = list(drawn.integers(0, 256, (2, int(np.prod(task["image_shape"]))), dtype=np.uint8))
            pq.write_table(
                pa.table({**columns, "image": pa.array(pixels, pa.list_(pa.uint8()))}), place / f"{split}.parquet"
            )
            continue
        pictures(task, place, split)
    return place


def pictures(task: Config, place: Path, split: str) -> None:
    import io

    import numpy as np
    from PIL import Image

    from redistill.data.prepare_images import write_pictures

    examples = []
    for i in range(2):
        stream = io.BytesIO()
        pixels = np.random.default_rng(i).integers(0, 256, (375, 500, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(stream, "JPEG")
        said: Config = {"id": f"{i}", "image": stream.getvalue()}
        if task["type"] == "detection":
            said |= {"boxes": [[4.0, 4.0, 40.0, 50.0]], "classes": [0], "size": (500, 375)}
        else:
            said["label"] = i
        examples.append(said)
    write_pictures(place, split, examples, task, labelled=True, read=lambda path: path.read_bytes())


def tokens(place: Path) -> Path:
    import numpy as np

    place.mkdir()
    for split in ("train", "dev"):
        np.save(place / f"{split}.tokens.npy", np.arange(1000, 1020, dtype=np.int32))
        np.save(place / f"{split}.types.npy", np.zeros(20, dtype=np.uint8))
        np.save(place / f"{split}.starts.npy", np.array([0, 10, 20], dtype=np.int64))
    return place
