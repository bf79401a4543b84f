"""Traces that people publish: small enough for git, and still telling the step and the tensors at which two part.

results/<study>/signed/traces/KEY.steps.DIGEST.jsonl has a line for each stage and step: a digest of everything, and
four digits for each tensor, in the order that the line of the stage names them in. KEY.STAGE.STEP.DIGEST.jsonl has the
operations of one step, as `redistill trace --step` writes them.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redistill.claims import envelopes
from redistill.claims.steps import Line, Traced
from redistill.errors import RedistillError
from redistill.provenance import store
from redistill.provenance.keys import canonical, sha256_text

SCHEMA = 1
WHOLE = 16  # digits of a line's digest: the step is certain
PIECE = 4  # of a tensor's: one in 65,536 is missed
NAMED = 3  # tensors that are told of


@dataclass(frozen=True)
class Parted:
    """Where two trainings part: after which step of which stage, or before its first; and in which tensors first.

    `tensors` are none where the losses alone differ.
    """

    stage: int
    step: int | None
    tensors: tuple[str, ...]
    of: int

    def __str__(self) -> str:
        where = f"stage {self.stage}, " + ("before its first step" if self.step is None else f"step {self.step}")
        if not self.tensors:
            return f"{where}: the losses differ, and no tensor"
        more = len(self.tensors) - NAMED
        named = ", ".join(self.tensors[:NAMED]) + (f" and {more} more" if more > 0 else "")
        return f"{where}: {len(self.tensors)} of {self.of} tensors differ: {named}"


def folder(root: Path, study: str) -> Path:
    return envelopes.folder(root, study) / "traces"


def write_steps(root: Path, study: str, key: str, trace: Traced) -> Path:
    """Publish the steps of a run."""
    lines = [canonical({"schema": SCHEMA, "key": key, "weights": trace.weights})]
    lines += [canonical(line) for line in _compact(trace.lines)]
    return _write(folder(root, study), f"{key}.steps", lines)


def write_operations(root: Path, study: str, key: str, stage: int, step: int, trace: Traced) -> Path:
    """Publish the operations of one step.

    Raises:
        RedistillError: there is no such step.
    """
    lines = [json.dumps(line) for line in trace.lines if "operation" in line]
    if not lines:
        raise RedistillError(f"{key} has no step {step} in stage {stage}")
    return _write(folder(root, study), f"{key}.{stage}.{step}", lines)


def _write(target: Path, name: str, lines: list[str]) -> Path:
    text = "\n".join(lines) + "\n"
    file = target / f"{name}.{sha256_text(text)[:12]}.jsonl"
    store.write_atomically(file, text)
    return file


def _compact(lines: list[Line]) -> Iterator[Line]:
    named: list[str] = []
    for line in lines:
        if "operation" in line:
            continue
        names = list(line["weights"])
        small: Line = {"stage": line["stage"], "step": line.get("step"), "all": _digest(line, WHOLE)}
        if names != named:
            small["names"], named = names, names
        small["each"] = "".join(_digest(line["weights"][name], PIECE) for name in names)
        yield small


def _digest(value: Any, digits: int) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:digits]


def published(root: Path, study: str, key: str) -> Iterator[tuple[Path, dict[str, Any], list[Line]]]:
    """The traces of a run's steps that people have published: file, head and lines.

    Raises:
        RedistillError: a file is no such trace.
    """
    for file in sorted(folder(root, study).glob(f"{key}.steps.*.jsonl")):
        try:
            head, *lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
            if head["key"] != key or head["schema"] != SCHEMA or not isinstance(head["weights"], str):
                raise ValueError(head)
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise RedistillError(f"{file}: is no trace that can be read ({error.__class__.__name__})") from None
        yield file, head, lines


def operations(root: Path, study: str, key: str, stage: int, step: int) -> list[Path]:
    """The traces of one step's operations that people have published."""
    return sorted(folder(root, study).glob(f"{key}.{stage}.{step}.*.jsonl"))


def first_difference(ours: list[Line], theirs: list[Line]) -> Parted | None:
    """Where two traces of steps part; None if they are the same as far as both go.

    Raises:
        RedistillError: they are of different models.
    """
    names: list[str] = []
    for a, b in zip(ours, theirs, strict=False):
        if a.get("names") != b.get("names") or (a["stage"], a["step"]) != (b["stage"], b["step"]):
            raise RedistillError("the traces are of different models or stages: they cannot be compared")
        names = a.get("names", names)
        if a["all"] != b["all"]:
            ours_here, theirs_here = _pieces(a), _pieces(b)
            differ = tuple(n for n, x, y in zip(names, ours_here, theirs_here, strict=True) if x != y)
            return Parted(a["stage"], a["step"], differ, len(names))
    return None


def _pieces(line: Line) -> list[str]:
    return [line["each"][i : i + PIECE] for i in range(0, len(line["each"]), PIECE)]
