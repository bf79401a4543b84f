"""The schema of records, which configs/schema/record.schema.json publishes. Read with pydantic, which jobs do without.

A change to it is a new number: what reads records refuses a number that it does not know.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

Key = Annotated[str, StringConstraints(pattern="^[0-9a-f]{16}$")]
Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
Image = Annotated[str, StringConstraints(pattern="^sha256:[0-9a-f]{64}$")]
Commit = Annotated[str, StringConstraints(pattern="^[0-9a-f]{40,64}$")]
Moment = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class KeyParts(Section):
    """What the key is made of: it is the start of their SHA-256."""

    kind: str
    config: dict[str, Any] = Field(description="The resolved config")
    inputs: dict[str, Key] = Field(description="Keys of what it is made from, by role")
    code: dict[str, str] = Field(description="Start of the SHA-256 of each module's code, and of plugins")
    packages: dict[str, str] = Field(description="Versions of the packages that its numbers depend on")


class Used(Section):
    """An input as it was used."""

    key: Key
    manifest: Digest = Field(description="SHA-256 of its manifest, as it was verified before it was used")


class Made(Section):
    """What came out."""

    manifest: Digest = Field(description="SHA-256 of its manifest, which has each file's")


class Resume(Section):
    """Where a run was taken up again."""

    stage: Count
    step: Count


class Attempt(Section):
    """An attempt before, which did not make it."""

    start: Moment
    end: Moment = Field(description="Of one that was killed: when it last wrote something")
    seconds: Amount
    outcome: Literal["failed", "stopped", "killed"] = Field(
        description="By itself; by SIGTERM or from the keyboard; without a word, as by SIGKILL or a power cut"
    )
    said: str = Field(description="Why, without paths, names of users and hosts, and secrets")


class Before(Section):
    """The same thing made before, and removed since."""

    start: Moment
    end: Moment
    manifest: Digest | None = Field(description="Null where its record was of schema 1")
    commit: Commit | None


class Energy(Section):
    """Joules that the machine's own counters counted between start and end, whatever else ran beside the job."""

    processors: Amount | None = Field(None, description="All packages (RAPL); absent where it is not counted")
    devices: Amount | None = Field(
        None, description="The NVIDIA devices that the job saw; absent where it is not counted"
    )


class Machine(Section):
    """The hardware."""

    system: str
    machine: str = Field(description="Of the processor, such as x86_64")
    processor: str = Field(description="Its name; empty where the system does not tell")
    cores: int | None = Field(description="That the job may use")
    vendor: str = ""
    family: str = ""
    model: str = ""
    features: list[str] = Field([], description="Which of the instruction sets that matter here it has")
    devices: list[str] = Field([], description="Names of the GPUs")


class Blas(Section):
    """A library for linear algebra that was loaded; what it does not tell is null."""

    name: str
    version: str | None
    kernels: str | None = Field(description="For which processor its kernels are")
    threads: int | None


class Cuda(Section):
    """Versions of what drives the GPUs."""

    runtime: str | None
    cudnn: str | None
    driver: str | None


class Environment(Section):
    """What the job ran in."""

    python: str
    libc: str | None
    lock: Digest | None = Field(description="SHA-256 of envs/requirements.lock")
    image: Image | None = Field(description="Digest of the container's image, from REDISTILL_IMAGE")
    packages: dict[str, str] = Field(description="Each installed distribution and its version")
    pinned: dict[str, str] = Field(description="Variables that pin threads and kernels")
    blas: list[Blas]
    cuda: Cuda | None = Field(description="Null where the job was not to use a GPU")


class Code(Section):
    """The state of the project's git work tree when the job started; all null where there is none."""

    commit: Commit | None
    clean: bool | None = Field(description="Whether tracked files, but for store/ and results/, are as in the commit")
    diff: Digest | None = Field(
        description="If not: SHA-256 of the canonical JSON of the differing files' own SHA-256 by path"
    )
    untracked: bool | None = Field(description="Whether there are files of code that git does not know")


class Record(Section):
    """How a thing in the store came to be (redistill, schema 2)."""

    schema_: Literal[2] = Field(alias="schema", description="Version of this schema")
    key: Key = Field(description="The key of the thing")
    what: str = Field(description="Its name in the study")
    key_parts: KeyParts
    inputs: dict[str, Used] = Field(description="What it was made from, by role")
    output: Made
    command: Annotated[str, StringConstraints(pattern="^redistill make [0-9a-f]{16}$")]
    start: Moment
    end: Moment
    seconds: Amount
    core_seconds: Amount = Field(description="Of the job and the processes that it started")
    peak_memory_mib: Count = Field(description="Of the job's own process")
    energy_joules: Energy | None = Field(description="Null where the machine does not tell")
    resumed: list[Resume] = Field(description="From where a run was taken up again, each time that it was")
    attempts: list[Attempt] = Field(description="What failed or was killed before it was made")
    made_before: list[Before]
    machine: Machine
    environment: Environment
    code: Code


def mistake(noted: dict[str, Any]) -> str | None:
    """The first thing that is wrong with a record, in words; None if nothing is."""
    try:
        Record.model_validate(noted)
    except ValidationError as error:
        return first_of(error)
    return None


def first_of(error: ValidationError) -> str:
    """The first mistake, in words, and where it is."""
    first = error.errors(include_url=False, include_input=False)[0]
    return ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
