"""The teachers of `glue-small` beside a plain loop over transformers, from the same weights and rows.

GLUE_DIR=... python benchmarks/glue_teachers.py [TASK...]     writes benchmarks/results/glue-teachers.json

The loop shares with the engine the data sets in the store and nothing else: transformers' own model, tokenizer and
schedule, its sampler that groups a shuffled epoch by length, torch's AdamW. A difference is compared with its standard
error: of both scores over bootstraps of the dev examples, taken as independent.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup
from transformers.trainer_pt_utils import LengthGroupedSampler

from redistill.evaluation.evaluate import decided, read_predictions
from redistill.evaluation.metrics import METRICS
from redistill.plan import Node, Plan, make_plan
from redistill.provenance import record, store

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "glue-teachers.json"
RECIPE, SEED, DRAWS = "glue-small/teacher", 0, 1000


def rows(node: Node, split: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(node.folder(ROOT) / f"{split}.parquet").to_pylist()
    return found


def train(plan: Plan, run: Node) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions on dev of a model that a plain loop trained as the recipe says."""
    stage, task = run.config["stages"][0], run.config["task"]
    weights = plan.nodes[run.inputs["start"]].folder(ROOT)
    dataset, tokens = plan.nodes[run.inputs["dataset"]], plan.nodes[run.inputs["tokens"]]
    torch.manual_seed(SEED)
    outputs = len(task["labels"]) if task["type"] == "classification" else 1
    model = AutoModelForSequenceClassification.from_pretrained(weights, num_labels=outputs)
    tokenizer = AutoTokenizer.from_pretrained(weights)
    data, length = rows(dataset, "train"), tokens.config["max_length"]
    said, size = stage["optimiser"], stage["batch_size"]
    decayed = [p for p in model.parameters() if p.ndim > 1]
    groups = [{"params": decayed, "weight_decay": said["weight_decay"]},
              {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0}]  # fmt: skip
    optimiser = torch.optim.AdamW(groups, lr=said["learning_rate"])
    steps = stage["epochs"] * -(-len(data) // size)
    warm = round(stage["schedule"]["settings"]["warmup"] * steps)
    schedule = get_linear_schedule_with_warmup(optimiser, warm, steps)

    def tokenised(examples: list[dict[str, Any]]) -> list[dict[str, list[int]]]:
        pairs = [e["text_pair"] for e in examples] if "text_pair" in examples[0] else None
        found = tokenizer([e["text"] for e in examples], pairs, truncation=True, max_length=length)
        return [dict(zip(found, one, strict=True)) for one in zip(*found.values(), strict=True)]

    def logits(texts: list[dict[str, list[int]]]) -> torch.Tensor:
        batch = tokenizer.pad(texts, return_tensors="pt")
        with torch.autocast("cpu", torch.bfloat16, enabled=run.config["runtime"]["precision"] == "bfloat16"):
            found: torch.Tensor = model(**batch).logits.float()
        return found

    texts, labels = tokenised(data), torch.tensor([example["label"] for example in data])
    lengths = [len(text["input_ids"]) for text in texts]
    sampler = LengthGroupedSampler(size, lengths=lengths, generator=torch.Generator().manual_seed(SEED))
    model.train()
    for _ in range(stage["epochs"]):
        for indices in torch.tensor(list(sampler)).split(size):
            found = logits([texts[i] for i in indices])
            loss = torch.nn.functional.cross_entropy(found, labels[indices]) if outputs > 1 else (
                (found[:, 0] - labels[indices]).square().mean()
            )  # fmt: skip
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), stage["clip_norm"])
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
    model.eval()
    dev = rows(dataset, "dev")
    with torch.inference_mode():
        said_of_dev = np.concatenate([logits(tokenised(dev[i : i + 64])).numpy() for i in range(0, len(dev), 64)])
    return np.array([example["label"] for example in dev]), decided(said_of_dev)


def with_error(labels: np.ndarray, predictions: np.ndarray, metric: str) -> tuple[float, float]:
    """A score and its standard error over bootstraps of the examples."""
    function, draw = METRICS[metric][1], np.random.Generator(np.random.PCG64(0))
    drawn = (draw.integers(0, len(labels), len(labels)) for _ in range(DRAWS))
    return function(labels, predictions), float(np.std([function(labels[i], predictions[i]) for i in drawn], ddof=1))


def known() -> dict[str, Any]:
    """What was measured, by task."""
    found: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8"))["tasks"] if RESULT.is_file() else {}
    return found


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("tasks", nargs="*", help="without any, all that are not measured yet")
    asked = made.parse_args().tasks
    plan = make_plan(ROOT, "glue-small")
    lines = {line.task: plan.nodes[line.key] for line in plan.runs if line.experiment == RECIPE}
    teachers = {task: run for task, run in lines.items() if not plan.checked.tasks[task].model_of}
    for task in asked or [task for task, run in teachers.items() if known().get(task, {}).get("run") != run.key]:
        if task not in teachers:
            sys.exit(f"{task} has no teacher in glue-small; these have one: {', '.join(teachers)}")
        run, metric = teachers[task], str(plan.checked.tasks[task].metric)
        if not store.is_done(run.folder(ROOT)):
            sys.exit(f"{run.title} is not made yet: make the study glue-small first")
        ours = with_error(*read_predictions(run.folder(ROOT)), metric)
        theirs = with_error(*train(plan, run), metric)
        apart = (ours[0] - theirs[0]) / (ours[1] ** 2 + theirs[1] ** 2) ** 0.5
        one = {
            "metric": metric, "run": run.key, "redistill": round(ours[0], 4), "plain loop": round(theirs[0], 4),
            "standard errors": [round(ours[1], 4), round(theirs[1], 4)],
            "difference in standard errors": round(apart, 2),
        }  # fmt: skip
        print(task, json.dumps(one), flush=True)
        found = known() | {task: one}
        result = {"command": "python benchmarks/glue_teachers.py", "machine": record.machine(),
                  "tasks": {name: found[name] for name in teachers if name in found}}  # fmt: skip
        store.write_atomically(RESULT, store.pretty(result))


if __name__ == "__main__":
    main()
