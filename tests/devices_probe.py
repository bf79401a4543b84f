"""What the tests of several devices let so many processes compute: `python devices_probe.py losses|shards N`.

Each process does its part; the first one compares it with what one process computes alone, and prints how far they are
apart, as JSON.
"""

import copy
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn

from redistill import environment, registry
from redistill.models import load
from redistill.models.first_token import FirstToken
from redistill.models.recompute import recomputed
from redistill.models.together import Part
from redistill.training import checkpoint, distribution
from redistill.training.across import Across
from redistill.training.learner import Learner, Moment, needed
from redistill.training.loss import Loss
from redistill.training.optimise import freeze, optimiser

RUNTIME = {
    "threads": 1, "portable": True, "device": "cpu", "precision": "float32", "devices": 1, "strategy": "fsdp",
}  # fmt: skip
EXAMPLES, LONGEST, WIDTH, OTHER, CLASSES = 7, 9, 6, 5, 3
Seen = dict[str, Any]
METHODS: dict[str, dict[str, Any]] = {
    "hard": {}, "kd": {"temperature": 2.0}, "dkd": {}, "dist": {}, "rkd": {}, "spkd": {}, "pkt": {}, "srd": {},
    "cckd": {"features": 4}, "crd": {"negatives": 4, "features": 4}, "tinybert_hidden": {}, "distilbert": {},
    "fitnet": {}, "tinybert_attention": {"heads": 2}, "several_teachers": {}, "sample_temperature": {},
}  # fmt: skip
OF_TEXTS = ("tinybert_hidden", "distilbert", "tinybert_attention")


# --- losses ----------------------------------------------------------------------------------------------------------


def data() -> dict[str, Any]:
    """Texts of several lengths, some without a label, and what a teacher says of them."""
    draw = torch.Generator().manual_seed(3)
    lengths = torch.tensor([9, 2, 5, 3, 7, 4, 8])
    labels = torch.tensor([0, -1, 2, 1, -1, -1, 0])
    return {
        "words": torch.randn(EXAMPLES, LONGEST, WIDTH, generator=draw), "lengths": lengths, "labels": labels,
        "taught": torch.randn(EXAMPLES, LONGEST, OTHER, generator=draw),
        "same": torch.randn(EXAMPLES, LONGEST, WIDTH, generator=draw),
        "said": torch.randn(EXAMPLES, CLASSES, generator=draw),
        "pooled": torch.randn(EXAMPLES, OTHER, generator=draw),
    }  # fmt: skip


class Model(nn.Module):
    """Hidden states, pooled features and logits, each of a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.pooled = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.logits = nn.Linear(WIDTH, CLASSES)


def values(method: str, model: Model, own: nn.ModuleDict, rows: np.ndarray, part: Part, counts: bool) -> Tensor:
    """A term's value of some examples, as long as the longest of them."""
    known, settings = data(), registry.with_defaults("loss", method, METHODS[method])
    index = torch.from_numpy(rows)
    longest = int(known["lengths"][index].max())
    hidden = model.hidden(known["words"][index, :longest])
    states = {"tinybert_hidden": 1, "distilbert": 1, "tinybert_attention": 2}.get(method, 0)
    pooled = model.pooled(known["words"][index, 0])
    taught = known["same" if method in ("distilbert", "tinybert_attention") else "taught"][index, :longest]
    term = {
        "method": method, "weight": 1.0, "settings": settings, "student": "student", "teacher": "teacher",
        "taps": {"student": ["a"] * (states or 1), "teacher": ["b"] * (states or 1)},
    }  # fmt: skip
    loss = Loss({"loss": {"term": term}, "rotations": False}, ["teacher"], {}, {})
    loss.across = Across(part) if part.of > 1 else None
    mask = (torch.arange(longest) < known["lengths"][index, None]).long()
    batch = {"index": index, "labels": known["labels"][index], "attention_mask": mask, "input_ids": mask}
    seen = {
        "student": {"a": hidden if states else pooled, "logits": model.logits(hidden[:, 0])},
        "teacher": {"b": taught if states else known["pooled"][index], "logits": known["said"][index]},
    }
    return loss.values(batch, seen, own, Moment(0.5, 0, (11 + part.own, 0, 0), 11, counts))["term"]


