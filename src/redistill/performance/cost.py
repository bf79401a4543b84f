"""What making a thing will cost, from the records of what was made on this machine. Imports neither torch nor numpy.

A run, and teacher outputs, take

    seconds = start + rate x work

`work` is known before the thing is made: tokens (or images) that are trained on, in all steps of all stages, and a
third of those that are only predicted, since a forward pass is about a third of a step. `start` (imports, reading,
loading) is one number for all that has the same input and the same runtime. `rate` belongs to what a step is made of:
network, live teachers, what is trained, batch, runtime. Both are fitted to the records. Everything else costs what it
did before.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from redistill.plan import Node
from redistill.provenance import record
from redistill.provenance.keys import canonical

Parts = dict[str, Any]
MODELLED = ("run", "outputs")  # kinds that are fitted; a teacher's and a student's is `run`
PREDICTED = 1 / 3  # what predicting an example costs of training on it
USUAL_LENGTH = 0.6  # of the longest that is allowed, where a task's tokens have not been counted yet
# how a cost was found, from the narrowest to the widest
LEVELS = ("the same recipe", "the same kind of step", "the same network", "the same input", "the same kind")
WIDE = dict.fromkeys(LEVELS, (0.5, 2.0))  # what is taken for their errors until there are a few to look at
FEW = 5
LOOKED_AT = 200  # things, of all that were made, whose guesses are looked at


@dataclass(frozen=True)
class Made:
    """What a record says of a thing that was made."""

    key: str
    title: str
    parts: Parts
    seconds: float
    core_seconds: float
    peak_mib: int
    begin: float  # seconds since the epoch, to half a second
    size: int


def read_records(root: Path, machine: dict[str, Any] | None = None, processor: str | None = None) -> list[Made]:
    """The records in the store that can be read, in the order of their start, of what has the same name and config the
    latest; of one kind of machine, or of one processor, if it is given.
    """
    found = []
    for file in (root / "store" / "records").glob("*.json"):
        try:
            noted = record.read(file)
            if machine is not None and _kind_of(noted["machine"]) != _kind_of(machine):
                continue
            if processor not in (None, noted["machine"].get("processor")):
                continue
            found.append(
                Made(
                    file.stem, noted["what"], noted["key_parts"], float(noted["seconds"]),
                    float(noted["core_seconds"]), int(noted["peak_memory_mib"]), record.begin(noted),
                    _size(root, file.stem),
                )
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError):
            continue
    found.sort(key=lambda made: (made.begin, made.key))
    latest = {(m.parts["kind"], m.title, canonical(m.parts["config"])): m for m in found}
    return list(latest.values())


def _kind_of(machine: dict[str, Any]) -> tuple[Any, ...]:
    return machine.get("processor"), tuple(machine.get("features") or ())


def _size(root: Path, key: str) -> int:
    for manifest in (root / "store").glob(f"*/{key}/manifest.json"):
        value: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
        return sum(entry["size"] for entry in value["files"].values())
    return 0


@dataclass(frozen=True)
class Seen:
    """Steps of a run, examples that it trains on in them, and examples that are only predicted."""

    steps: int
    trained: int
    predicted: int


class Known:
    """Parts of keys by key, of all that is planned or was made: what a thing is made of can be looked up."""

    def __init__(self, root: Path, things: Iterable[tuple[str, Parts]]):
        self.root, self.parts = root, dict(things)
        self._networks: dict[str, Any] = {}
        self._lengths: dict[str, float] = {}
        self._steps: dict[str, dict[str, str]] = {}
        self._counted: dict[str, dict[str, Any] | None] = {}

    def network(self, key: str) -> Any:
        """What a model is, as far as it costs time: where its layers are from, and which; not how it was trained."""
        if key not in self._networks:
            self._networks[key] = self._network(key)
        return self._networks[key]

    def _network(self, key: str) -> Any:
        parts = self.parts.get(key)
        if parts is None or parts["kind"] != "run" or "stages" not in parts["config"]:
            return key
        config, inputs = parts["config"], parts["inputs"]
        rebuilt = [(f"start of stage {i}", s["rebuild"]) for i, s in enumerate(config["stages"]) if s["rebuild"]]
        role, student = [("start", config["student"]), *((r, said["student"]) for r, said in rebuilt)][-1]
        if student["architecture"] is not None:
            return canonical([student["architecture"], config["task"]["image_shape"]])
        layers = student["start"]["layers"]
        start = self.network(inputs[role]) if role in inputs else "random"
        return start if layers is None else canonical([start, layers])

    def step(self, key: str) -> dict[str, str]:
        """What a step of a run is made of, by level: two runs that agree in it have the same rate."""
        if key not in self._steps:
            self._steps[key] = self._step(key)
        return self._steps[key]

    def _step(self, key: str) -> dict[str, str]:
        config, inputs = self.parts[key]["config"], self.parts[key]["inputs"]
        runtime = config["runtime"]
        if "stages" not in config:
            network = self.network(inputs["teacher"])
            same = canonical(["outputs", runtime, network])
            return {
                LEVELS[1]: same,
                LEVELS[2]: same,
                LEVELS[3]: canonical(["outputs", runtime, config["task"]["input"]]),
            }
        teachers = sorted(str(self.network(k)) for role, k in inputs.items() if role.startswith("teacher "))
        network = self.network(key)
        said = ("batch_size", "accumulate", "frozen", "trained", "precision")
        stages = [  # older records do not say whether layers were computed again
            [*(s[key] for key in said), s["optimiser"]["method"], s.get("recompute", False)] for s in config["stages"]
        ]
        return {
            LEVELS[1]: canonical([runtime, network, teachers, stages, sorted(config["modules"])]),
            LEVELS[2]: canonical([runtime, network, bool(teachers)]),
            LEVELS[3]: canonical([runtime, config["task"]["input"]]),
        }

    def work(self, key: str) -> float | None:
        """Tokens or images trained on, and a third of those predicted; None if nobody knows how much data there is."""
        seen, inputs = self.seen(key), self.parts[key]["inputs"]
        if seen is None:
            return None
        length = self.length(inputs["tokens"]) if "tokens" in inputs else 1.0
        return length * (seen.trained + PREDICTED * seen.predicted)

    def seen(self, key: str) -> Seen | None:
        """How many examples a run, or teacher outputs, look at; None if nobody knows how much data there is."""
        config, sizes = self.parts[key]["config"], self.sizes(self.parts[key]["inputs"]["dataset"])
        if sizes is None:
            return None
        if "stages" not in config:
            shown = sizes.get(config["split"], 0) * (config.get("views") or 1)
            return Seen(math.ceil(shown / config.get("batch_size", 64)), 0, shown)
        evaluation, steps, trained, predicted = config["evaluation"], 0, 0, 0
        for stage in config["stages"]:
            data = sum(sizes.get(split, 0) for split in stage["data"])
            data = min(data, stage.get("at_most") or data)
            an_epoch = math.ceil(data / stage["batch_size"]) or 1
            of_stage = stage["steps"] or stage["epochs"] * an_epoch
            steps += of_stage
            trained += of_stage * min(stage["batch_size"], data)
            if evaluation["checkpoint"] == "best":
                predicted += math.ceil(of_stage / an_epoch) * sizes.get(evaluation["split"], 0)
        if config["task"]["type"] != "unlabelled":
            predicted += sizes.get("dev", 0) + sizes.get("select", 0)
        return Seen(steps, trained, predicted)

    def sizes(self, key: str) -> dict[str, int] | None:
        """Examples in each split of a data set: as counted when it was made, else as its task says."""
        counted = self._counts(key)
        if counted is not None and "splits" in counted:
            return dict(counted["splits"])
        parts = self.parts.get(key)
        if parts is None:
            return None
        if "pool" in parts["config"]:
            pooled = [self.sizes(other) for other in parts["inputs"].values()]
            if any(sizes is None for sizes in pooled):
                return None
            return {"transfer": sum(s.get(split, 0) for s in pooled if s for split in parts["config"]["pool"])}
        said = parts["config"].get("splits", {})
        if "official" in said:
            return _official(said)
        return said if said and all(isinstance(size, int) for size in said.values()) else None

    def length(self, key: str) -> float:
        """Tokens of a text, as counted; else guessed from the longest that is allowed."""
        if key not in self._lengths:
            counted = self._counts(key)
            if counted is not None and counted.get("texts"):
                self._lengths[key] = counted["tokens"] / counted["texts"]
            elif key in self.parts:
                self._lengths[key] = USUAL_LENGTH * self.parts[key]["config"]["max_length"]
            else:
                self._lengths[key] = 1.0
        return self._lengths[key]

    def _counts(self, key: str) -> dict[str, Any] | None:
        if key not in self._counted:
            file = self.root / "store" / "data" / key / "counts.json"
            try:
                self._counted[key] = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                self._counted[key] = None
        return self._counted[key]


def _official(said: dict[str, Any]) -> dict[str, int]:
    """Sizes of a source's own splits, where it is whole."""
    sizes = {"select": said["select"]} if said["select"] else {}
    for ours, theirs in said["official"].items():
        whole = said["rows"][theirs] - (said["select"] if ours == "train" else 0)
        sizes[ours] = min(whole, said.get("at_most", {}).get(ours, whole))
    return sizes


