"""What each thing of a plan asks of a machine: seconds on each kind of node, cores, GPUs, memory, and bytes to move.

Seconds come from the thing's own record, else from the cost model, which is made from records; else, of what trains or
predicts, from how many operations that is and how many of them the machine attains in a second. Imports no torch but
for the last of these, and only for images.
"""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

from redistill.config import schema
from redistill.environment import devices
from redistill.errors import RedistillError
from redistill.performance import cost, operations, size
from redistill.performance.simulate import Job, Room
from redistill.plan import Node, Plan
from redistill.provenance.keys import canonical, key_of

RECORD, BY_OPERATIONS, UNKNOWN = "its own record", "operations", "nothing"
HEAVY = ("teacher", "student", "outputs")  # what trains or predicts with a model
LIGHT = 1000 << 20  # bytes of memory that any other job is given, as its rule says
BY_EXAMPLES = ("dataset", "tokens", "cell", "table")  # what takes longer with more examples or more seeds
FETCHED = ("hub", "url", "pypi")  # origins outside of this machine
MB = 1e6


@dataclass(frozen=True)
class Need:
    """What a thing asks of the machine. `made` and `fetched` are bytes, None where nobody knows how many."""

    node: Node
    job: Job
    how: str
    made: int | None
    fetched: int | None
    read: int


def cores_of(node: Node) -> int:
    """Cores that a job computes on."""
    runtime = node.config.get("runtime")
    heavy = runtime is not None and node.kind in HEAVY
    return runtime["threads"] * devices(runtime) if runtime is not None and heavy else 1


def gpus_of(node: Node) -> int:
    """GPUs that a job takes: one for each of its processes."""
    runtime = node.config.get("runtime")
    if runtime is None or node.kind not in HEAVY or runtime["device"] != "cuda":
        return 0
    return devices(runtime)


def loaders_of(plan: Plan, node: Node) -> int:
    """Processes beside a job that load its images, each of which keeps a core busy."""
    if node.kind not in HEAVY or node.config["task"]["input"] != "image":
        return 0
    return plan.checked.study.loading.workers * devices(node.config["runtime"])


def threads_of(plan: Plan, node: Node) -> int:
    """Cores that a job is given, as the rules say: those that it computes on, and one for each loader of images."""
    return cores_of(node) + loaders_of(plan, node)


