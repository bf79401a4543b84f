"""From a study to the things that must exist: each a node with a key, known before anything is made.

Imports no torch: Snakemake reads the plan each time it parses the Snakefile.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from redistill import registry
from redistill.config import schema
from redistill.config.check import Checked, check
from redistill.errors import RedistillError
from redistill.evaluation.metrics import METRICS
from redistill.provenance import store
from redistill.provenance.keys import fingerprint, key_of, versions

# kind of node -> (area of the store, entry module, packages that its numbers depend on)
_NUMERIC = ("numpy", "pyarrow", "torch", "safetensors")
KINDS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "data": ("data", "redistill.data.fetch", ()),
    "model": ("models", "redistill.data.fetch", ()),
    "dataset": ("data", "redistill.data.prepare", ("numpy", "pyarrow")),
    "tokens": ("data", "redistill.data.tokenise", ("numpy", "pyarrow", "tokenizers")),
    "baseline": ("runs", "redistill.models.fit", ("numpy", "pyarrow", "scipy", "scikit-learn")),
    "teacher": ("runs", "redistill.training.run", _NUMERIC),
    "student": ("runs", "redistill.training.run", _NUMERIC),
    "outputs": ("outputs", "redistill.distill.outputs", _NUMERIC),
    "cell": ("results", "redistill.evaluation.evaluate", ("numpy", "pyarrow", "scipy")),
    "table": ("results", "redistill.tables.make", ("numpy", "pyarrow", "scipy")),
    "study": ("results", "redistill.tables.publish", ()),
}


@dataclass(frozen=True)
class Node:
    """A thing in the store. `parts` is all that its key is made of; `inputs` are keys by role."""

    kind: str
    title: str
    parts: dict[str, Any]

    @cached_property
    def key(self) -> str:
        return key_of(self.parts)

    @property
    def inputs(self) -> dict[str, str]:
        inputs: dict[str, str] = self.parts["inputs"]
        return inputs

    @property
    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = self.parts["config"]
        return config

    @property
    def area(self) -> str:
        return KINDS[self.kind][0]

    def folder(self, root: Path) -> Path:
        return root / "store" / self.area / self.key


@dataclass(frozen=True)
class Run:
    """A line of runs.tsv: which table's row, task and seed a run stands for."""

    table: str
    experiment: str
    task: str
    seed: int
    key: str


@dataclass(frozen=True)
class Plan:
    """All nodes of a study, inputs before what is made of them; the last is the study itself."""

    root: Path
    checked: Checked
    nodes: dict[str, Node]
    runs: tuple[Run, ...]

    @property
    def target(self) -> Node:
        return next(reversed(self.nodes.values()))

    def done(self, key: str) -> bool:
        return store.is_done(self.nodes[key].folder(self.root))

    def missing(self, keys: Iterable[str] | None = None) -> list[Node]:
        """What must be made for these keys (the study's, if none are given), inputs first.

        What is needed only to make things that exist is not missed.
        """
        wanted, waiting = set[str](), list(keys) if keys is not None else [self.target.key]
        while waiting:
            key = waiting.pop()
            if key not in wanted and not self.done(key):
                wanted.add(key)
                waiting.extend(self.nodes[key].inputs.values())
        return [node for node in self.nodes.values() if node.key in wanted]

    def upstream(self, keys: Iterable[str]) -> list[Node]:
        """The nodes with these keys and all that they are made of, inputs first."""
        wanted, waiting = set[str](), list(keys)
        while waiting:
            key = waiting.pop()
            if key not in wanted:
                wanted.add(key)
                waiting.extend(self.nodes[key].inputs.values())
        return [node for node in self.nodes.values() if node.key in wanted]


def make_plan(root: Path, study: str) -> Plan:
    """Check a study and lay out what it needs.

    Raises:
        ConfigError: the study, or a file that it reaches, has mistakes.
    """
    planner = _Planner(check(root, study))
    planner.study()
    return Plan(root, planner.checked, planner.nodes, tuple(planner.runs))


