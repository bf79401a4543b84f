"""Where do two machines part? Digests of every step, and of every operation of one step, to be compared."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from redistill.errors import RedistillError
from redistill.training.loop import Stage

Line = dict[str, Any]


class Trace:
    """A hook that writes the digest of the weights after each step, and of one step every operation's tensors."""

    def __init__(self, stream: TextIO, stage: int, step: int | None):
        self.stream, self.stage, self.step = stream, stage, step
        self.operations: _Operations | None = None

    def before_stage(self, stage: Stage) -> None:
        self._write({"stage": stage.index, "weights": _digests(stage.learner.state_dict())})
        self._watch(stage)

    def after_step(self, stage: Stage) -> None:
        if self.operations is not None:
            self.operations.__exit__(None, None, None)
            self.operations = None
        self._write(
            {
                "stage": stage.index,
                "step": stage.step - 1,
                **stage.values,
                "weights": _digests(stage.learner.state_dict()),
            }
        )
        self._watch(stage)

    def after_stage(self, stage: Stage) -> None:
        pass

    def _watch(self, stage: Stage) -> None:
        if (stage.index, stage.step) == (self.stage, self.step) and stage.step < stage.steps:
            self.operations = _Operations(self._write)
            self.operations.__enter__()

    def _write(self, line: Line) -> None:
        self.stream.write(json.dumps(line) + "\n")


class _Operations(TorchDispatchMode):
    """Sees every operation that torch carries out, backward ones too."""

    def __init__(self, write: Callable[[Line], None]):
        super().__init__()
        self.write, self.count = write, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = [_digest(t) for t in _tensors((args, kwargs or {}))]
        result = func(*args, **(kwargs or {}))
        self.count += 1
        after = [[_digest(t), list(t.shape)] for t in _tensors(result)]
        self.write({"operation": self.count, "name": str(func), "in": before, "out": after})
        return result


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for part in value for t in _tensors(part)] if isinstance(value, tuple | list) else []


def _digest(tensor: Tensor) -> str:
    # Cloned, for a single number that was expanded passes for contiguous and cannot be seen as bytes.
    plain = tensor.detach().cpu().reshape(-1).clone(memory_format=torch.contiguous_format)
    raw = plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b""
    return hashlib.sha256(raw).hexdigest()[:16]


def _digests(tensors: dict[str, Tensor]) -> dict[str, str]:
    return {name: _digest(tensor) for name, tensor in tensors.items()}


def compare(ours: Path, theirs: Path) -> str:
    """Where two traces part, in a sentence.

    Raises:
        RedistillError: a file is no trace.
    """
    for a, b in zip(_read(ours), _read(theirs), strict=False):
        if a == b:
            continue
        if "operation" in a and "operation" in b:
            return _operation(a, b)
        if "operation" in a or "operation" in b:
            return "the traces look into different steps: make both with the same --step"
        different = [name for name in a["weights"] if a["weights"][name] != b.get("weights", {}).get(name)]
        where = f"stage {a['stage']}, step {a['step']}" if "step" in a else f"stage {a['stage']}, before its first step"
        advice = f" Make both traces again with --step {a['step']} to see the operation." if "step" in a else ""
        named = f"the first is {different[0]}" if different else "the losses do"
        return f"{where}: {len(different)} of {len(a['weights'])} tensors differ, {named}.{advice}"
    return "the same in every step that both have"


def _operation(a: Line, b: Line) -> str:
    if a["name"] != b["name"]:
        return f"operation {a['operation']} is {a['name']} here and {b['name']} there: other code, or other packages"
    if a["in"] != b["in"]:
        return f"operation {a['operation']} ({a['name']}) is given other values: they come from outside this step"
    shapes = ", ".join(str(tuple(shape)) for _, shape in a["out"])
    return f"operation {a['operation']}, {a['name']} giving {shapes}: the same values in, others out"


def _read(file: Path) -> list[Line]:
    try:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise RedistillError(f"{file} is no trace that can be read: {error}") from None