@dataclass(frozen=True)
class Guess:
    """What a thing will cost, how that was found, and between which factors such guesses were off before."""

    seconds: float
    level: str
    low: float
    high: float
    size: int


@dataclass
class Model:
    """The cost model, fitted to what was made. `measure` is what is modelled: `seconds`, or `core_seconds`."""

    known: Known
    made: list[Made]
    measure: str = "seconds"
    starts: dict[str, float] = field(default_factory=dict)
    found: dict[tuple[Any, ...], tuple[float, str, int] | None] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cost = {m.key: max(float(getattr(m, self.measure)), 1e-3) for m in self.made}
        self.fitted = [m for m in self.made if m.parts["kind"] in MODELLED]
        self.work = {m.key: self.known.work(m.key) for m in self.fitted}
        self.steps = {m.key: self.known.step(m.key) for m in self.fitted}
        self.named: dict[str, list[Made]] = defaultdict(list)
        for made in self.made:
            for name in _names(made.parts["kind"], made.title):
                self.named[name].append(made)
        self.alike: dict[str, list[Made]] = defaultdict(list)
        for made in self.fitted:
            if self.work[made.key]:
                for shape in set(self.steps[made.key].values()):
                    self.alike[shape].append(made)
        self.starts = self._fit_starts()

    def _fit_starts(self) -> dict[str, float]:
        """Seconds before the first step, by input and runtime: those with which rates of alike things agree best."""
        families: dict[str, list[Made]] = defaultdict(list)
        for made in self.fitted:
            if self.work[made.key]:
                families[self._family(made.parts)].append(made)
        return {family: self._fit_start(members) for family, members in families.items()}

    def start(self, parts: Parts) -> float:
        """Seconds that pass before the first step of a run, or of teacher outputs."""
        return self.starts.get(self._family(parts), 0.0) if parts["kind"] in MODELLED else 0.0

    @staticmethod
    def _family(parts: Parts) -> str:
        return canonical([parts["config"]["task"]["input"], parts["config"]["runtime"]])

    def _fit_start(self, members: list[Made]) -> float:
        """The start, of hundred that are tried, for which the ratios of estimate to cost stray least.

        Where all that is alike did the same work, nothing tells start and rate apart: half of the least is taken then.
        """
        groups: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for made in members:
            groups[self.steps[made.key][LEVELS[1]]].append((self.work[made.key] or 0.0, self.cost[made.key]))
        least = min(self.cost[made.key] for made in members)
        groups = {g: pairs for g, pairs in groups.items() if len({work for work, _ in pairs}) > 1}
        if not groups:
            return 0.5 * least
        return min(
            (least * i / 100 for i in range(100)), key=lambda start: sum(_strays(p, start) for p in groups.values())
        )

    def guess(self, node_key: str, kind: str, title: str, without: Iterable[str] = ()) -> Guess | None:
        """What a thing will cost, as if those `without` had not been made; None if nothing like it was made."""
        found = self.cost_of(node_key, kind, title, frozenset(without))
        if found is None:
            return None
        seconds, level, size = found
        low, high = self.errors.get(level, WIDE[level])
        return Guess(seconds, level, low, high, size)

    def cost_of(
        self, key: str, kind: str, title: str, without: frozenset[str] = frozenset()
    ) -> tuple[float, str, int] | None:
        """What a thing will cost, how that was found, and its bytes: a guess, without how far such guesses are off.

        Seeds of a recipe differ in nothing that costs time, so they are looked for once.
        """
        if without or kind not in MODELLED or key not in self.known.parts:
            return self._looked_for(key, kind, title, without)
        asked = (_names(kind, title)[0], self.known.work(key), *self.known.step(key).values())
        if asked not in self.found:
            self.found[asked] = self._looked_for(key, kind, title, without)
        return self.found[asked]

    def peak(self, key: str) -> int:
        """Bytes of memory that what is made of the same kind of step took at most; 0 if nothing was."""
        step = self.known.step(key)[LEVELS[1]]
        if step not in self.peaks:
            self.peaks[step] = max((made.peak_mib for made in self.alike.get(step, ())), default=0) << 20
        return self.peaks[step]

    def _looked_for(self, key: str, kind: str, title: str, without: frozenset[str]) -> tuple[float, str, int] | None:
        names = _names(kind, title)
        if kind in MODELLED:  # what others of the kind took says nothing where neither network nor input is known
            names = names[:1]
        named = [[m for m in self.named.get(n, ()) if m.key not in without] for n in names]
        like = next((found for found in named if found), [])
        size = round(median(m.size for m in like)) if like else 0
        if key in self.known.parts and kind in MODELLED:
            modelled = self._modelled(key, named[0], without)
            if modelled is not None:
                return *modelled, size
        if not like:
            return None
        level = LEVELS[0] if named[0] else LEVELS[-1]
        return median(self.cost[m.key] for m in like), level, size

    def _modelled(self, key: str, named: list[Made], without: frozenset[str]) -> tuple[float, str] | None:
        work, steps = self.known.work(key), self.known.step(key)
        if not work:
            return None
        same = [m for m in named if m.key in self.steps and self.steps[m.key] == steps and self.work[m.key] == work]
        if same:  # another seed
            return median(self.cost[m.key] for m in same), LEVELS[0]
        start = self.starts.get(self._family(self.known.parts[key]), 0.0)
        for level in LEVELS[1:4]:
            like = [m for m in self.alike.get(steps[level], ()) if m.key not in without]
            if like:
                rate = median(max(self.cost[m.key] - start, 0.0) / (self.work[m.key] or 1.0) for m in like)
                return start + rate * work, level
        return None

    @cached_property
    def errors(self) -> dict[str, tuple[float, float]]:
        """By level, the factors between which four of five costs were, of what was guessed for them without them."""
        ratios: dict[str, list[float]] = defaultdict(list)
        for made in self.made[:: max(1, len(self.made) // LOOKED_AT)]:
            kind = made.parts["kind"]
            for without in self.left_out(made):
                found = self.cost_of(made.key, kind, made.title, without)
                if found is not None and found[0] > 0:
                    ratios[found[1]].append(self.cost[made.key] / found[0])
        return {level: (quantile(r, 0.1), quantile(r, 0.9)) for level, r in ratios.items() if len(r) >= FEW}

    def left_out(self, made: Made) -> list[frozenset[str]]:
        """What is taken away to see how far a guess is off: the thing itself; and its whole recipe with all seeds."""
        recipe = frozenset(m.key for m in self.named[_names(made.parts["kind"], made.title)[0]])
        return [frozenset({made.key}), recipe] if len(recipe) > 1 else [recipe]


def _strays(pairs: list[tuple[float, float]], start: float) -> float:
    """How far a group's costs are, in all, from the line through `start` with its median slope; as ratios."""
    rate = median((cost - start) / work for work, cost in pairs)
    return sum(abs(math.log(max(start + rate * work, 1e-6) / cost)) for work, cost in pairs)


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _names(kind: str, title: str) -> list[str]:
    """From the narrowest to the widest: without the seed, the recipe alone, the kind alone."""
    parts = [part for part in title.split(" · ") if not part.startswith("seed ")]
    return [" · ".join((kind, *parts)), f"{kind} · {parts[0].partition('@')[0]}", kind]


def read_here(root: Path) -> list[Made]:
    """What this machine has made; if that is nothing, what any machine has made that is in the store."""
    return read_records(root, record.machine()) or read_records(root)


def fitted(root: Path, made: list[Made], nodes: Iterable[Node] = (), measure: str = "seconds") -> Model:
    """The model that fits what was made, for these nodes of a plan."""
    things = [(m.key, m.parts) for m in made] + [(node.key, node.parts) for node in nodes]
    return Model(Known(root, things), made, measure)
