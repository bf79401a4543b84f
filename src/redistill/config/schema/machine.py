"""A machine that a study could be made on, configs/machines/*.yaml: what `redistill plan --profile` simulates."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from redistill.config.schema.values import NonNegativeFloat, Strict, Word

Attained = dict[Literal["float32", "bfloat16", "float16"], PositiveFloat]


class Gpus(Strict):
    """The GPUs of a node, all alike."""

    count: PositiveInt = Field(description="How many a node has")
    speed: PositiveFloat = Field(
        1.0,
        description="How many times as fast as a GPU of the reference, for runs like those that were recorded there",
    )
    operations: Attained = Field(
        default={},
        description="Floating-point operations a second that training attains on one, by precision; for runs like "
        "which none was recorded",
    )
    step: NonNegativeFloat = Field(0.0, description="Seconds that a step takes at least, however small the model is")


class Nodes(Strict):
    """Nodes that are all alike."""

    count: PositiveInt = Field(1, description="How many there are")
    cores: PositiveInt = Field(description="Cores of each")
    memory: PositiveFloat | None = Field(None, description="GiB of memory of each; without, it bounds nothing")
    gpus: Gpus | None = Field(None, description="GPUs of each")
    speed: PositiveFloat = Field(
        1.0, description="How many times as fast as a core of the reference, for what was recorded there"
    )
    operations: Attained = Field(
        default={},
        description="Floating-point operations a second that training attains on one core, by precision; for runs like "
        "which none was recorded",
    )
    images: PositiveFloat | None = Field(
        None,
        description="Images from files that one core decodes and transforms in a second; without, it takes no time",
    )
    price: NonNegativeFloat = Field(0.0, description="Price of one node for an hour")


class Queue(Strict):
    """A batch system between Snakemake and the nodes."""

    jobs: PositiveInt = Field(description="Jobs that Snakemake has submitted at once, as `--jobs` says")
    delay: NonNegativeFloat = Field(
        0.0, description="Seconds from a job's submission until it may begin on a free node"
    )
    submission: NonNegativeFloat = Field(0.0, description="Seconds that it takes Snakemake to submit a job")
    noticed: NonNegativeFloat = Field(
        0.0, description="Seconds from a job's end until Snakemake knows; half of the time between its questions"
    )


class Pace(Strict):
    """What is not work: what it takes beside the jobs themselves."""

    start: NonNegativeFloat = Field(0.0, description="Seconds from the command to the first job: reading, checking")
    job: NonNegativeFloat = Field(0.0, description="Seconds of each job beside what records count: its process's start")
    round: NonNegativeFloat = Field(0.0, description="Seconds that Snakemake takes to choose jobs, once")
    ready: NonNegativeFloat = Field(0.0, description="Seconds that this takes longer for each job that could begin")
    end: NonNegativeFloat = Field(0.0, description="Seconds from the last job to the end of the command")


class Machine(Strict):
    """Nodes, and what it takes to use them. Numbers are given here, or come from records of the reference."""

    title: str = Field(description="What it is")
    reference: str | None = Field(
        None,
        description="Processor, as records name it, whose records say how long things take; without, it is this "
        "machine's, and whatever there is if this machine has none",
    )
    nodes: dict[Word, Nodes] = Field(min_length=1, description="Kinds of nodes, by name")
    queue: Queue | None = Field(None, description="The batch system; without, Snakemake starts jobs on its own node")
    pace: Pace = Field(Pace(), description="What it takes beside the jobs themselves")
    network: PositiveFloat | None = Field(None, description="MB a second at which data and models are fetched")
    storage: PositiveFloat | None = Field(None, description="MB a second at which a job reads and writes the store")
    billed: Literal["nodes", "jobs"] = Field(
        "nodes",
        description="What is paid: every node from begin to end, or the part of a node that a job has, while it runs",
    )
    currency: Annotated[str, Field(max_length=12)] = Field("", description="What prices are in")

    @model_validator(mode="after")
    def _reached(self) -> "Machine":
        if self.queue is None and sum(nodes.count for nodes in self.nodes.values()) > 1:
            raise ValueError("has several nodes and no `queue`: without a batch system Snakemake reaches its own node "
                             "alone")  # fmt: skip
        return self