def own_of(method: str) -> nn.ModuleDict:
    torch.manual_seed(5)
    known = registry.signature("loss", method).built_with
    if known is None:
        return nn.ModuleDict()
    settings = registry.with_defaults("loss", method, METHODS[method])
    shapes = ((LONGEST, WIDTH), (LONGEST, OTHER)) if method in OF_TEXTS else ((WIDTH,), (OTHER,))
    built = registry.builder(method)([shapes[0]], [shapes[1]], EXAMPLES, **{name: settings[name] for name in known})
    return nn.ModuleDict({"term": built})


def losses(part: Part) -> dict[str, float]:
    """How far value, gradient and memory of several devices are from those of one, by method."""
    apart = {}
    for method in METHODS:
        model, own = Model(), own_of(method)
        alone, alone_own = copy.deepcopy(model), copy.deepcopy(own)
        for batch in (np.arange(EXAMPLES), np.array([4, 2, 0])):  # of four devices, one has none of the second
            mine = np.array_split(batch, part.of)[part.own]
            value = values(method, model, own, mine if len(mine) else batch[:1], part, len(mine) > 0)
            value.backward()
            whole = values(method, alone, alone_own, batch, Part(), True)
            whole.backward()
            total = value.detach().clone()
            distributed.all_reduce(total)
            differences = [float((total / part.of - whole.detach()).abs())]
            for ours, theirs in zip([*model.parameters(), *own.parameters()],
                                    [*alone.parameters(), *alone_own.parameters()], strict=True):  # fmt: skip
                found = torch.zeros_like(ours) if ours.grad is None else ours.grad.clone()
                distributed.all_reduce(found)
                expected = torch.zeros_like(ours) if theirs.grad is None else theirs.grad
                differences.append(float((found / part.of - expected).abs().max()))
            buffers = zip(own.buffers(), alone_own.buffers(), strict=True)
            differences += [float((a.float() - b.float()).abs().max()) for a, b in buffers]
            apart[method] = max(apart.get(method, 0.0), *differences)
    return apart


# --- shards ----------------------------------------------------------------------------------------------------------


class Towards:
    """A loss that looks at logits, and into a layer, for the learner's sake alone."""

    students = frozenset({"student"})

    def values(self, batch: Seen, seen: dict[str, Seen], own: nn.ModuleDict, moment: Moment) -> dict[str, Tensor]:
        inner = [tensor for tap, tensor in seen["student"].items() if tap != "logits"]
        rest = {f"inner {i}": tensor.square().mean((1, 2)).mean() for i, tensor in enumerate(inner)}
        return {"logits": nn.functional.cross_entropy(seen["student"]["logits"], batch["labels"]), **rest}


TAPS = ["bert.encoder.layer.1", "bert.encoder.layer.0.attention.self:output.0"]
SAID = {
    "method": "adamw", "settings": {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}, "learning_rate": 1e-2,
    "weight_decay": 0.01, "decay": "all", "layer_decay": 0.9, "groups": [],
}  # fmt: skip


def transformer() -> Learner:
    """A student of three layers, of which the last computes the first token alone; its embeddings are frozen."""
    config = {
        "model_type": "bert", "vocab_size": 50, "hidden_size": 10, "num_hidden_layers": 3, "num_attention_heads": 2,
        "intermediate_size": 14, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    }  # fmt: skip
    task = {"type": "classification", "labels": ["a", "b"], "input": "text", "image_shape": None}
    torch.manual_seed(1)
    student = load.placed(load.architecture({"method": "transformers", "settings": {"config": config}}, task), RUNTIME)
    assert any(isinstance(module, FirstToken) for module in student.modules())
    return Learner(student, {}, {})


