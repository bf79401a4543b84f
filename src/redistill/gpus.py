"""Which GPUs a job computes on: as many as its study says, and none that another job on this machine has.

A job holds a GPU by a name that only one process of a machine can have, an abstract socket: whatever store, study or
user it is of. The kernel takes it back when the job ends, however it ends. Within what a scheduler has given to a job,
the job's own steps share nothing with others, so names begin with its number.
"""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from redistill.environment import devices
from redistill.errors import RedistillError
from redistill.provenance import nvidia

LISTED = "REDISTILL_GPUS"  # those that jobs may take, separated by commas; else those that CUDA_VISIBLE_DEVICES names
VISIBLE = "CUDA_VISIBLE_DEVICES"
SCHEDULER = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")  # of what has given GPUs to this job
LONGEST = 24 * 3600.0  # seconds that a job waits for others to end
PAUSE = 0.5


@contextmanager
def held(runtime: dict[str, Any]) -> Iterator[list[str]]:
    """Within, this process and those that it starts see GPUs that are theirs alone; on CPUs, everything is as it was.
    Must be entered before torch looks at the GPUs.

    Raises:
        RedistillError: the machine has fewer than the study says, or others did not give any back for a day.
    """
    if runtime["device"] != "cuda" or "WORLD_SIZE" in os.environ:
        yield []
        return
    listed, wanted = names(), devices(runtime)
    if listed and len(listed) < wanted:
        raise RedistillError(
            f"runtime.devices is {wanted}, and there {'is 1 GPU' if len(listed) == 1 else f'are {len(listed)} GPUs'} "
            f"here ({', '.join(listed)}): run it on a machine that has as many, or change the study, which gives other "
            "keys"
        )
    before = os.environ.get(VISIBLE)
    with _taken(listed, min(wanted, len(listed))) as mine:
        if mine:
            os.environ[VISIBLE] = ",".join(mine)
        try:
            yield mine
        finally:
            if mine:
                os.environ.pop(VISIBLE)
                os.environ |= {VISIBLE: before} if before is not None else {}


def names() -> list[str]:
    """The GPUs that jobs may take here, as CUDA_VISIBLE_DEVICES names them; none if nobody knows."""
    for variable in (LISTED, VISIBLE):
        said = os.environ.get(variable)
        if said is not None:
            return [name.strip() for name in said.split(",") if name.strip()]
    return nvidia.names()


@contextmanager
def _taken(listed: list[str], wanted: int) -> Iterator[list[str]]:
    """So many of the GPUs, once as many are free: all or none, so that two jobs never wait for one another."""
    deadline, said = time.monotonic() + LONGEST, False
    while True:
        with ExitStack() as mine:
            found = _free(listed, wanted, mine)
            if len(found) == wanted:
                held_until_the_end = mine.pop_all()
                break
        if time.monotonic() >= deadline:
            raise RedistillError(
                f"other jobs have had the GPUs of this machine ({', '.join(listed)}) for a day: `snakemake --resources "
                f"gpu={len(listed)}` starts no more jobs than there are GPUs for"
            )
        if not said:
            waits = f"waits for {wanted} of the GPUs {', '.join(listed)}: other jobs have them"
            print(waits, file=sys.stderr, flush=True)
            said = True
        time.sleep(PAUSE)
    with held_until_the_end:
        yield found


def _free(listed: list[str], wanted: int, mine: ExitStack) -> list[str]:
    """The first free ones, which are this process' from now on."""
    found = list[str]()
    with ExitStack() as gate:
        if wanted and not _bound("", gate):  # another job is just looking
            return found
        for name in listed:
            if len(found) < wanted and _bound(name, mine):
                found.append(name)
    return found


def _bound(name: str, holder: ExitStack) -> bool:
    """Whether a name is this process', until the holder is closed; where there are no such names, it is."""
    if not sys.platform.startswith("linux"):
        return True
    job = next((os.environ[variable] for variable in SCHEDULER if variable in os.environ), "")
    mark = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        mark.bind(f"\0redistill gpu {job} {name}")
    except OSError:
        mark.close()
        return False
    holder.enter_context(mark)
    return True
