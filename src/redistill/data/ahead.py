"""Batches that processes beside a run make ahead of it, in the order in which it will ask for them."""

import atexit
import signal
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from redistill.data.examples import Examples, on
from redistill.errors import RedistillError

Asked = tuple[np.ndarray, Sequence[int] | None]  # indices, and the seeds of their views
NOT_THEIRS = (signal.SIGTERM, signal.SIGINT)  # of the signals, those that processes beside a run leave to it


def ahead(data: Examples, upcoming: Iterator[Asked]) -> AbstractContextManager["Examples | Ahead"]:
    """Within, the same examples, whose batches are made ahead where that was asked for and images are decoded.

    Args:
        upcoming: what `batch` will be asked for, in order.
    """
    made = data.workers and data.pictures is not None
    return closing(Ahead(data, upcoming, data.workers)) if made else nullcontext(data)


class Ahead:
    """Examples whose batches are made ahead, until it is closed.

    Args:
        upcoming: what `batch` will be asked for, in order.
        workers: processes that decode and transform.
    """

    def __init__(self, data: "Examples | Ahead", upcoming: Iterator[Asked], workers: int):
        self.data = data
        # a generator of its own: the process' is the models', and is the same however batches are made
        loader: DataLoader[Any] = DataLoader(
            _Batches(data), sampler=_InOrder(upcoming), batch_size=None, num_workers=workers, prefetch_factor=2,
            generator=torch.Generator(), worker_init_fn=_begun,
        )  # fmt: skip
        # what is sent to all processes waits until each has said that it is not for it (`_begun`)
        held = signal.pthread_sigmask(signal.SIG_BLOCK, NOT_THEIRS)
        try:
            self.made: Any = iter(loader)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
        atexit.register(self.close)  # before Python waits for processes that nobody has told to end

    def close(self) -> None:
        """End the processes."""
        atexit.unregister(self.close)
        end = getattr(self.made, "_shutdown_workers", None)  # what it does itself once nothing refers to it
        if end is not None:
            end()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.data, name)

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, indices: np.ndarray, device: str = "cpu", seeds: Sequence[int] | None = None) -> dict[str, Any]:
        """As `Examples.batch`; the next one that was made.

        Raises:
            RedistillError: an image cannot be decoded, or a process that makes images is gone.
            RuntimeError: another one is asked for than was announced.
        """
        try:
            made = next(self.made)
        except (RuntimeError, OSError, EOFError) as error:  # the latter two where what it had made is asked for
            said = str(error) or type(error).__name__
            if said.startswith("Caught ") or (isinstance(error, RuntimeError) and "DataLoader worker" not in said):
                raise  # what was raised in the process
            raise RedistillError(
                f"a process that makes images is gone ({said.splitlines()[0]}): give the machine more memory, shared "
                "memory (/dev/shm) above all, or lower the study's `loading.workers`"
            ) from None
        if isinstance(made, RedistillError):
            raise made
        if not torch.equal(made["index"], torch.from_numpy(indices)):
            raise RuntimeError("batches are asked for in another order than they were announced in")
        batch: dict[str, Any] = on(made, device)
        return batch


def _begun(_worker: int) -> None:
    """A process beside a run ends with it, and not before: who asks all processes to stop is answered by the run, which
    still needs the batch that it waits for.
    """
    for number in NOT_THEIRS:
        signal.signal(number, signal.SIG_IGN)


class _Batches(Dataset[Any]):
    def __init__(self, data: "Examples | Ahead"):
        self.data = data

    def __getitem__(self, asked: Asked) -> dict[str, Any] | RedistillError:
        indices, seeds = asked
        try:
            return self.data.batch(indices, "cpu", seeds)
        except RedistillError as error:  # as it is: what is raised here comes with a traceback in its words
            return error


class _InOrder(Sampler[Asked]):
    def __init__(self, upcoming: Iterator[Asked]):
        self.upcoming = upcoming

    def __iter__(self) -> Iterator[Asked]:
        return self.upcoming