def _components(config: dict[str, Any]) -> Iterator[str]:
    """Modules of the registered components that a run's config names."""
    if "architecture" in config.get("student", {}):
        yield registry.module_name("architecture", config["student"]["architecture"])
    for stage in config.get("stages", []):
        for term in stage["loss"].values():
            yield registry.module_name("loss", term["method"])


class _Planner:
    """Adds nodes in the order of their making; asking for the same thing twice gives the same node."""

    def __init__(self, checked: Checked):
        self.checked = checked
        self.nodes: dict[str, Node] = {}
        self.runs: list[Run] = []
        self.runtime = checked.study.runtime.model_dump()
        self._runs_by_name: dict[tuple[str, str, int], Node] = {}
        self._teachers = {e.teacher.experiment for e in checked.experiments.values() if e.teacher}

    def _add(
        self, kind: str, title: str, config: dict[str, Any], inputs: dict[str, str],
        components: Iterable[str] = (), packages: tuple[str, ...] = (),
    ) -> Node:  # fmt: skip
        _, module, needed = KINDS[kind]
        parts = {
            "kind": "run" if kind in ("teacher", "student") else kind,
            "config": config,
            "inputs": inputs,
            "code": {m: digest[:16] for m, digest in fingerprint([module, *components]).items()},
            "packages": versions(tuple(sorted({*needed, *packages}))),
        }
        node = Node(kind, title, parts)
        return self.nodes.setdefault(node.key, node)

    # --- data and models ---------------------------------------------------------------------------------------------

    def source(self, name: str) -> Node:
        source = self.checked.sources[name]
        return self._add(source.kind, name, source.model_dump(exclude={"licence", "citation", "note"}), {})

    def dataset(self, name: str) -> Node:
        task = self.checked.tasks[name]
        if task.pool is not None:
            pooled = {"type": task.type, "input": task.input, "pool": list(task.pool.splits)}
            return self._add("dataset", name, pooled, {t: self.dataset(t).key for t in task.pool.tasks})
        assert task.reader
        assert task.source
        assert task.splits
        config: dict[str, Any] = {
            "type": task.type, "input": task.input, "labels": task.labels, "reader": task.reader,
            "options": registry.with_defaults("reader", task.reader, task.options),
            "splits": task.splits.model_dump(), "split_seed": task.split_seed,
        }  # fmt: skip
        component = registry.module_name("reader", task.reader)
        return self._add("dataset", name, config, {"source": self.source(task.source).key}, [component])

    def tokens(self, task: str, source: str, max_length: int) -> Node:
        inputs = {"dataset": self.dataset(task).key, "tokenizer": self.source(source).key}
        return self._add("tokens", f"{task} · {source} · {max_length} tokens", {"max_length": max_length}, inputs)

    # --- runs --------------------------------------------------------------------------------------------------------

    def run(self, experiment_name: str, task_name: str, seed: int) -> Node:
        """The run of an experiment on a task with a seed, and all that it needs."""
        name = (experiment_name, task_name, seed)
        if name not in self._runs_by_name:
            self._runs_by_name[name] = self._new_run(*name)
        return self._runs_by_name[name]

    def _new_run(self, experiment_name: str, task_name: str, seed: int) -> Node:
        experiment, task = self.checked.experiments[experiment_name], self.checked.tasks[task_name]
        title = f"{experiment_name} · {task_name} · seed {seed}"
        what = {"type": task.type, "input": task.input, "labels": task.labels}
        common = {"task": what, "seed": seed, "runtime": self.runtime}
        if experiment.baseline is not None:
            baseline = experiment.baseline
            settings = registry.with_defaults("baseline", baseline.method, baseline.settings)
            config = {**common, "baseline": {"method": baseline.method, "settings": settings}}
            inputs = {"dataset": self.dataset(task_name).key}
            return self._add("baseline", title, config, inputs, [registry.module_name("baseline", baseline.method)])
        assert experiment.student is not None
        student = experiment.student
        config = {
            **common,
            "student": self._student(student),
            "stages": [self._stage(stage) for stage in experiment.stages],
            "evaluation": self._evaluation(experiment, task),
        }
        inputs = {"dataset": self.dataset(task_name).key}
        if student.start is not None:
            start = student.start
            start_node = self.source(start.source) if start.source else self._start_run(start, task_name)
            inputs["start"] = start_node.key
        if task.input == "text":
            inputs["tokens"] = self.tokens(task_name, self._tokenizer(experiment), student.max_length).key
        inputs |= self._teaching(experiment, task_name)
        packages = ("transformers", "tokenizers") if task.input == "text" else ()
        role = "teacher" if experiment_name in self._teachers else "student"
        return self._add(role, title, config, inputs, _components(config), packages)

    def _start_run(self, start: schema.Start, task_name: str) -> Node:
        assert start.experiment is not None
        return self.run(start.experiment, start.task or task_name, start.seed)

    def _tokenizer(self, experiment: schema.Experiment) -> str:
        """The pretrained model whose tokenizer a text student uses: where its weights come from in the end."""
        assert experiment.student is not None
        assert experiment.student.start is not None
        start = experiment.student.start
        if start.source is not None:
            return start.source
        return self._tokenizer(self.checked.experiments[start.experiment or ""])

    @staticmethod
    def _student(student: schema.Student) -> dict[str, Any]:
        config: dict[str, Any] = {}
        if student.architecture is not None:
            settings = registry.with_defaults("architecture", student.architecture, student.settings)
            config |= {"architecture": student.architecture, "settings": settings}
        if student.start is not None:
            config["layers"] = student.start.layers
        return config

    @staticmethod
    def _evaluation(experiment: schema.Experiment, task: schema.Task) -> dict[str, Any]:
        """The metric matters to a run only where it chooses a checkpoint."""
        chooses = experiment.evaluation.checkpoint == "best"
        return {**experiment.evaluation.model_dump(), **({"metric": task.metric} if chooses else {})}

    @staticmethod
    def _stage(stage: schema.Stage) -> dict[str, Any]:
        terms = {
            name: {**term.model_dump(), "settings": registry.with_defaults("loss", term.method, term.settings)}
            for name, term in stage.loss.items()
        }
        return {**stage.model_dump(), "loss": terms}

    def _teaching(self, experiment: schema.Experiment, task_name: str) -> dict[str, str]:
        """Keys of what the losses need of a teacher: stored logits, or the model itself to be tapped."""
        if experiment.teacher is None:
            return {}
        teacher = experiment.teacher
        if teacher.source is not None:
            node = self.source(teacher.source)
        else:
            assert teacher.experiment is not None
            node = self.run(teacher.experiment, task_name, teacher.seed)
        asked: dict[str, set[str]] = {"teacher_logits": set(), "teacher_hidden": set()}
        for stage in experiment.stages:
            for term in stage.loss.values():
                for name in asked.keys() & set(registry.signature("loss", term.method).inputs):
                    asked[name] |= set(stage.data)
        inputs = {}
        if asked["teacher_hidden"]:
            inputs["teacher"] = node.key
        for split in sorted(asked["teacher_logits"]):
            inputs[f"outputs {split}"] = self._outputs(node, split).key
        return inputs

    def _outputs(self, teacher: Node, split: str) -> Node:
        inputs = {"teacher": teacher.key}
        inputs |= {role: key for role, key in teacher.inputs.items() if role in ("dataset", "tokens")}
        task = teacher.config["task"]
        config = {"split": split, "runtime": self.runtime, "task": task}
        components = list(_components({"student": teacher.config["student"]}))
        packages = ("transformers",) if task["input"] == "text" else ()
        return self._add("outputs", f"{teacher.title} · {split}", config, inputs, components, packages)

    # --- results -----------------------------------------------------------------------------------------------------

    def study(self) -> Node:
        study = self.checked.study
        tables = {name: self._table(name, table).key for name, table in study.tables.items()}
        runs = [[r.table, r.experiment, r.task, r.seed, r.key] for r in self.runs]
        return self._add("study", self.checked.name, {"title": study.title, "runs": runs}, tables)

    def _table(self, name: str, table: schema.Table) -> Node:
        for row in table.rows:
            for task in row.tasks or table.tasks:
                for seed in row.seeds or table.seeds:
                    node = self.run(row.experiment, task, seed)
                    self.runs.append(Run(name, row.experiment, task, seed, node.key))
        cells = {}
        for row in table.rows:
            for task in row.tasks or table.tasks:
                cells[f"{row.experiment}:{task}"] = self._cell(table, row, task).key
        return self._add("table", name, self._table_config(name, table), cells)

    def _cell(self, table: schema.Table, row: schema.Row, task_name: str) -> Node:
        metric = self.checked.tasks[task_name].metric
        runs = {f"seed {s}": self.run(row.experiment, task_name, s).key for s in row.seeds or table.seeds}
        return self._add("cell", f"{row.experiment} · {task_name}", {"metric": metric}, runs)

    def _table_config(self, name: str, table: schema.Table) -> dict[str, Any]:
        columns = []
        for task_name in table.tasks:
            task = self.checked.tasks[task_name]
            metric = str(task.metric)
            assert metric in METRICS
            dev = task.splits.dev if task.splits else 0
            columns.append({"task": task_name, "title": task.title, "metric": metric, "dev": dev,
                            "source": self.checked.sources[task.source or ""].citation})  # fmt: skip
        rows = [
            {"experiment": row.experiment, "tasks": row.tasks or table.tasks, "seeds": row.seeds or table.seeds,
             "label": self.checked.experiments[row.experiment].label,
             "notes": self.checked.experiments[row.experiment].notes}
            for row in table.rows
        ]  # fmt: skip
        return {
            "name": name, "title": table.title, "study": self.checked.study.title, "columns": columns, "rows": rows,
            "comparisons": [comparison.model_dump() for comparison in table.comparisons],
        }  # fmt: skip


