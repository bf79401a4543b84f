"""A run on several devices: who holds what of the learner, and what accelerate makes of it.

`ddp`: every device holds all that learns, and gradients are averaged. `fsdp`: every device holds its share of each
weight, of its gradient and of the optimiser's state; a layer's weights come together while it computes. Teachers and
other modules that do not learn are whole on every device.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from redistill.environment import devices
from redistill.models.together import meet
from redistill.training.learner import Learner
from redistill.training.loop import Stage

Config = dict[str, Any]
MIXED = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}  # accelerate's words


def accelerator_of(runtime: Config) -> Accelerator:
    """What places models on devices, mixes precision and joins processes.

    Raises:
        RedistillError: as many processes were started as the study does not say, or there are fewer GPUs.
    """
    meet(runtime)
    return Accelerator(
        cpu=runtime["device"] == "cpu", mixed_precision=MIXED[runtime["precision"]],
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )  # fmt: skip


def shards(runtime: Config) -> bool:
    """Whether each device holds a share of what learns; what was made before there was the word knows it not."""
    return devices(runtime) > 1 and runtime.get("strategy") == "fsdp"


def to_train(learner: Learner, runtime: Config) -> Learner:
    """What a stage trains: the learner, or a copy of it, to be sharded; the whole waits in the computer's memory."""
    # shares are rows, which only tensors in the plain order of dimensions have in one piece
    return copy.deepcopy(learner.cpu()).to(memory_format=torch.contiguous_format) if shards(runtime) else learner


def sharded(learner: Learner, runtime: Config, heads: list[nn.Module], taps: dict[str, list[str]]) -> None:
    """Let each device keep its share of each weight, if the study says so: in place, under the same names.

    Args:
        heads: layers that losses use outside of the model that they are in.
        taps: by model; while a module is looked into, its layer's weights stay together until the backward pass is
            through: gradients may come to them before those of the layer's outputs do.
    """
    if not shards(runtime):
        return
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(runtime["device"], (devices(runtime),))
    seen = {f"{_place(model)}.{tap.partition(':')[0]}" for model, named in taps.items() for tap in named}
    for name, layer in layers(learner, heads):
        looked_into = any(f"{tap}.".startswith(f"{name}.") for tap in seen)
        fully_shard(layer, mesh=mesh, reshard_after_forward=not looked_into)
    fully_shard(learner, mesh=mesh, reshard_after_forward=False)


def _place(model: str) -> str:
    return "student" if model == "student" else f"peers.{model}"


def layers(learner: nn.Module, heads: list[nn.Module]) -> list[tuple[str, nn.Module]]:
    """The modules whose weights come together while they compute, and only then: the outermost of those that are one of
    a list and have parts, such as a transformer's layers and a ResNet's blocks. All others' do for a whole step.
    """
    found: list[tuple[str, nn.Module]] = []
    for name, module in learner.named_modules():
        if not isinstance(module, nn.ModuleList | nn.Sequential) or not f"{name}.".startswith(("student.", "peers.")):
            continue
        for place, part in module.named_children():
            inside = list(part.modules())
            within = any(f"{name}.{place}.".startswith(f"{other}.") for other, _ in found)
            held = any(head is one for head in heads for one in inside)
            listed = isinstance(part, nn.ModuleList | nn.ModuleDict)  # which compute nothing themselves
            if len(inside) > 1 and any(True for _ in part.parameters()) and not (within or held or listed):
                found.append((f"{name}.{place}", part))
    return found


def prepared(
    accelerator: Accelerator, learner: Learner, optimiser: Optimizer, runtime: Config
) -> tuple[nn.Module, Optimizer]:
    """The learner and the optimiser as accelerate has them; what is sharded waits for other devices by itself."""
    if shards(runtime):
        return accelerator.prepare_model(learner, evaluation_mode=True), accelerator.prepare_optimizer(optimiser)
    model, adjusted = accelerator.prepare(learner, optimiser)
    return model, adjusted


def all_of(stage: Stage) -> Learner:
    """The learner with all of its weights as they are now, on its device, and everywhere the same: what norms have seen
    is the first device's. All processes have to ask for it together.
    """
    if stage.accelerator.num_processes > 1:
        for buffer in stage.learner.buffers():
            distributed.broadcast(buffer, 0)
    if stage.whole is stage.learner:
        return stage.learner
    shares = stage.learner.state_dict()
    with torch.no_grad():
        for name, tensor in stage.whole.state_dict().items():
            tensor.copy_(_full(shares[name]))
    return stage.whole.to(stage.accelerator.device)


@contextmanager
def evaluated(stage: Stage) -> Iterator[nn.Module]:
    """Within, the student with all of its weights."""
    learner = all_of(stage)
    try:
        yield learner.student
    finally:
        if learner is not stage.learner:
            learner.cpu()


def _full(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
