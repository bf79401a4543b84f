"""What each job asks a scheduler for: memory, time and GPUs, from its config and from what such jobs took before.

On one machine nothing depends on it but what `--resources` bounds; on a cluster a job that takes more is ended, and
tried again with twice as much. Imports neither torch nor numpy.
"""

from functools import cached_property

from redistill.environment import devices
from redistill.performance import cost, size
from redistill.performance.needs import HEAVY, gpus_of, threads_of
from redistill.plan import Node, Plan

# kind -> MB and minutes of a job of which nothing is known
USUAL = {
    "data": (500, 30), "model": (500, 60), "dataset": (1000, 10), "tokens": (1000, 10), "baseline": (1000, 10),
    "teacher": (3000, 240), "student": (3000, 240), "outputs": (3000, 240), "choice": (1000, 10), "cell": (1000, 10),
    "table": (1000, 20), "submission": (1000, 10), "scores": (1000, 10), "study": (500, 10),
}  # fmt: skip
STARTING = 300  # MB of Snakemake itself, which starts each job on a cluster
MORE = 1.3  # times what was measured or counted
SLOWER = 2.0  # times what such jobs took: the node may be slower than the one that they were made on
MINUTES = 10  # what the shortest job is given, since nodes and their disks differ


class Asked:
    """Kept as a class, since every job's answer comes from the same records, read once and only if one is asked for.

    Args:
        remote: this process runs a job that was asked for already, so that no record is worth reading.
    """

    def __init__(self, plan: Plan, remote: bool = False):
        self.plan, self.remote = plan, remote
        self._memory: dict[str, int] = {}
        self._minutes: dict[str, int] = {}

    @cached_property
    def model(self) -> cost.Model:
        """From records of all machines: where a job will run is not known."""
        made = [] if self.remote else cost.read_records(self.plan.root)
        return cost.fitted(self.plan.root, made, list(self.plan.nodes.values()))

    def memory(self, key: str, attempt: int = 1) -> int:
        """MB of the host's memory; twice as much at every further attempt."""
        if key not in self._memory:
            self._memory[key] = self._megabytes(self.plan.nodes[key])
        return self._memory[key] * 2 ** (attempt - 1)

    def minutes(self, key: str, attempt: int = 1) -> int:
        """Minutes; twice as many at every further attempt, though a run that was stopped goes on from where it was."""
        if key not in self._minutes:
            self._minutes[key] = self._time(self.plan.nodes[key])
        return self._minutes[key] * 2 ** (attempt - 1)

    def gpus(self, key: str) -> int | None:
        """GPUs; None for a job that uses none, since some schedulers take 0 for a wish."""
        return gpus_of(self.plan.nodes[key]) or None

    def cores(self, key: str) -> int:
        return threads_of(self.plan, self.plan.nodes[key])

    def _megabytes(self, node: Node) -> int:
        peaks = self._peaks(node)
        if peaks:
            return STARTING + round(MORE * max(peaks))
        together = devices(node.config["runtime"]) if node.kind in HEAVY else 1
        usual = USUAL[node.kind][0] * together
        if node.kind not in ("teacher", "student") or self.gpus(node.key) is not None:
            return usual
        by_shape = size.memory(self.model.known, node.key)
        return max(usual, STARTING + round(MORE * together * by_shape / 2**20)) if by_shape else usual

    def _peaks(self, node: Node) -> list[int]:
        """Peak memory in MB of what is of the same kind of step, or of the same kind where nothing is trained."""
        model = self.model
        if node.kind in HEAVY:
            like = model.alike.get(model.known.step(node.key)[cost.LEVELS[1]], [])
        else:
            like = [made for made in model.made if made.parts["kind"] == node.parts["kind"]]
        return [made.peak_mib for made in like]

    def _time(self, node: Node) -> int:
        usual = USUAL[node.kind][1]
        found = self.model.cost_of(node.key, node.parts["kind"], node.title)
        return MINUTES + round(SLOWER * found[0] / 60) if found is not None else usual