class Needs:
    """Kept as a class, since all that is asked of one thing is asked of the same models of cost, made once.

    `quiet` is whether seconds are those of the processor's work, as if nothing else had run when it was recorded.
    """

    def __init__(self, plan: Plan, machine: schema.Machine, made: list[cost.Made], quiet: bool = True):
        self.plan, self.machine, self.if_quiet = plan, machine, quiet
        things = list(plan.nodes.values())
        self.model = cost.fitted(plan.root, made, things)
        self.known = self.model.known
        self.quiet = cost.Model(self.known, made, "core_seconds")
        self.own = {_same(m.title, m.parts): m for m in made}
        self.sizes: dict[str, int | None] = {}
        self.rates = self._rates(made)

    def of(self, nodes: list[Node]) -> list[Need]:
        """What these need, inputs first.

        Raises:
            RedistillError: one fits on no node of the machine.
        """
        wanted = {node.key for node in nodes}
        found = []
        for node in self.plan.nodes.values():
            self.sizes[node.key] = self._size(node)
            if node.key in wanted:
                found.append(self._of(node))
        return found

    def _of(self, node: Node) -> Need:
        made, read = self.sizes[node.key], sum(self.sizes[key] or 0 for key in node.inputs.values())
        origin = node.config.get("origin", {}).get("type")
        fetched = made if origin in FETCHED else 0
        room = self._room(node)
        seconds, how = dict[str, float](), UNKNOWN
        for kind, nodes in self.machine.nodes.items():
            if (nodes.gpus.count if nodes.gpus else 0) < room.gpus or nodes.cores < room.cores:
                continue
            worked, how = self._seconds(node, nodes)
            moved = ((made or 0) + read) / MB / self.machine.storage if self.machine.storage else 0.0
            if self.machine.network and fetched:
                moved += fetched / MB / self.machine.network
            seconds[kind] = worked + moved + self.machine.pace.job
        if not seconds:
            raise RedistillError(f"{node.kind} {node.title} needs {_words(room)}, and the machine has no such node")
        job = Job(node.key, seconds, tuple(node.inputs.values()), room, 0, len(node.inputs))
        return Need(node, job, how, made, fetched, read)

    def _room(self, node: Node) -> Room:
        cores, gpus = threads_of(self.plan, node), gpus_of(node)
        if self.machine.queue is None:  # Snakemake gives a job what there is
            cores = min(cores, max(nodes.cores for nodes in self.machine.nodes.values()))
        return Room(cores, gpus, self._memory(node))

    def _memory(self, node: Node) -> int:
        """Bytes of the host's: as such jobs took, else by the shape of the model."""
        if node.kind not in HEAVY:
            return LIGHT
        if peak := self.model.peak(node.key):
            return peak
        if gpus_of(node):
            return 3 * LIGHT
        counted = self._counted(node) if node.config["task"]["input"] == "image" else None
        by_size = size.PROCESS + 4 * size.FLOAT * counted.parameters if counted else None
        return (size.memory(self.known, node.key) if node.kind != "outputs" else None) or by_size or 3 * LIGHT

    # --- seconds -----------------------------------------------------------------------------------------------------

    def _seconds(self, node: Node, nodes: schema.Nodes) -> tuple[float, str]:
        found = self._recorded(node)
        if found is not None:
            seconds, start, how = found
            if gpus_of(node) and nodes.gpus:
                return start / nodes.speed + (seconds - start) / nodes.gpus.speed, how
            return seconds / nodes.speed, how
        by_operations = self._by_operations(node, nodes) if node.kind in HEAVY else None
        return (by_operations, BY_OPERATIONS) if by_operations is not None else (0.0, UNKNOWN)

    def _recorded(self, node: Node) -> tuple[float, float, str] | None:
        """Seconds, how many of them pass before the first step, and how that is known."""
        kind = node.parts["kind"]
        own = self.own.get(_same(node.title, node.parts))
        if own is not None:
            seconds, core_seconds, how = own.seconds, own.core_seconds, RECORD
        else:
            guess = self.model.cost_of(node.key, kind, node.title)
            if guess is None:
                return None
            work = self.quiet.cost_of(node.key, kind, node.title)
            seconds, how, _ = guess
            core_seconds = work[0] if work is not None else seconds
            rate = self.rates.get(f"{kind} {node.title}", self.rates.get(kind))
            amount = self._amount(node.parts) if rate is not None else None
            if rate is not None and amount:
                seconds = core_seconds = rate * amount
        if (
            kind in ("data", "model") or gpus_of(node) or not self.if_quiet
        ):  # what waits for a disk, a network or a GPU counts no cores
            quiet = seconds
        else:
            quiet = min(core_seconds / cores_of(node), seconds)
        return quiet, min(self.model.start(node.parts), quiet), how

    def _by_operations(self, node: Node, nodes: schema.Nodes) -> float | None:
        """Seconds of training and predicting: of computing, of the least that a step takes, or of decoding images,
        whichever is longest. None if either side is not known.
        """
        runtime, seen = node.config["runtime"], self.known.seen(node.key)
        counted, on_gpu = self._operations(node), gpus_of(node)
        attained = nodes.gpus.operations if on_gpu and nodes.gpus else nodes.operations
        rate = attained.get(runtime["precision"])
        if seen is None or counted is None or rate is None:
            return None
        at_once = on_gpu or cores_of(node)
        least = nodes.gpus.step if on_gpu and nodes.gpus else 0.0
        seconds = max(counted / (rate * at_once), seen.steps * least)
        if nodes.images and node.config["task"]["input"] == "image" and self._from_files(node):
            workers = loaders_of(self.plan, node) or devices(runtime)
            seconds = max(seconds, (seen.trained + seen.predicted) / (nodes.images * workers))
        return seconds

    def _from_files(self, node: Node) -> bool:
        """Whether a task's images are large enough to be decoded anew for every epoch."""
        shape = node.config["task"]["image_shape"]
        return bool(shape) and min(shape[1:]) >= 128

    def _operations(self, node: Node) -> float | None:
        """Floating-point operations: three forward passes for what is trained on, one of each live teacher."""
        by_shape = size.operations(self.known, node.key)
        counted, work = self._counted(node), self.known.work(node.key)
        if by_shape is not None or counted is None or work is None:
            return by_shape
        teachers = [self.plan.nodes[key] for role, key in node.inputs.items() if role.startswith("teacher ")]
        live = sum(one.operations for t in teachers if t.kind in HEAVY and (one := self._counted(t)) is not None)
        return work * (3 * counted.operations + live)

    def _counted(self, node: Node) -> operations.Counted | None:
        if node.kind == "outputs":
            return self._counted(self.plan.nodes[node.inputs["teacher"]])
        recipe, task = (*node.title.split(" · "), "")[:2]
        return self._models.get((recipe, task))

    @cached_property
    def _models(self) -> dict[operations.Pair, operations.Counted]:
        return operations.counted(self.plan)

    # --- amounts and sizes -------------------------------------------------------------------------------------------

    def _rates(self, made: list[cost.Made]) -> dict[str, float]:
        """Core-seconds for each example of what is done to examples one by one: by kind and title, and by kind."""
        rates: dict[str, list[float]] = defaultdict(list)
        for one in made:
            kind = one.parts["kind"]
            amount = self._amount(one.parts) if kind in BY_EXAMPLES else None
            if amount:
                for name in (kind, f"{kind} {one.title}"):
                    rates[name].append(one.core_seconds / amount)
        return {name: median(found) for name, found in rates.items()}

    def _amount(self, parts: dict[str, Any]) -> float | None:
        """Examples that are read, or evaluated for each run; of a table, drawn for each run and comparison."""
        kind, inputs = parts["kind"], parts["inputs"]
        if kind == "table":
            return self._drawn(parts)
        if kind == "cell":
            return self._dev(inputs) * sum(role.startswith("seed ") for role in inputs)
        sizes = self.known.sizes(key_of(parts) if kind == "dataset" else inputs["dataset"])
        return float(sum(sizes.values())) if sizes else None

    def _dev(self, cell_inputs: dict[str, str]) -> float:
        for role, key in cell_inputs.items():
            dataset = key if role == "dataset" else self.known.parts.get(key, {"inputs": {}})["inputs"].get("dataset")
            sizes = self.known.sizes(dataset) if dataset else None
            if sizes and "dev" in sizes:
                return float(sizes["dev"])
        return 0.0

    def _drawn(self, table: dict[str, Any]) -> float:
        config, inputs, total = table["config"], table["inputs"], 0.0
        for comparison in config["comparisons"]:
            for task in comparison["tasks"] or [column["task"] for column in config["columns"]]:
                cells = [inputs.get(f"{comparison[side]}:{task}") for side in ("row", "against")]
                parts = [self.known.parts[cell] for cell in cells if cell in self.known.parts]
                if len(parts) == 2:
                    total += sum(self._amount(one) or 0.0 for one in parts)
        return total

    def _size(self, node: Node) -> int | None:
        """Bytes of a thing, as it was or as such things were; None of what is fetched for the first time."""
        kind = node.parts["kind"]
        guess = self.model.cost_of(node.key, kind, node.title)
        level, bytes_made = guess[1:] if guess is not None else ("", 0)
        if bytes_made and (level != cost.LEVELS[-1] or kind not in ("data", "model")):
            return bytes_made
        if kind in ("run", "model"):
            shape = size.shape_of(self.known, node.key)
            parameters = shape.parameters if shape else None
            if parameters is None and kind == "run" and self._recorded(node) is None:  # torch counts it in any case
                counted = self._counted(node)
                parameters = counted.parameters if counted else None
            return size.FLOAT * parameters if parameters else None
        if kind == "outputs":
            seen = self.known.seen(node.key)
            classes = len(node.config["task"]["labels"] or [0])
            return size.FLOAT * classes * seen.predicted if seen else None
        return bytes_made if guess is not None and kind != "data" else None


def _same(title: str, parts: dict[str, Any]) -> str:
    """What a thing and its record have in common, though the code may have changed, and the keys of its inputs."""
    return canonical([parts["kind"], title, parts["config"], sorted(parts["inputs"])])


def _words(room: Room) -> str:
    from redistill.performance.simulate import said

    return said(room)