def steps(learner: Learner, adjusted: Any, part: Part, first: int, last: int) -> None:
    draw = torch.Generator().manual_seed(9)
    ids = torch.randint(1, 50, (8, 6), generator=draw)
    labels = torch.randint(2, (8,), generator=draw)
    learner.train()
    for _ in range(first, last):
        mine = np.array_split(np.arange(8), part.of)[part.own]
        for half in (mine[: len(mine) // 2], mine[len(mine) // 2 :]):
            index = torch.from_numpy(half)
            batch = {"input_ids": ids[index], "attention_mask": torch.ones_like(ids[index]), "labels": labels[index]}
            found = learner(batch, {}, Towards(), Moment())
            (torch.stack(list(found.values())).sum() * (len(half) / 8 * part.of)).backward()
        torch.nn.utils.clip_grad_norm_([p for g in adjusted.param_groups for p in g["params"]], 0.5)
        adjusted.step()
        adjusted.zero_grad(set_to_none=True)


def begun(runtime: dict[str, Any]) -> tuple[Learner, Any]:
    learner = transformer()
    learner.listen(needed({}, [{"taps": {"student": TAPS}, "student": "student", "teacher": None}], []), False)
    freeze(learner, ["bert.embeddings"], None)
    distribution.sharded(learner, runtime, [learner.student.classifier], learner.taps)
    return learner, optimiser(learner, SAID)


def shards(part: Part) -> dict[str, float]:
    """How far the weights of shards are from those of one device after some steps; and from themselves, when they were
    saved and restored in between, and when layers were computed again for their gradients.
    """
    runtime = {**RUNTIME, "devices": part.of}
    alone, plain = begun({**RUNTIME, "devices": 1})
    steps(alone, plain, Part(), 0, 6)
    learner, adjusted = begun(runtime)
    names = [name for name, _ in distribution.layers(learner, [learner.student.classifier])]
    assert names == [f"student.bert.encoder.layer.{i}" for i in range(3)], names
    held = sum(checkpoint.own(p).numel() for p in learner.parameters())
    assert held < 1.5 / part.of * sum(p.numel() for p in alone.parameters())
    steps(learner, adjusted, part, 0, 4)
    values, tensors = checkpoint.optimiser_state(adjusted)
    saved = {name: checkpoint.own(t).clone() for name, t in learner.state_dict().items()}
    kept = {name: checkpoint.own(t).clone() for name, t in tensors.items()}
    steps(learner, adjusted, part, 4, 6)
    again, its = begun(runtime)
    steps(again, its, part, 0, 1)  # whatever it was before
    checkpoint.fill(again, saved)
    checkpoint.restore_optimiser(its, values, kept)
    steps(again, its, part, 4, 6)
    anew, theirs = begun(runtime)
    with recomputed(anew.student):
        steps(anew, theirs, part, 0, 6)
    apart, moved = {"from one device": 0.0, "from itself": 0.0, "when recomputed": 0.0}, 0
    expected, first = alone.state_dict(), transformer().state_dict()
    whole = {name: distribution._full(t) for name, t in learner.state_dict().items()}
    resumed = {name: distribution._full(t) for name, t in again.state_dict().items()}
    computed_again = {name: distribution._full(t) for name, t in anew.state_dict().items()}
    for name, tensor in whole.items():
        difference = float((tensor - computed_again[name]).abs().max())
        apart["when recomputed"] = max(apart["when recomputed"], difference)
        apart["from one device"] = max(apart["from one device"], float((tensor - expected[name]).abs().max()))
        apart["from itself"] = max(apart["from itself"], float((tensor - resumed[name]).abs().max()))
        moved += not torch.equal(tensor, first[name])
    assert moved > 30
    return apart


# --- processes -------------------------------------------------------------------------------------------------------


def main(what: str, devices: int) -> None:
    computed: Callable[[Part], dict[str, float]] = {"losses": losses, "shards": shards}[what]
    path = tempfile.mktemp()
    others = []
    for rank in range(1, devices):
        pid = os.fork()
        if not pid:
            os._exit(process(computed, Part(rank, devices), path))
        others.append(pid)
    status = process(computed, Part(0, devices), path)
    for pid in others:
        status |= os.waitpid(pid, 0)[1]
    Path(path).unlink(missing_ok=True)
    sys.exit(int(status != 0))


def process(computed: Callable[[Part], dict[str, float]], part: Part, path: str) -> int:
    store = distributed.FileStore(path, part.of)
    distributed.init_process_group("gloo", store=store, rank=part.own, world_size=part.of)
    try:
        found = computed(part)
        if part.first:
            print(json.dumps(found))
        distributed.barrier()
        distributed.destroy_process_group()
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        return 1
    return 0


if __name__ == "__main__":
    environment.pin(RUNTIME)
    torch.set_num_threads(1)
    main(sys.argv[1], int(sys.argv[2]))
