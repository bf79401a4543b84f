"""Lay jobs on a machine in the order in which Snakemake would: events in time, nothing drawn by chance.

Snakemake has one thread. In each round it looks at all jobs that could begin, takes those with the highest priority
first, of these the ones with most inputs, as its greedy scheduler does, and starts or submits as many as it may.
Without a queue it counts cores, GPUs and memory of its own node. With one it counts jobs alone: each waits there until
it may begin, then for the first node that has room for it, and what finds none lets others pass.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from redistill.errors import RedistillError

END, NOTICED, MAY_BEGIN, ROUND = range(4)  # events at the same time come in this order


@dataclass(frozen=True)
class Room:
    """What a node has, or a job needs: cores, GPUs, and bytes of memory."""

    cores: int = 1
    gpus: int = 0
    memory: int = 0

    def __add__(self, other: "Room") -> "Room":
        return Room(self.cores + other.cores, self.gpus + other.gpus, self.memory + other.memory)

    def __sub__(self, other: "Room") -> "Room":
        return Room(self.cores - other.cores, self.gpus - other.gpus, self.memory - other.memory)

    def fits(self, job: "Room") -> bool:
        """Whether a job that needs this much finds it here."""
        return job.cores <= self.cores and job.gpus <= self.gpus and job.memory <= self.memory


@dataclass(frozen=True)
class Job:
    """Something to be made. `seconds` are by kind of node; `after` are the keys of what must be there before."""

    key: str
    seconds: dict[str, float]
    after: tuple[str, ...] = ()
    needs: Room = Room()
    priority: int = 0
    inputs: int = 0


@dataclass(frozen=True)
class Place:
    """A node."""

    name: str
    kind: str
    has: Room


@dataclass(frozen=True)
class Delays:
    """Seconds that are not work. `jobs` is how many Snakemake submits at once; None where there is no queue."""

    start: float = 0.0
    round: float = 0.0
    ready: float = 0.0
    submission: float = 0.0
    queue: float = 0.0
    noticed: float = 0.0
    end: float = 0.0
    jobs: int | None = None


@dataclass(frozen=True)
class Placed:
    """Where and when a job ran: when its inputs were there, when it was given to the node or queue, begun and done."""

    job: Job
    place: int
    ready: float
    given: float
    begin: float
    end: float


@dataclass
class Schedule:
    """Jobs in the order of their begin, the end of it all, and how long Snakemake's own thread worked."""

    places: Sequence[Place]
    placed: list[Placed] = field(default_factory=list)
    end: float = 0.0
    snakemake: float = 0.0
    rounds: int = 0


class _Line:
    """Jobs that wait, in order; those that need the same are asked once, however many they are."""

    def __init__(self) -> None:
        self.by_need: dict[tuple[Room, tuple[str, ...]], list[tuple[tuple[float, ...], Job]]] = defaultdict(list)
        self.count = 0

    def put(self, job: Job, order: tuple[float, ...]) -> None:
        heapq.heappush(self.by_need[job.needs, tuple(job.seconds)], (order, job))
        self.count += 1

    def heads(self) -> list[tuple[tuple[float, ...], Job]]:
        """The first of each need, in order."""
        return sorted((jobs[0] for jobs in self.by_need.values() if jobs), key=lambda head: head[0])

    def take(self, job: Job) -> None:
        heapq.heappop(self.by_need[job.needs, tuple(job.seconds)])
        self.count -= 1


