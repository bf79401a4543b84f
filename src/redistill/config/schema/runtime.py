"""Runtime: the constants of a study, which no machine chooses; and what does not touch numbers."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from redistill.config.schema.values import Strict


class Runtime(Strict):
    """Constants of a study, part of the keys of its runs and teacher outputs: a machine never chooses them."""

    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Type of arithmetic; weights are float32. The 16-bit types train in mixed precision"
    )
    device: Literal["cpu", "cuda"] = Field("cpu", description="Where models run")
    devices: PositiveInt = Field(
        1, description="Devices of one machine that train a run together, a process each; batches are cut among them"
    )
    strategy: Literal["ddp", "fsdp"] = Field(
        "ddp", description="What each of several devices holds: the whole of what learns, or its share of it"
    )
    threads: PositiveInt = Field(1, description="Threads of each process")
    portable: bool = Field(False, description="Pin instruction sets, so that every processor gives the same bytes")


class Checkpoints(Strict):
    """How often a run in progress is saved, so that it can go on when it was stopped. Changes no number and no key."""

    steps: PositiveInt | None = Field(None, description="After so many steps")
    seconds: PositiveInt | None = Field(300, description="After so many seconds")


class Loading(Strict):
    """How images come to a run. Changes no number and no key."""

    workers: NonNegativeInt = Field(0, description="Processes beside each run that decode and transform images")
