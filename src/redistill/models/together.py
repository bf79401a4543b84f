"""Processes that compute one thing together, each on its own device: how they meet, and which of them does what.

torch's and accelerate's launchers tell a process by RANK, LOCAL_RANK and WORLD_SIZE that it has others beside it, and
so does `redistill.ranks`, which also hands the first one a socket on which the others find it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

from redistill.environment import devices
from redistill.errors import RedistillError

LISTENING = "REDISTILL_LISTENING"  # the first one's socket, by its number; for the others it is empty
LONGEST = timedelta(hours=2)  # that one may wait for another; who watches them ends all much sooner when one has died
Item = TypeVar("Item")
Config = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """What one of several processes does: of what is to be done, every `of`-th, beginning with the `own`-th."""

    own: int = 0
    of: int = 1

    @property
    def first(self) -> bool:
        """Whether it is the one that writes."""
        return self.own == 0

    def mine(self, items: Sequence[Item]) -> Sequence[Item]:
        """What this process does of some items."""
        return items[self.own :: self.of]

    def gathered(self, found: Item) -> list[Item]:
        """What each process has found, in their order; all are told."""
        if self.of == 1:
            return [found]
        everything: list[Any] = [None] * self.of
        distributed.all_gather_object(everything, found)
        return everything

    def wait(self) -> None:
        """Until all are here."""
        if self.of > 1:
            distributed.barrier()


WHOLE = Part()


def meet(runtime: Config) -> Part:
    """Find the other processes, if a study has several devices; which part of what is done is this one's.

    Raises:
        RedistillError: as many processes were started as the study does not say, or there are fewer GPUs.
    """
    started, wanted = int(os.environ.get("WORLD_SIZE", 1)), devices(runtime)
    if started != wanted:
        raise RedistillError(
            f"{started} processes were started, and the study says runtime.devices: {wanted}. Start as many, or just "
            "the command: it starts them itself"
        )
    if wanted == 1:
        return WHOLE
    part = Part(int(os.environ["RANK"]), wanted)
    if runtime["device"] == "cuda":
        torch.cuda.set_device(_gpu(runtime))
    if not distributed.is_initialized():
        backend = "nccl" if runtime["device"] == "cuda" else "gloo"
        distributed.init_process_group(
            backend, store=_store(part), rank=part.own, world_size=part.of, timeout=LONGEST
        )  # fmt: skip
    return part


def _gpu(runtime: Config) -> int:
    """The GPU of this process.

    Raises:
        RedistillError: there are not as many.
    """
    wanted = int(os.environ.get("LOCAL_WORLD_SIZE", devices(runtime)))
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if there < wanted:
        raise RedistillError(
            f"runtime.devices is {wanted} and runtime.device `cuda`, and torch finds {there} GPUs here: run it on a "
            "machine that has as many, or change the study, which gives other keys"
        )
    return int(os.environ.get("LOCAL_RANK", 0))


def _store(part: Part) -> distributed.Store | None:
    """Where processes that were started by `redistill.ranks` meet: the first one listens on a socket that was bound
    before it was started, so that nobody else can have its port. None where a launcher of another kind says where.
    """
    said = os.environ.get(LISTENING)
    if said is None:
        return None
    return distributed.TCPStore(
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), part.of, is_master=part.first, timeout=LONGEST,
        master_listen_fd=int(said) if part.first else None,
    )  # fmt: skip


def leave() -> None:
    """Say goodbye to the others, once there is nothing more to compute."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
