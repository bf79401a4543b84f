"""A run in progress, saved whole so that it goes on to the same bytes: safetensors and JSON, nothing pickled.

progress/<stage>-<step>/state.safetensors   weights, optimiser, best weights so far, states of random generators
progress/<stage>-<step>/rank-1.safetensors  what the second of several devices has of all that, where they share it
progress/<stage>-<step>/state.json          positions and scalars, sealed with the digests of all; written last
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
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

KEPT = 2  # a torn newest one leaves the one before
State = tuple[dict[str, Any], dict[str, Tensor]]


def save(progress: Path, name: str, values: dict[str, Any], tensors: dict[str, Tensor], ranks: int = 1) -> None:
    """Write a checkpoint beside, sync it, rename it into place, and drop those before the one before.

    Args:
        ranks: how many devices share what is saved; the others have said `save_share` before.
    """
    progress.mkdir(parents=True, exist_ok=True)
    beside = progress / f".{name}"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    _write(beside / _file(0), tensors)
    for rank in range(1, ranks):
        _share(progress, rank).replace(beside / _file(rank))
    sealed = {"values": values, "seal": _seal(values, beside)}
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


def save_share(progress: Path, rank: int, tensors: dict[str, Tensor]) -> None:
    """Write what this device has of a checkpoint that the first one is to save."""
    progress.mkdir(parents=True, exist_ok=True)
    _write(_share(progress, rank), tensors)


def _share(progress: Path, rank: int) -> Path:
    return progress / f".{_file(rank)}"


def _file(rank: int) -> str:
    return f"rank-{rank}.safetensors" if rank else "state.safetensors"


def _write(file: Path, tensors: dict[str, Tensor]) -> None:
    save_file({key: own(t.detach()).to("cpu").contiguous().clone() for key, t in tensors.items()}, file)


def own(tensor: Tensor) -> Tensor:
    """What this device has of a tensor: all of it, or its share."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def fill(module: nn.Module, saved: dict[str, Tensor]) -> None:
    """Put saved weights into a module; or this device's shares of them, where devices share it."""
    state = module.state_dict()
    if not any(isinstance(tensor, DTensor) for tensor in state.values()):
        module.load_state_dict(saved)
        return
    with torch.no_grad():
        for name, tensor in state.items():
            own(tensor).copy_(own(saved[name]))


def found(progress: Path) -> list[Path]:
    """The checkpoints that are there, whole or torn."""
    return [folder for folder in progress.glob("[0-9]*") if folder.is_dir()]


def newest(progress: Path, rank: int = 0) -> State | None:
    """The newest whole checkpoint, as a device has it; a torn one is named and skipped."""
    for folder in sorted(found(progress), reverse=True):
        try:
            sealed = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            if sealed["seal"] == _seal(sealed["values"], folder):
                shared = (folder / _file(rank)).exists()
                return sealed["values"], load_file(folder / _file(rank if shared else 0))
        except (OSError, ValueError, KeyError, TypeError):
            pass
        print(f"checkpoint {folder.name}: torn, skipped", flush=True)
    return None


def _seal(values: dict[str, Any], folder: Path) -> str:
    with (folder / _file(0)).open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    for share in sorted(folder.glob("rank-*.safetensors")):
        with share.open("rb") as stream:
            digest.update(f"{share.name} {hashlib.file_digest(stream, 'sha256').hexdigest()}".encode())
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
    if not isinstance(value, Tensor) or value.shape != own(parameter).shape:
        return value
    laid_out = torch.empty_like(parameter)
    own(laid_out).copy_(value)
    return laid_out


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
