"""From a study to the things that must exist: each a node with a key, known before anything is made.

Imports no torch: Snakemake reads the plan each time it parses the Snakefile.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from redistill import registry
from redistill.config import schema
from redistill.config.check import check
from redistill.config.checked import Checked, Row
from redistill.errors import RedistillError
from redistill.provenance import store
from redistill.provenance.keys import fingerprint, key_of, versions
from redistill.provenance.published import Run, behind

# kind of node -> (area of the store, entry module, packages that its numbers depend on)
_NUMERIC = ("numpy", "pyarrow", "torch", "safetensors", "accelerate")
KINDS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "data": ("data", "redistill.data.fetch", ()),
    "model": ("models", "redistill.data.fetch", ()),
    "dataset": ("data", "redistill.data.prepare", ("numpy", "pyarrow")),
    "tokens": ("data", "redistill.data.tokenise", ("numpy", "pyarrow", "tokenizers")),
    "baseline": ("runs", "redistill.models.fit", ("numpy", "pyarrow", "scipy", "scikit-learn")),
    "teacher": ("runs", "redistill.training.run", _NUMERIC),
    "student": ("runs", "redistill.training.run", _NUMERIC),
    "outputs": ("outputs", "redistill.distill.outputs", _NUMERIC),
    "choice": ("results", "redistill.evaluation.evaluate", ("numpy", "pyarrow", "scipy", "scikit-learn")),
    "cell": ("results", "redistill.evaluation.evaluate", ("numpy", "pyarrow", "scipy", "scikit-learn")),
    "table": ("results", "redistill.tables.make", ("numpy", "pyarrow", "scipy")),
    "submission": ("results", "redistill.evaluation.submit", ("numpy", "pyarrow")),
    "scores": ("results", "redistill.tables.scores", ()),
    "study": ("results", "redistill.tables.publish", ()),
}


@dataclass(frozen=True)
class Node:
    """A thing in the store. `parts` is all that its key is made of; `inputs` are keys by role. `given` are files of the
    user's by name, whose digests are among the parts, wherever they are.
    """

    kind: str
    title: str
    parts: dict[str, Any]
    given: dict[str, Path] = field(default_factory=dict, compare=False)

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
class Plan:
    """All nodes of a study, inputs before what is made of them; the last is the study itself.

    `configs` are the resolved configs by recipe and task: recipes that resolve to the same config share their runs.
    """

    root: Path
    checked: Checked
    nodes: dict[str, Node]
    runs: tuple[Run, ...]
    configs: dict[tuple[str, str], dict[str, Any]]

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
        wanted = behind(self.nodes, keys)
        return [node for node in self.nodes.values() if node.key in wanted]


def make_plan(root: Path, study: str) -> Plan:
    """Check a study and lay out what it needs.

    Raises:
        ConfigError: the study, or a file that it reaches, has mistakes.
    """
    return lay_out(root, check(root, study))


def lay_out(root: Path, checked: Checked) -> Plan:
    """The plan of a study that was found right."""
    planner = _Planner(root, checked)
    planner.study()
    configs = {(recipe, task): node.config for (recipe, task, _), node in planner.run_of.items()}
    return Plan(root, checked, planner.nodes, tuple(planner.runs), configs)


def _components(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Kind and name of the registered components that a run's config names."""
    students = [config.get("student", {}), *config.get("peers", {}).values()]
    for module in config.get("modules", {}).values():
        yield "module", module["method"]
    for stage in config.get("stages", []):
        students += [stage["rebuild"]["student"]] if stage["rebuild"] else []
        yield "optimiser", stage["optimiser"]["method"]
        yield "schedule", stage["schedule"]["method"]
        yield from (("loss", term["method"]) for term in stage["loss"].values())
    yield from (("architecture", s["architecture"]["method"]) for s in students if s.get("architecture"))


def _resolved(said: schema.Component) -> dict[str, Any]:
    """A component as a resolved config has it: what the engine reads, and every setting written out."""
    own = {key: value for key, value in said.model_dump().items() if key in type(said).model_fields}
    return {**own, "settings": registry.with_defaults(said.kind, said.method, said.settings)}


