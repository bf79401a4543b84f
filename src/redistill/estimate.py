"""What a plan will cost, from what was made here before: time of one process, wall time on these cores, and disk."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from redistill.config.schema.runtime import Runtime
from redistill.performance import cost, size, times
from redistill.performance.needs import cores_of, threads_of
from redistill.performance.simulate import Job, Place, Room, simulate
from redistill.performance.units import seconds_of
from redistill.plan import Node, Plan

HERE = "this machine"
LEAST_WIDE = 1.05  # a range is never narrower than this factor


@dataclass(frozen=True)
class Estimate:
    """Sums over the things of which something is known, and how many those are.

    `seconds`, `wall` and `chain` are as it was before, with whatever else the machine did; `quiet_seconds` and
    `quiet_wall` count the work of the processor alone. `low` and `high` are the factors between which such sums were,
    if things err all alike.
    """

    seconds: float
    size: int
    known: int
    asked: int
    quiet_seconds: float = 0.0
    low: float = 1.0
    high: float = 1.0
    wall: float = 0.0
    quiet_wall: float = 0.0
    chain: float = 0.0
    cores: int = 1
    memory: int = 0
    memory_measured: bool = False
    operations: float = 0.0

    def __str__(self) -> str:
        return "\n".join([self._time(), *self._needs()])

    def _needs(self) -> list[str]:
        """What the largest job takes, and what is computed where nothing like it was made."""
        how = "as such jobs took here" if self.memory_measured else "by the shape of its model; not measured"
        said = [f"the largest job takes about {self.memory / 2**30:.1f} GiB of memory, {how}"] if self.memory else []
        if self.operations:
            said.append(
                f"training and predicting what nothing like was made is about {self.operations:.1e} floating-point "
                "operations: divide by what the device does in a second"
            )
        return said

    def _time(self) -> str:
        if not self.known:
            return "nothing like it was made here before, so nobody knows how long it takes"
        more = (
            ""
            if self.known == self.asked
            else f", for {self.known} of the {self.asked}; of the others nothing is known"
        )
        between = f"{seconds_of(self.wall * self.low)} to {seconds_of(self.wall * self.high)}"
        cores = "1 core" if self.cores == 1 else f"{self.cores} cores"
        return (
            f"about {seconds_of(self.seconds)} of one process and {self.size / 1e6:,.0f} MB{more} (from earlier runs "
            f"here)\nabout {seconds_of(self.wall)} on this machine's {cores}, {between} by how far earlier estimates "
            f"were off; the longest chain takes {seconds_of(self.chain)}\nif nothing else runs: "
            f"{seconds_of(self.quiet_seconds)} of one process, {seconds_of(self.quiet_wall)} on {cores}"
        )


def estimate(plan: Plan, nodes: list[Node]) -> Estimate:
    """Each thing costs what the model of `redistill.performance.cost` says; jobs are laid on the cores in turn."""
    cores = len(os.sched_getaffinity(0))
    made, planned = cost.read_here(plan.root), list(plan.nodes.values())
    model = cost.fitted(plan.root, made, planned)
    known = {node.key: guess for node in nodes if (guess := model.guess(node.key, node.parts["kind"], node.title))}
    memory, measured = _memory(model, nodes)
    modelled = [node.key for node in nodes if node.parts["kind"] in cost.MODELLED and not _alike(model, node.key)]
    operations = sum(size.operations(model.known, key) or 0.0 for key in modelled)
    needs = Estimate(0.0, 0, 0, len(nodes), memory=memory, memory_measured=measured, operations=operations)
    if not known:
        return needs
    quiet = _quiet(cost.fitted(plan.root, made, planned, "core_seconds"), nodes, known)
    total = sum(guess.seconds for guess in known.values())
    between = times.between(times.in_lanes(_bars(made)))
    takes = {key: guess.seconds + between for key, guess in known.items()}
    threads = partial(threads_of, plan)
    return replace(
        needs,
        seconds=total, size=sum(guess.size for guess in known.values()), known=len(known),
        quiet_seconds=sum(quiet.values()), cores=cores,
        low=min(sum(guess.seconds * guess.low for guess in known.values()) / total, 1 / LEAST_WIDE),
        high=max(sum(guess.seconds * guess.high for guess in known.values()) / total, LEAST_WIDE),
        wall=wall(nodes, takes, cores, threads),
        quiet_wall=wall(nodes, {k: s + between for k, s in quiet.items()}, cores, threads),
        chain=wall(nodes, takes, sum(map(threads, nodes)), threads),
    )  # fmt: skip


def _alike(model: cost.Model, key: str) -> list[cost.Made]:
    """What was made of the same kind of step."""
    return model.alike.get(model.known.step(key)[cost.LEVELS[1]], [])


def _memory(model: cost.Model, nodes: list[Node]) -> tuple[int, bool]:
    """Bytes of the largest job that trains, and whether such jobs were measured here."""
    found = [(0, False)]
    for node in nodes:
        if node.kind not in ("teacher", "student"):
            continue
        peak = model.peak(node.key)
        by_shape = None if peak else size.memory(model.known, node.key)
        found.append((peak, True) if peak else (by_shape or 0, False))
    return max(found)


def _quiet(model: cost.Model, nodes: list[Node], known: dict[str, cost.Guess]) -> dict[str, float]:
    """Seconds by key that the processor works, on as many cores as each job has; at most what the clock says."""
    found = {}
    for node in nodes:
        work = model.cost_of(node.key, node.parts["kind"], node.title)
        if node.key in known and work is not None:
            found[node.key] = min(work[0] / cores_of(node), known[node.key].seconds)
    return found


def _bars(made: list[cost.Made]) -> list[times.Bar]:
    return [times.Bar("", m.title, m.begin, m.begin + m.seconds, m.core_seconds, m.peak_mib) for m in made]


def together(runtime: Runtime) -> str | None:
    """What each run takes beside a core, in words; None if nothing."""
    if runtime.device == "cpu" and runtime.devices == 1:
        return None
    one, many = ("GPU", "GPUs") if runtime.device == "cuda" else ("process", "processes")
    several = f"{runtime.devices} {many} together ({runtime.strategy})" if runtime.devices > 1 else f"1 {one}"
    share = "; `snakemake --resources gpu=N` shares out N GPUs" if runtime.device == "cuda" else ""
    threads = runtime.threads * runtime.devices
    return f"each run takes {several} and {threads} {'thread' if threads == 1 else 'threads'}{share}"


def wall(nodes: list[Node], takes: dict[str, float], cores: int, threads: Callable[[Node], int] = cores_of) -> float:
    """Seconds from the begin to the end of all, when each waits for its inputs and for free cores, and Snakemake
    chooses.

    Args:
        nodes: what is to be made, inputs first.
        takes: seconds by key; what is not in it takes none.
        threads: cores that a thing's job is given.
    """
    jobs = [
        Job(node.key, {HERE: takes.get(node.key, 0.0)}, tuple(node.inputs.values()), Room(min(threads(node), cores)),
            inputs=len(node.inputs))
        for node in nodes
    ]  # fmt: skip
    return simulate(jobs, [Place(HERE, HERE, Room(cores))]).end