class _Simulation:
    """The state of a machine while time goes by."""

    def __init__(self, jobs: Sequence[Job], places: Sequence[Place], delays: Delays):
        self.places, self.delays = places, delays
        self.order = {job.key: i for i, job in enumerate(jobs)}
        self.after: dict[str, list[Job]] = defaultdict(list)
        self.waits: dict[str, int] = {}
        self.free = [place.has for place in places]
        self.known_free, self.in_flight = self.free[0], 0  # as Snakemake knows it
        self.ready, self.queue = _Line(), _Line()
        self.ready_at: dict[str, float] = {}
        self.given_at: dict[str, float] = {}
        self.runs_on: dict[str, int] = {}
        self.noticed: list[Job] = []
        self.rounds_owed = 1
        self.events: list[tuple[float, int, int, Job | None]] = []
        self.happened = 0
        self.schedule = Schedule(places)
        for job in jobs:
            mine = {key for key in job.after if key in self.order}
            self.waits[job.key] = len(mine)
            for key in mine:
                self.after[key].append(job)
            if not mine:
                self._becomes_ready(job, delays.start)
        self._at(delays.start, ROUND)

    def run(self) -> Schedule:
        while self.events:
            now, what, _, job = heapq.heappop(self.events)
            if job is None:
                self._round(now)
            else:
                self._happens(now, what, job)
        if len(self.schedule.placed) < len(self.order):
            raise RedistillError("what is to be made waits for itself: nothing can be begun")
        self.schedule.end += self.delays.end
        return self.schedule

    def _at(self, time: float, what: int, job: Job | None = None) -> None:
        self.happened += 1
        heapq.heappush(self.events, (time, what, self.happened, job))

    def _becomes_ready(self, job: Job, now: float) -> None:
        self.ready_at[job.key] = now
        self.ready.put(job, (-job.priority, -job.inputs, self.order[job.key]))

    def _happens(self, now: float, what: int, job: Job) -> None:
        if what == NOTICED:
            self.noticed.append(job)
            self.rounds_owed += 1
            if self.rounds_owed == 1:
                self._at(max(now, self.schedule.end), ROUND)
            return
        if what == END:
            self.free[self.runs_on.pop(job.key)] += job.needs
            self._at(now + self.delays.noticed, NOTICED, job)
        else:
            self.queue.put(job, (now, self.order[job.key]))
        self._begin_what_fits(now)

    def _round(self, now: float) -> None:
        """Snakemake hears what is done, and chooses anew: once for each job that has ended, as its scheduler does."""
        then = now
        for job in self.noticed:
            self.known_free += job.needs
            self.in_flight -= 1
            for following in self.after[job.key]:
                self.waits[following.key] -= 1
                if not self.waits[following.key]:
                    self._becomes_ready(following, now)
        self.noticed = []
        if self.ready.count:
            then += self.delays.round + self.delays.ready * self.ready.count
            self.schedule.rounds += 1
            for job in self._chosen():
                then += self.delays.submission
                self.given_at[job.key] = then
                self._at(then + self.delays.queue, MAY_BEGIN, job)
        self.schedule.snakemake += then - now
        self.schedule.end = then
        self.rounds_owed -= 1
        if self.rounds_owed:
            self._at(then, ROUND)

    def _chosen(self) -> list[Job]:
        chosen = list[Job]()
        while True:
            job = next((job for _, job in self.ready.heads() if self._may(job)), None)
            if job is None:
                return chosen
            self.ready.take(job)
            self.known_free -= job.needs
            self.in_flight += 1
            chosen.append(job)

    def _may(self, job: Job) -> bool:
        if self.delays.jobs is None:
            return self.known_free.fits(job.needs)
        return self.in_flight < self.delays.jobs

    def _begin_what_fits(self, now: float) -> None:
        while True:
            found = next(((j, p) for _, j in self.queue.heads() if (p := self._place_for(j)) is not None), None)
            if found is None:
                return
            job, place = found
            self.queue.take(job)
            self.free[place] -= job.needs
            self.runs_on[job.key] = place
            end = now + job.seconds[self.places[place].kind]
            self.schedule.placed.append(Placed(job, place, self.ready_at[job.key], self.given_at[job.key], now, end))
            self._at(end, END, job)

    def _place_for(self, job: Job) -> int | None:
        """The node that a job begins on: without GPUs if it needs none, the fastest, the first."""
        room = [i for i, place in enumerate(self.places) if place.kind in job.seconds and self.free[i].fits(job.needs)]

        def rank(i: int) -> tuple[float, float, int]:
            unused = self.places[i].has.gpus if not job.needs.gpus else 0
            return unused, job.seconds[self.places[i].kind], i

        return min(room, key=rank, default=None)


def simulate(jobs: Sequence[Job], places: Sequence[Place], delays: Delays | None = None) -> Schedule:
    """When and where each job runs.

    Args:
        jobs: what is to be made, inputs first; what it is made of and is not among them is there.
        places: the nodes; without `delays.jobs` the first one alone is used.

    Raises:
        RedistillError: a job fits on no node, or jobs wait for each other.
    """
    delays = delays or Delays()
    if delays.jobs is None:
        places = places[:1]
    for job in jobs:
        if not any(place.kind in job.seconds and place.has.fits(job.needs) for place in places):
            raise RedistillError(f"{job.key} needs {said(job.needs)}, and no node has that")
    return _Simulation(jobs, places, delays).run() if jobs else Schedule(places)


def said(room: Room) -> str:
    """What is needed, in words."""
    parts = ["1 core" if room.cores == 1 else f"{room.cores} cores"]
    if room.gpus:
        parts.append("1 GPU" if room.gpus == 1 else f"{room.gpus} GPUs")
    return ", ".join([*parts, *([f"{room.memory / 2**30:.1f} GiB of memory"] if room.memory else [])])


def longest_chain(jobs: Iterable[Job]) -> list[Job]:
    """Of all chains of jobs that wait for one another, the one that takes longest, each on its fastest node.

    Args:
        jobs: inputs first.
    """
    took: dict[str, float] = {}
    before: dict[str, str | None] = {}
    by_key = {}
    for job in jobs:
        by_key[job.key] = job
        last = max((key for key in job.after if key in took), key=lambda key: took[key], default=None)
        before[job.key] = last
        took[job.key] = min(job.seconds.values()) + (took[last] if last is not None else 0.0)
    chain, key = list[Job](), max(took, key=lambda key: took[key], default=None)
    while key is not None:
        chain.append(by_key[key])
        key = before[key]
    return chain[::-1]
