"""What the speed benchmark hands to the peers: the same texts, images and weights, as they read them.

Run by benchmarks/speed.py inside the project that it lays out.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from redistill import environment
from redistill.config.check import check_experiment
from redistill.environment import derived_seed
from redistill.plan import Node, Plan, lay_out

SHARED = Path.cwd().parent / "shared"


def main() -> None:
    plans = {e: lay_out(Path.cwd(), check_experiment(Path.cwd(), f"speed/{e}", [f"speed/{t}"], [0], "speed"))
             for e, t in (("kd", "texts"), ("image-kd", "images"))}  # fmt: skip
    environment.pin(plans["kd"].nodes[plans["kd"].runs[0].key].config["runtime"])
    _texts(plans["kd"])
    _images(plans["image-kd"])


def _folder(plan: Plan, node: Node, role: str) -> Path:
    return plan.nodes[node.inputs[role]].folder(plan.root)


def _texts(plan: Plan) -> None:
    from redistill.models import text

    folder, node = SHARED / "texts", plan.nodes[plan.runs[0].key]
    folder.mkdir(parents=True)
    for split in ("train", "dev"):
        table = pq.read_table(_folder(plan, node, "dataset") / f"{split}.parquet")
        columns = {"sentence1": table["text"], "label": table["label"]}
        if "text_pair" in table.column_names:
            columns["sentence2"] = table["text_pair"]
        pq.write_table(pa.table(columns), folder / f"{split}.parquet")
    outputs = next(key for role, key in node.inputs.items() if role.startswith("outputs "))
    tokenizer = _folder(plan, node, "tokenizer")
    (folder / "teacher").symlink_to(_folder(plan, plan.nodes[outputs], "teacher"))
    (folder / "student").mkdir()
    student = text.start(
        _folder(plan, node, "start"),
        node.config["student"]["start"],
        node.config["task"],
        derived_seed(0, "initialisation"),
    )
    text.save(student, tokenizer, folder / "student")
    stage = node.config["stages"][0]
    settings = {
        "max_length": 128, "batch_size": stage["batch_size"], "learning_rate": stage["optimiser"]["learning_rate"],
        "weight_decay": stage["optimiser"]["weight_decay"], "epochs": stage["epochs"], "temperature": 4.0, "alpha": 0.5,
        "max_grad_norm": stage["clip_norm"],
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    starts = np.load(_folder(plan, node, "tokens") / "train.starts.npy")
    config: Any = student.config
    shape = {
        "train": len(starts) - 1, "mean_length": float(np.diff(starts).mean()), "epochs": stage["epochs"],
        "hidden": config.hidden_size, "inner": config.intermediate_size, "layers": config.num_hidden_layers,
    }  # fmt: skip
    (folder / "shape.json").write_text(json.dumps(shape), encoding="utf-8")


def _images(plan: Plan) -> None:
    from redistill.data import examples

    folder, node = SHARED / "images", plan.nodes[plan.runs[0].key]
    folder.mkdir(parents=True)
    data = examples.load(node.config["task"], {"dataset": _folder(plan, node, "dataset")}, ["train"])
    assert data.images is not None
    np.savez(folder / "train.npz", images=data.images.numpy(), labels=data.labels.numpy())
    (folder / "settings.json").write_text(json.dumps({"augment": False, "epochs": 1}), encoding="utf-8")
    (folder / "shape.json").write_text(
        json.dumps({"train": len(data), "shape": list(data.images.shape[1:])}), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
