"""A run in progress, saved whole so that it goes on to the same bytes: safetensors and JSON, nothing pickled.

progress/<stage>-<step>/state.safetensors   weights, optimiser, best weights so far, states of random generators
progress/<stage>-<step>/state.json          positions and scalars, sealed with the digests of both; written last
progress/log.jsonl                          the log so far; a checkpoint knows up to where it holds
"""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

KEPT = 2  # a torn newest one leaves the one before
State = tuple[dict[str, Any], dict[str, Tensor]]


def save(progress: Path, name: str, values: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write a checkpoint beside, sync it, rename it into place, and drop those before the one before."""
    progress.mkdir(parents=True, exist_ok=True)
    beside = progress / f".{name}"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    save_file(
        {key: t.detach().to("cpu").contiguous().clone() for key, t in tensors.items()}, beside / "state.safetensors"
    )
    sealed = {"values": values, "seal": _seal(values, beside / "state.safetensors")}
    (beside / "state.json").write_text(json.dumps(sealed), encoding="utf-8")
    for file in beside.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    shutil.rmtree(progress / name, ignore_errors=True)
    beside.replace(progress / name)
    earlier = [folder for folder in sorted(found(progress)) if folder.name <= name]  # what is later was torn
    for old in set(found(progress)) - set(earlier[-KEPT:]):
        shutil.rmtree(old)


def found(progress: Path) -> list[Path]:
    """The checkpoints that are there, whole or torn."""
    return [folder for folder in progress.glob("[0-9]*") if folder.is_dir()]


def newest(progress: Path) -> State | None:
    """The newest whole checkpoint; a torn one is named and skipped."""
    for folder in sorted(found(progress), reverse=True):
        try:
            sealed = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            if sealed["seal"] == _seal(sealed["values"], folder / "state.safetensors"):
                return sealed["values"], load_file(folder / "state.safetensors")
        except (OSError, ValueError, KeyError, TypeError):
            pass
        print(f"checkpoint {folder.name}: torn, skipped", flush=True)
    return None


def _seal(values: dict[str, Any], tensors: Path) -> str:
    with tensors.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    digest.update(json.dumps(values).encode())
    return digest.hexdigest()


def optimiser_state(optimiser: Optimizer) -> State:
    """An optimiser's state: what is plain, and what is tensors, by `index/name`."""
    plain: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    for index, state in optimiser.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"{index}/{name}"] = value
            else:
                plain[f"{index}/{name}"] = value
    return plain, tensors


def restore_optimiser(optimiser: Optimizer, plain: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Put a saved state into an optimiser over the same parameters."""
    state: dict[int, dict[str, Any]] = {}
    trained = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for key, value in {**plain, **tensors}.items():
        index, _, name = key.partition("/")
        state.setdefault(int(index), {})[name] = _laid_out(value, trained[int(index)])
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _laid_out(value: Any, parameter: Tensor) -> Any:
    """A state in its parameter's order of dimensions in memory, which fused optimisers take for granted."""
    alike = isinstance(value, Tensor) and value.shape == parameter.shape
    return torch.empty_like(parameter).copy_(value) if alike else value


def random_state(rank: int) -> dict[str, Tensor]:
    """The states of this process' generators, by `rank/device`."""
    states = {f"{rank}/cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states[f"{rank}/cuda"] = torch.cuda.get_rng_state()
    return states


def restore_random(rank: int, states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states[f"{rank}/cpu"])
    if f"{rank}/cuda" in states:
        torch.cuda.set_rng_state(states[f"{rank}/cuda"])


def within(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix/`, without it."""
    return {name.removeprefix(f"{prefix}/"): t for name, t in tensors.items() if name.startswith(f"{prefix}/")}