def _code(module: str, components: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Digests of the code of a stage and of the components that it names, plugins among them."""
    modules, plugins = [module], dict[str, str]()
    for kind, name in components:
        outside = registry.plugin(kind, name)
        if outside is None:
            modules.append(registry.module_name(kind, name))
        else:
            plugins[f"plugin:{kind}:{name}"] = outside.sha256[:16]
    return {**{m: digest[:16] for m, digest in fingerprint(modules).items()}, **plugins}


@dataclass(frozen=True)
class _Runs:
    """What the runs of a recipe on a task have in common: all but the seed."""

    kind: str
    config: dict[str, Any]
    inputs: dict[str, str]
    components: tuple[tuple[str, str], ...]
    packages: tuple[str, ...]


class _Planner:
    """Adds nodes in the order of their making; asking for the same thing twice gives the same node."""

    def __init__(self, root: Path, checked: Checked):
        self.root, self.checked = root, checked
        self.nodes: dict[str, Node] = {}
        self.runs: list[Run] = []
        self.runtime = checked.study.runtime.model_dump()
        self._named: dict[tuple[str, ...], Node] = {}
        self._runs_of: dict[tuple[str, str], _Runs] = {}
        self._codes: dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, str]] = {}
        self.run_of: dict[tuple[str, str, int], Node] = {}
        self._teachers = {
            t.experiment for r in checked.recipes.values() for t in r.experiment.all_teachers.values() if t.experiment
        }

    def _add(
        self, kind: str, title: str, config: dict[str, Any], inputs: dict[str, str],
        components: Iterable[tuple[str, str]] = (), packages: tuple[str, ...] = (),
        given: dict[str, Path] | None = None,
    ) -> Node:  # fmt: skip
        _, module, needed = KINDS[kind]
        stage = (module, tuple(components))
        if stage not in self._codes:
            self._codes[stage] = _code(*stage)
        parts = {
            "kind": "run" if kind in ("teacher", "student") else kind,
            "config": config,
            "inputs": inputs,
            "code": self._codes[stage],
            "packages": versions(tuple(sorted({*needed, *packages}))),
        }
        node = Node(kind, title, parts, given or {})
        return self.nodes.setdefault(node.key, node)

    # --- data and models ---------------------------------------------------------------------------------------------

    def source(self, name: str) -> Node:
        return self._once(("source", name), lambda: self._source(name))

    def dataset(self, name: str) -> Node:
        """A task's examples, but those of its test split."""
        return self._once(("dataset", name), lambda: self._dataset(name))

    def test_set(self, name: str) -> Node:
        """The examples of a task whose labels nobody here knows."""
        return self._once(("test set", name), lambda: self._official(name, "test"))

    def _once(self, name: tuple[str, ...], make: Callable[[], Node]) -> Node:
        """What many runs share is worked out once."""
        if name not in self._named:
            self._named[name] = make()
        return self._named[name]

    def _source(self, name: str) -> Node:
        source, given = self.checked.sources[name], self.checked.given.get(name)
        if given is not None:
            files = {file: store.digest_once(self.root, path) for file, path in given.items()}
            return self._add(source.kind, name, {"origin": {"type": "given"}, "files": files}, {}, given=given)
        converts = ("torch", "safetensors") if source.format == "torch-pickle" else ()
        return self._add(source.kind, name, source.fetched(), {}, packages=converts)

    def _dataset(self, name: str) -> Node:
        task = self.checked.tasks[name]
        if task.pool is not None:
            pooled = {"type": task.type, "input": task.input, "pool": list(task.pool.splits)}
            there = [t for t in task.pool.tasks if t not in self.checked.no_data]
            return self._add("dataset", name, pooled, {t: self.dataset(t).key for t in there})
        if isinstance(task.splits, schema.OfficialSplits):
            return self._official(name, *(("dev",) if task.model_of else ("train", "select", "dev", "transfer")))
        assert task.splits
        return self._read(name, name, task.splits)

    def _official(self, name: str, *splits: str) -> Node:
        said = self.checked.tasks[name].splits
        assert isinstance(said, schema.OfficialSplits)
        return self._read(name, f"{name} · test" if splits == ("test",) else name, said.only(*splits))

    def _read(self, name: str, title: str, splits: schema.AnySplits) -> Node:
        task = self.checked.tasks[name]
        assert task.reader
        assert task.source
        config: dict[str, Any] = {
            "type": task.type, "input": task.input, "labels": task.labels, "image_shape": task.image_shape,
            "reader": _resolved(task.reader), "splits": splits.model_dump(),
            "split_seed": task.split_seed,
        }  # fmt: skip
        inputs, component = {"source": self.source(task.source).key}, ("reader", task.reader.method)
        packages = ("pillow",) if task.input == "image" else ()
        return self._add("dataset", title, config, inputs, [component], packages)

    def tokens(self, dataset: Node, source: str, max_length: int) -> Node:
        name = ("tokens", dataset.key, source, str(max_length))
        return self._once(name, lambda: self._tokens(dataset, source, max_length))

    def _tokens(self, dataset: Node, source: str, max_length: int) -> Node:
        inputs = {"dataset": dataset.key, "tokenizer": self.source(source).key}
        title = f"{dataset.title} · {source} · {max_length} tokens"
        return self._add("tokens", title, {"max_length": max_length}, inputs)

    # --- runs --------------------------------------------------------------------------------------------------------

    def run(self, recipe: str, task_name: str, seed: int) -> Node:
        """The run of a recipe on a task with a seed, and all that it needs."""
        name = (recipe, task_name, seed)
        if name not in self.run_of:
            if name[:2] not in self._runs_of:
                self._runs_of[name[:2]] = self._without_seed(recipe, task_name)
            known = self._runs_of[name[:2]]
            title, config = f"{recipe} · {task_name} · seed {seed}", {**known.config, "seed": seed}
            self.run_of[name] = self._add(known.kind, title, config, known.inputs, known.components, known.packages)
        return self.run_of[name]

    def _without_seed(self, recipe: str, task_name: str) -> _Runs:
        experiment, task = self.checked.experiment(recipe, task_name), self.checked.tasks[task_name]
        what = {"type": task.type, "input": task.input, "labels": task.labels, "image_shape": task.image_shape}
        common = {"task": what, "runtime": self.runtime}
        inputs = {"dataset": self.dataset(task_name).key}
        if experiment.baseline is not None:
            fitted = {**common, "baseline": _resolved(experiment.baseline)}
            return _Runs("baseline", fitted, inputs, (("baseline", experiment.baseline.method),), ())
        assert experiment.student is not None
        config: dict[str, Any] = {
            **common,
            "student": self._student(experiment.student),
            "peers": {name: self._student(peer) for name, peer in experiment.peers.items()},
            "modules": {name: _resolved(module) for name, module in experiment.modules.items()},
            "stages": [self._stage(stage) for stage in experiment.stages],
            "evaluation": self._evaluation(experiment, task),
        }
        students = {"start": experiment.student} | {
            f"start of stage {i}": stage.rebuild.student for i, stage in enumerate(experiment.stages) if stage.rebuild
        }
        students |= {f"start of peer {name}": peer for name, peer in experiment.peers.items()}
        for role, student in students.items():
            if student.start is not None:
                inputs[role] = self._start(student.start, task_name).key
        if task.input == "text":
            tokenizer = self._tokenizer(experiment.student, task_name)
            inputs["tokens"] = self.tokens(self.dataset(task_name), tokenizer, experiment.student.max_length).key
            inputs["tokenizer"] = self.source(tokenizer).key
        inputs |= self._teaching(experiment, task_name)
        kind = "teacher" if recipe in self._teachers else "student"
        return _Runs(kind, config, inputs, tuple(_components(config)), self._packages(config))

    @staticmethod
    def _packages(config: dict[str, Any]) -> tuple[str, ...]:
        """Packages that the numbers depend on, beside those of every run."""
        text = ("transformers", "tokenizers") if config["task"]["input"] == "text" else ()
        methods = {name for kind, name in _components(config) if kind == "architecture"}
        # A metric chooses the best epoch.
        metrics = ("scipy", "scikit-learn") if config["evaluation"]["checkpoint"] == "best" else ()
        return (*text, *metrics, *sorted({"torchvision", "timm"}.intersection(methods)))

    def _start(self, start: schema.Start, task_name: str) -> Node:
        if start.source is not None:
            return self.source(start.source)
        assert start.experiment is not None
        return self.run(start.experiment, start.task or task_name, start.seed)

    def _tokenizer(self, student: schema.Student, task_name: str) -> str:
        """The pretrained model whose tokenizer a text student uses: where its weights come from in the end."""
        if student.tokenizer is not None:
            return student.tokenizer
        assert student.start is not None
        if student.start.source is not None:
            return student.start.source
        before = self.checked.experiment(student.start.experiment or "", student.start.task or task_name)
        assert before.student is not None
        return self._tokenizer(before.student, student.start.task or task_name)

    @staticmethod
    def _student(student: schema.Student) -> dict[str, Any]:
        architecture = student.architecture and _resolved(student.architecture)
        start = student.start
        return {
            "architecture": architecture,
            "start": start and start.model_dump(include={"layers", "head", "random", "fresh"}),
        }

    @staticmethod
    def _evaluation(experiment: schema.Experiment, task: schema.Task) -> dict[str, Any]:
        """How a checkpoint is chosen matters to a run only where one is chosen."""
        evaluation = experiment.evaluation
        config: dict[str, Any] = {"checkpoint": evaluation.checkpoint, "batch_size": evaluation.batch_size}
        if evaluation.checkpoint == "best":
            config |= {"split": evaluation.split, "metrics": evaluation.metrics or [str(task.metric)]}
        return config

    def _stage(self, stage: schema.Stage) -> dict[str, Any]:
        rebuild = stage.rebuild and {"student": self._student(stage.rebuild.student), "keep": stage.rebuild.keep}
        return {
            **stage.model_dump(),
            "rebuild": rebuild,
            "optimiser": _resolved(stage.optimiser),
            "schedule": _resolved(stage.schedule),
            "loss": {name: _resolved(term) for name, term in stage.loss.items()},
        }

    def _teaching(self, experiment: schema.Experiment, task_name: str) -> dict[str, str]:
        """Keys of what the losses need of the teachers: stored logits, or the models themselves to be tapped."""
        nodes = {}
        for name, teacher in experiment.all_teachers.items():
            if teacher.source is not None:
                nodes[name] = self.source(teacher.source)
            else:
                assert teacher.experiment is not None
                nodes[name] = self.run(teacher.experiment, task_name, teacher.seed)
        inputs = {}
        for stage in experiment.stages:
            for term in stage.loss.values():
                asked = registry.signature("loss", term.method).inputs
                name = term.teacher or next(iter(nodes), "")
                if name in nodes and {"teacher_hidden", "teacher_head"} & set(asked):
                    inputs[f"teacher {name}"] = nodes[name].key
                heard = [name] if "teacher_logits" in asked and name in nodes else []
                for each in nodes if "all_teacher_logits" in asked else heard:
                    for split in sorted(stage.data):
                        inputs[f"outputs {each} {split}"] = self._outputs(nodes[each], split).key
        for module in experiment.modules.values():
            sides = [module.of] if module.of in nodes else list(nodes) if module.like else []
            inputs |= {f"teacher {name}": nodes[name].key for name in sides}
        return inputs

    def _outputs(self, teacher: Node, split: str, dataset: Node | None = None) -> Node:
        """What a run says of a split of its own data set, or of another."""
        name = ("outputs", teacher.key, split, dataset.key if dataset else "")
        return self._once(name, lambda: self._new_outputs(teacher, split, dataset))

    def _new_outputs(self, teacher: Node, split: str, dataset: Node | None) -> Node:
        inputs = {"teacher": teacher.key}
        inputs |= {role: key for role, key in teacher.inputs.items() if role in ("dataset", "tokens")}
        of = ""
        if dataset is not None:
            inputs["dataset"], of = dataset.key, f" of {dataset.title}"
            if "tokens" in inputs:
                own = self.nodes[inputs["tokens"]]
                tokenizer = self.nodes[own.inputs["tokenizer"]].title
                inputs["tokens"] = self.tokens(dataset, tokenizer, own.config["max_length"]).key
        task = teacher.config["task"]
        config = {"split": split, "runtime": self.runtime, "task": task}
        built = [component for component in _components(teacher.config) if component[0] == "architecture"]
        of_others = ("tokenizers", "scipy", "scikit-learn")  # what made the tokens, and what chose the teacher's epoch
        packages = tuple(name for name in self._packages(teacher.config) if name not in of_others)
        return self._add("outputs", f"{teacher.title} · {split}{of}", config, inputs, built, packages)

    # --- results -----------------------------------------------------------------------------------------------------

    def study(self) -> Node:
        study = self.checked.study
        tables = {name: self._table(name, table).key for name, table in study.tables.items()}
        submissions = {name: self._submission(name, said) for name, said in study.submissions.items()}
        if submissions:
            tables["submissions"] = self._scores(submissions).key
        runs = [[r.table, r.experiment, r.task, r.seed, r.key] for r in self.runs]
        titles = {key: node.title for key, node in self.nodes.items()}
        config = {"title": study.title, "runs": runs, "titles": titles}
        return self._add("study", self.checked.name, config, tables)

    def _table(self, name: str, table: schema.Table) -> Node:
        rows = self.checked.rows[name]
        cells, tokens = dict[str, str](), dict[str, str]()
        for row in rows:
            for task in row.tasks:
                runs = self._runs(name, row, task)
                read = (self.nodes[run].inputs.get("tokens") for run in runs.values())
                tokens |= {f"tokens {task} {self.nodes[key].config['max_length']}": key for key in read if key}
                if self.checked.tasks[task].metric is not None:  # none for an experiment on a task without labels
                    cells[f"{row.name}:{task}"] = self._cell(row, task, runs).key
        return self._add("table", name, self._table_config(name, table, rows), cells | tokens)

    def _runs(self, table: str, row: Row, task: str) -> dict[str, str]:
        """Keys of the runs behind one number: one for each seed; with a choice, for each point of the grid and seed."""
        chooses = len(row.recipes) > 1
        choose = self.checked.study.tables[table].choose
        if chooses and choose is not None and choose.seeds and not self._is_baseline(row, task):
            return self._chosen(table, row, task, choose.seeds)
        runs = {}
        for i, recipe in enumerate(row.recipes):
            for seed in row.seeds:
                role = f"trial {i} seed {seed}" if chooses else f"seed {seed}"
                run = self.run(recipe, self.checked.trained(task), seed)
                runs[role] = self._on(run, task).key
                self.runs.append(Run(table, recipe if chooses else row.name, task, seed, run.key))
        return runs

    def _is_baseline(self, row: Row, task: str) -> bool:
        return self.checked.experiment(row.recipes[0], task).baseline is not None

    def _chosen(self, table: str, row: Row, task: str, seeds: list[int]) -> dict[str, str]:
        """Keys of the runs of the best of several trials, and of what chooses it: known before it is chosen, because a
        run's key is made of all trials that it may turn out to be.
        """
        trained, trials = self.checked.trained(task), {}
        for i, recipe in enumerate(row.recipes):
            for seed in seeds:
                run = self.run(recipe, trained, seed)
                trials[f"trial {i} seed {seed}"] = run.key
                self.runs.append(Run(table, recipe, task, seed, run.key))
        points = {trial: self._runs_of[recipe, trained] for trial, recipe in zip(row.trials, row.recipes, strict=True)}
        config = {"metric": self.checked.tasks[task].metric, "trials": list(points)}
        choice = self._add("choice", f"{row.name} · {task}", config, trials)
        first = next(iter(points.values()))
        for name, point in points.items():
            if point.inputs != first.inputs:
                roles = sorted(r for r, key in {**first.inputs, **point.inputs}.items() if first.inputs.get(r) != key)
                raise RedistillError(
                    f"table `{table}`, row `{row.name}`: `{name}` is given another `{roles[0]}` than the other trials, "
                    "and trials that are chosen from learn from the same: make rows of them"
                )
        components = sorted({component for point in points.values() for component in point.components})
        packages = tuple(sorted({package for point in points.values() for package in point.packages}))
        runs = {}
        for seed in row.seeds:
            whole = {**first.config, "trials": {name: point.config for name, point in points.items()}, "seed": seed}
            title, inputs = f"{row.name} · {task} · seed {seed}", first.inputs | {"choice": choice.key}
            run = self._add(first.kind, title, whole, inputs, components, packages)
            runs[f"seed {seed}"] = run.key
            self.runs.append(Run(table, row.name, task, seed, run.key))
        return runs | {"choice": choice.key}

    def _on(self, run: Node, task: str) -> Node:
        """What holds a run's predictions for a task: the run itself, or what it says of another task's data."""
        if self.checked.tasks[task].model_of is None:
            return run
        if run.kind == "baseline":
            parts = run.parts | {"inputs": run.inputs | {"dev": self.dataset(task).key}}
            node = Node(run.kind, f"{run.title} · dev of {task}", parts)
            return self.nodes.setdefault(node.key, node)
        return self._outputs(run, "dev", self.dataset(task))

    def _cell(self, row: Row, task: str, runs: dict[str, str]) -> Node:
        if self.checked.tasks[task].model_of is not None:
            runs = runs | {"dataset": self.dataset(task).key}
        config: dict[str, Any] = {"metric": self.checked.tasks[task].metric}
        if len(row.recipes) > 1 and "choice" not in runs:
            config["trials"] = list(row.trials)
        return self._add("cell", f"{row.name} · {task}", config, runs)

    def _table_config(self, name: str, table: schema.Table, rows: list[Row]) -> dict[str, Any]:
        columns = []
        for task_name in table.tasks:
            task = self.checked.tasks[task_name]
            if task.metric is None:
                continue
            columns.append({"task": task_name, "title": task.title, "mark": table.marks.get(task_name),
                            "metric": task.metric, "source": self.checked.sources[task.source or ""].citation,
                            "no_data": task_name in self.checked.no_data, "sample": _sample(task)})  # fmt: skip
        return {
            "name": name, "title": table.title, "study": self.checked.study.title, "columns": columns,
            "rows": [self._row_config(row) for row in rows],
            "means": {name: mean.model_dump() for name, mean in table.means.items()},
            "comparisons": list(_compared(table.comparisons, rows)), "order": table.order,
        }  # fmt: skip

    def _row_config(self, row: Row) -> dict[str, Any]:
        evaluations = [self.checked.experiment(row.recipes[0], task).evaluation for task in row.tasks]
        on_dev = any(e.checkpoint == "best" and e.split == "dev" for e in evaluations)
        return {
            "experiment": row.name, "tasks": list(row.tasks), "seeds": list(row.seeds), "label": row.label,
            "notes": row.notes, "trials": len(row.recipes), "fixed": row.fixed, "selected_on_dev": on_dev,
        }  # fmt: skip

    # --- submissions ------------------------------------------------------------------------------------------------

    def _submission(self, name: str, said: schema.Submission) -> Node:
        """Predictions of one row on every test set, as GLUE's server takes them."""
        files: dict[str, dict[str, Any]] = {}
        inputs: dict[str, str] = {}
        for task_name in said.tasks:
            task, test = self.checked.tasks[task_name], self.test_set(task_name)
            run = self.run(said.experiment, self.checked.trained(task_name), said.seed)
            self.runs.append(Run(name, said.experiment, task_name, said.seed, run.key))
            file = str(task.submitted_as)
            files[file] = {"labels": task.labels}
            inputs |= {file: self._outputs(run, "test", test).key, f"{file} examples": test.key}
        return self._add("submission", f"submission {name}", {"files": files}, inputs)

    def _scores(self, submissions: dict[str, Node]) -> Node:
        """The table of what the server said, where it was recorded, beside what was published."""
        rows, references = [], self.checked.references
        for name, node in submissions.items():
            said = self.checked.study.submissions[name]
            recorded = self.checked.recorded.get(name, {})
            own = recorded.get("submission") == node.key  # of an earlier one, the scores say nothing of this one
            rows.append({
                "name": name, "seed": said.seed, "recorded": recorded["scores"] if own else None,
                "label": said.label or self.checked.experiment(said.experiment, said.tasks[0]).label,
                "published": [_shown(references.rows[row]) for row in said.published] if references else [],
            })  # fmt: skip
        columns = references.columns if references else {}
        config = {"study": self.checked.study.title, "rows": rows, "columns": columns}
        return self._add("scores", "submissions", config, {name: node.key for name, node in submissions.items()})


def _shown(published: schema.Reference) -> dict[str, Any]:
    """What the table of scores shows of a published row; by what it is judged changes no table."""
    return published.model_dump(include={"label", "scores", "correlation"})


def _compared(said: list[schema.Comparison], rows: list[Row]) -> Iterator[dict[str, Any]]:
    """The comparisons of a table, one by one. `*` leaves out what is compared already, in whichever direction."""
    by_name = {row.name: row for row in rows}

    def pairs(name: str, comparison: schema.Comparison) -> list[tuple[frozenset[str], str]]:
        """What is compared: two rows in a column that both have."""
        ours, theirs = by_name[name].tasks, by_name[comparison.against].tasks
        columns = [task for task in comparison.tasks or ours if task in ours and task in theirs]
        return [(frozenset((name, comparison.against)), column) for column in columns]

    done = {pair for comparison in said if comparison.row != schema.EVERY for pair in pairs(comparison.row, comparison)}
    for comparison in said:
        if comparison.row != schema.EVERY:
            yield comparison.model_dump()
            continue
        seeds = sorted(by_name[comparison.against].seeds)
        for name in [row.name for row in rows if row.name != comparison.against and sorted(row.seeds) == seeds]:
            asked = pairs(name, comparison)
            left = [pair for pair in asked if pair not in done]
            done.update(asked)
            if left:
                tasks = comparison.tasks if left == asked else [column for _, column in left]
                yield comparison.model_dump() | {"row": name, "tasks": tasks}


def _sample(task: schema.Task) -> dict[str, Any]:
    """How a task's examples are fewer than were published, for the table to say."""
    splits = task.splits
    if not isinstance(splits, schema.OfficialSplits):
        return {}
    return {"given": splits.sample, "at_most": splits.at_most}
