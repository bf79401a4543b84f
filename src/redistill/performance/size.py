"""What a text model's run takes by its shape alone: memory at its peak, and operations. Neither is measured.

For what was never made here. Imports neither torch nor numpy.
"""

from dataclasses import dataclass, replace
from typing import Any

from redistill.environment import devices
from redistill.performance.cost import Known

PROCESS = 800 << 20  # bytes of a process that has imported torch and transformers
FLOAT = 4  # bytes of a weight, its gradient, its two moments; and of an activation in float32


@dataclass(frozen=True)
class Shape:
    """A transformer of BERT's kind."""

    hidden: int
    inner: int
    layers: int
    vocabulary: int
    positions: int

    @property
    def layer(self) -> int:
        """Parameters of one layer: attention, feed-forward, biases and norms."""
        return 4 * self.hidden**2 + 2 * self.hidden * self.inner + 9 * self.hidden + self.inner

    @property
    def parameters(self) -> int:
        """All parameters, with the pooler and without a head."""
        embeddings = (self.vocabulary + self.positions + 4) * self.hidden
        return embeddings + self.layers * self.layer + self.hidden**2 + self.hidden


def shape_of(known: Known, key: str) -> Shape | None:
    """The shape of a run's student, or of a pretrained model; None if its source does not say it."""
    parts = known.parts.get(key)
    if parts is None:
        return None
    if parts["kind"] != "run":
        said = parts["config"].get("config") or {}
        names = ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size", "max_position_embeddings")
        return Shape(*(said[name] for name in names)) if all(name in said for name in names) else None
    start = parts["config"].get("student", {}).get("start")
    before = shape_of(known, parts["inputs"]["start"]) if start and "start" in parts["inputs"] else None
    if before is None or start["layers"] is None:
        return before
    return replace(before, layers=len(start["layers"]))


def memory(known: Known, key: str) -> int | None:
    """Bytes that a run may take at its peak, its longest texts in one batch; None if its shape is not known.

    Weights, gradients and AdamW's moments of all parameters; what the layers keep for the backward pass; live teachers'
    weights. Attention's probabilities are counted once.
    """
    parts, shape = known.parts[key], shape_of(known, key)
    if shape is None or not parts["config"].get("stages") or "tokens" not in parts["inputs"]:
        return None
    length = known.parts[parts["inputs"]["tokens"]]["config"]["max_length"]
    kept = max(_kept(shape, stage, length, parts["config"]["runtime"]) for stage in parts["config"]["stages"])
    teachers = [shape_of(known, other) for role, other in parts["inputs"].items() if role.startswith("teacher ")]
    live = sum(teacher.parameters for teacher in teachers if teacher is not None)
    return PROCESS + FLOAT * (4 * shape.parameters + live) + kept


def _kept(shape: Shape, stage: dict[str, Any], length: int, runtime: dict[str, Any]) -> int:
    """Bytes that one pass keeps for its backward pass, on one device."""
    texts = -(-stage["batch_size"] // (stage["accumulate"] * devices(runtime)))
    half = 2 if runtime["precision"] != "float32" and stage["precision"] is None else FLOAT
    # a layer's input, queries, keys, values and context, two sums and two norms; before and after the activation
    each = half * (9 * shape.hidden + 2 * shape.inner) + half * (shape.hidden // 64) * length
    layers = shape.layers * half * shape.hidden + each if stage.get("recompute") else shape.layers * each
    return texts * length * (layers + 3 * half * shape.hidden)


def operations(known: Known, key: str) -> float | None:
    """Floating-point operations of a run or of teacher outputs: 6 a weight and token that is trained on, 2 of one that
    is predicted, embeddings not counted; None if shape or work is not known.
    """
    parts = known.parts[key]
    shape = shape_of(known, key if parts["kind"] == "run" else parts["inputs"].get("teacher", ""))
    work = known.work(key)
    if shape is None or work is None:
        return None
    return 6.0 * shape.layers * shape.layer * work