# --- what a job is told ----------------------------------------------------------------------------------------------


def specification(root: Path, key: str) -> Path:
    """The file that tells a job what to make. Written when the plan is made, so that a job makes what was planned."""
    return root / "store" / "work" / "plans" / f"{key}.json"


def write_specifications(plan: Plan, keys: Iterable[str] | None = None) -> None:
    """Write the specification of everything that is missing for these keys (the study's, if none are given)."""
    for node in plan.missing(keys):
        inputs = {role: plan.nodes[key].folder(Path()).as_posix() for role, key in node.inputs.items()}
        value = {"kind": node.kind, "title": node.title, "parts": node.parts, "input_folders": inputs}
        file = specification(plan.root, node.key)
        text = store.pretty(value)
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            store.write_atomically(file, text)


def read_specification(root: Path, key: str) -> tuple[Node, dict[str, Path]]:
    """A planned node and the folders of its inputs.

    Raises:
        RedistillError: nothing with this key was planned, or the code has changed since.
    """
    file = specification(root, key)
    if not file.is_file():
        raise RedistillError(f"nothing with the key {key} was planned; `redistill plan` lists the keys of a study")
    value = json.loads(file.read_text(encoding="utf-8"))
    node = Node(value["kind"], value["title"], value["parts"])
    now = {m: digest[:16] for m, digest in fingerprint(node.parts["code"]).items()}
    if node.key != key or now != node.parts["code"]:
        raise RedistillError(f"{node.title}: the code has changed since {key} was planned; start again")
    return node, {role: root / folder for role, folder in value["input_folders"].items()}
