"""What a study would take on a machine: its plan laid on a profile's nodes, and the sums that people ask for."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from redistill.config import schema
from redistill.errors import RedistillError
from redistill.performance import cost
from redistill.performance.needs import UNKNOWN, Need, Needs
from redistill.performance.simulate import Delays, Place, Placed, Room, Schedule, longest_chain, simulate
from redistill.performance.units import bounded, seconds_of
from redistill.plan import Plan

ANY = 1 << 62  # bytes, where a profile says nothing of memory
SHOWN = 12  # things of the longest chain that are listed
HOUR = 3600.0


@dataclass(frozen=True)
class Forecast:
    """A simulated study."""

    study: str
    name: str
    machine: schema.Machine
    needs: dict[str, Need]
    schedule: Schedule
    chain: list[str]

    @property
    def chain_seconds(self) -> float:
        """What the things of the longest chain take, nothing between them."""
        return sum(min(self.needs[key].job.seconds.values()) for key in self.chain)

    def hours(self, of: str) -> float:
        """Hours of `cores` or `gpus` that jobs had."""
        return sum((p.end - p.begin) * getattr(p.job.needs, of) for p in self.schedule.placed) / HOUR

    def there(self, of: str) -> int:
        """Cores or GPUs of the whole machine."""
        return sum(getattr(place.has, of) for place in self.schedule.places)

    def price(self) -> float:
        """What it costs: the nodes from begin to end, or the largest part of its node that each job has."""
        nodes, places = self.machine.nodes, self.schedule.places
        if self.machine.billed == "nodes":
            return sum(nodes[place.kind].price for place in places) * self.schedule.end / HOUR
        return sum(
            nodes[places[p.place].kind].price * _part(p, places[p.place]) * (p.end - p.begin) / HOUR
            for p in self.schedule.placed
        )

    def bounds(self) -> dict[str, float]:
        """Seconds below which each of these alone keeps the end: what takes longest is the bottleneck."""
        busy = {f"{of} all busy": self.hours(of) * HOUR / self.there(of) for of in ("cores", "gpus") if self.there(of)}
        return {"the longest chain": self.chain_seconds, **busy, "Snakemake's own work": self.schedule.snakemake}

    def numbers(self) -> dict[str, Any]:
        """All that is said, for other programs; seconds, hours, bytes."""
        placed, end = self.schedule.placed, self.schedule.end
        needs = list(self.needs.values())
        queued = self.machine.queue is not None
        return bounded({
            "study": self.study, "machine": self.name, "title": self.machine.title, "things": len(needs),
            "makespan_seconds": end, "bounds_seconds": self.bounds(),
            "core_hours": self.hours("cores"), "gpu_hours": self.hours("gpus"),
            "cores": self.there("cores"), "gpus": self.there("gpus"),
            "utilisation": {
                of: self.hours(of) * HOUR / (self.there(of) * end) if self.there(of) and end else 0.0
                for of in ("cores", "gpus")
            },
            "storage_bytes": sum(need.made or 0 for need in needs),
            "fetched_bytes": sum(need.fetched or 0 for need in needs),
            "moved_bytes": sum((need.made or 0) + need.read for need in needs) if queued else 0,
            "price": self.price(), "currency": self.machine.currency,
            "known_by": dict(Counter(need.how for need in needs)),
            "unknown": [need.node.title for need in needs if need.how == UNKNOWN],
            "unknown_sizes": [need.node.title for need in needs if need.made is None],
            "waited_for_room_seconds": sum(p.begin - p.ready for p in placed) / max(len(placed), 1),
            "longest_chain": [
                {"kind": need.node.kind, "title": need.node.title, "seconds": min(need.job.seconds.values())}
                for need in (self.needs[key] for key in self.chain)
            ],
            "jobs": [
                {"key": p.job.key, "place": self.schedule.places[p.place].name, "ready": p.ready, "begin": p.begin,
                 "end": p.end} for p in placed
            ],
        })  # fmt: skip

    def __str__(self) -> str:
        found = self.numbers()
        lines = [
            f"{self.study} on {self.name} ({self.machine.title}): {found['things']} things to make",
            f"makespan      {seconds_of(self.schedule.end)}",
            *(f"  at least    {seconds_of(seconds)}: {what}" for what, seconds in self.bounds().items()),
            f"device-hours  {found['core_hours']:.1f} of cores" + self._gpu_hours(found),
            f"busy          {self._busy(found)}",
            f"storage       {_bytes(found['storage_bytes'])} made, {_bytes(found['fetched_bytes'])} fetched"
            + (f", {_bytes(found['moved_bytes'])} between nodes and store" if self.machine.queue else ""),
        ]
        if any(nodes.price for nodes in self.machine.nodes.values()):
            lines.append(f"price         {self.price():,.2f} {self.machine.currency}".rstrip())
        lines += ["the longest chain:"] if self.chain else []
        said = [self.needs[key] for key in self.chain]
        lines += [f"  {seconds_of(min(n.job.seconds.values())):>8}  {n.node.kind} {n.node.title}" for n in said[:SHOWN]]
        lines += [f"            and {len(said) - SHOWN} more"] if len(said) > SHOWN else []
        return "\n".join([*lines, *self._unknown(found)])

    def _gpu_hours(self, found: dict[str, Any]) -> str:
        return f", {found['gpu_hours']:.1f} of GPUs" if self.there("gpus") else ""

    def _busy(self, found: dict[str, Any]) -> str:
        return ", ".join(f"{found['utilisation'][of]:.0%} of {self.there(of)} {'GPUs' if of == 'gpus' else of}"
                         for of in ("cores", "gpus") if self.there(of))  # fmt: skip

    def _unknown(self, found: dict[str, Any]) -> list[str]:
        how = ", ".join(f"{count} from {what}" for what, count in found["known_by"].items() if what != UNKNOWN)
        lines = [f"times: {how}"] if how else []
        if found["unknown"]:
            lines.append(
                f"of {len(found['unknown'])} things nothing is known, and they take no time here: "
                f"{', '.join(found['unknown'][:3])}{', ...' if len(found['unknown']) > 3 else ''}"
            )
        if found["unknown_sizes"]:
            lines.append(
                f"of {len(found['unknown_sizes'])} things nobody knows the size: "
                f"{', '.join(found['unknown_sizes'][:3])}{', ...' if len(found['unknown_sizes']) > 3 else ''}"
            )
        return lines


def _part(placed: Placed, place: Place) -> float:
    """The largest part of a node that a job has, of cores, GPUs or memory."""
    needs, has = placed.job.needs, place.has
    parts = [needs.cores / has.cores, needs.gpus / has.gpus if has.gpus else 0.0, needs.memory / has.memory]
    return max(parts)


def _bytes(number: float) -> str:
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:,.0f} MB"


def forecast(
    plan: Plan, machine: schema.Machine, name: str = "", anew: bool = False, quiet: bool = True,
    first: Collection[str] = (),
) -> Forecast:  # fmt: skip
    """Simulate what is missing of a study on a machine.

    Args:
        anew: simulate all of it, as if nothing were there.
        quiet: what was recorded takes as long as the processor worked; else as the clock said, with whatever else ran.
        first: keys of what goes first, with all that it is made of, as Snakemake's `--prioritize` has it.

    Raises:
        RedistillError: something fits on no node; or the profile's reference has no records here.
    """
    nodes = list(plan.nodes.values()) if anew else plan.missing()
    needs = Needs(plan, machine, _records(plan, machine), quiet).of(nodes)
    urgent = {node.key for node in plan.upstream(first)}
    jobs = [replace(need.job, priority=int(need.node.key in urgent)) for need in needs]
    schedule = simulate(jobs, places_of(machine), delays_of(machine))
    chain = [job.key for job in longest_chain(jobs)]
    return Forecast(plan.checked.name, name, machine, {need.node.key: need for need in needs}, schedule, chain)


def _records(plan: Plan, machine: schema.Machine) -> list[cost.Made]:
    if machine.reference is None:
        return cost.read_here(plan.root)
    found = cost.read_records(plan.root, processor=machine.reference)
    if not found:
        raise RedistillError(
            f"no record in this store is of the processor `{machine.reference}`, which the profile has as its "
            "reference: name one that `redistill times` has seen, or leave `reference` out"
        )
    return found


def places_of(machine: schema.Machine) -> list[Place]:
    """Every node of a machine."""
    return [
        Place(f"{kind} {i + 1}" if nodes.count > 1 else kind, kind, _room_of(nodes))
        for kind, nodes in machine.nodes.items()
        for i in range(nodes.count)
    ]


def _room_of(nodes: schema.Nodes) -> Room:
    memory = round(nodes.memory * 2**30) if nodes.memory is not None else ANY
    return Room(nodes.cores, nodes.gpus.count if nodes.gpus else 0, memory)


def delays_of(machine: schema.Machine) -> Delays:
    """What is not work, as the simulation takes it."""
    pace, queue = machine.pace, machine.queue
    own = Delays(pace.start, pace.round, pace.ready, end=pace.end)
    if queue is None:
        return own
    return Delays(
        pace.start, pace.round, pace.ready, queue.submission, queue.delay, queue.noticed, pace.end, queue.jobs
    )
