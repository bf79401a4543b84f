"""Read a whole study and refuse it, with every mistake at once, before anything is made."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from redistill import registry
from redistill.config import compose, schema
from redistill.config.parse import Document, KeyPath, nearest
from redistill.errors import ConfigError, Problem
from redistill.evaluation.metrics import METRICS

Model = TypeVar("Model", bound=BaseModel)

TEACHER_INPUTS = {"teacher_logits", "teacher_hidden"}
HIDDEN_INPUTS = {"student_hidden", "teacher_hidden"}


@dataclass
class Checked:
    """A study with everything that it names, read and found right."""

    name: str
    study: schema.Study
    sources: dict[str, schema.Source]
    tasks: dict[str, schema.Task] = field(default_factory=dict)
    experiments: dict[str, schema.Experiment] = field(default_factory=dict)


def check(root: Path, name: str) -> Checked:
    """Read the study `configs/studies/<name>.yaml`.

    Raises:
        ConfigError: with all the mistakes in the study and in every file that it reaches.
    """
    return _Checker(root, name).run()


class _Checker:
    """Collects problems while it follows names from file to file."""

    def __init__(self, root: Path, name: str):
        self.root, self.name = root, name
        self.problems: list[Problem] = []
        self.broken: set[str] = set()  # sources that are wrong themselves; said once
        self.documents: dict[tuple[str, str], Document] = {}
        self.checked: Checked
        self.visiting: list[tuple[str, str]] = []

    def run(self) -> Checked:
        sources = compose.load(self.root / "configs" / "sources.yaml", "configs/sources.yaml")
        if not isinstance(sources.data, dict):
            raise ConfigError([sources.problem((), "must be a mapping of names to sources")])
        models: dict[str, schema.Source] = {}
        for name in sources.data:
            try:
                models[name] = compose.validate(schema.Source, sources.sub(name), name)
            except ConfigError as error:
                self.problems.extend(error.problems)
                self.broken.add(name)
        try:
            document = compose.read(self.root, "studies", self.name)
            study = compose.validate(schema.Study, document)
        except ConfigError as error:
            raise ConfigError([*self.problems, *error.problems]) from None
        self.checked = Checked(self.name, study, models)
        if study.runtime.portable and study.runtime.device != "cpu":
            self._say(document, ("runtime", "portable"), "holds on CPUs alone; set it to false for `cuda`")
        for table_name, table in study.tables.items():
            self._table(document, ("tables", table_name), table)
        if self.problems:
            raise ConfigError(self.problems)
        return self.checked

    def _say(self, document: Document, path: KeyPath, message: str) -> None:
        self.problems.append(document.problem(path, message))

    def _named(
        self, folder: str, model: type[Model], name: str, document: Document, path: KeyPath, into: dict[str, Model]
    ) -> Model | None:
        """Read a file by name once; a file that is wrong is reported once."""
        if (folder, name) not in self.documents:
            self.documents[folder, name] = Document(None, {(): document.place(path)})
            try:
                self.documents[folder, name] = compose.read(self.root, folder, name, document.problem(path, ""))
                into[name] = compose.validate(model, self.documents[folder, name])
            except ConfigError as error:
                self.problems.extend(error.problems)
        return into.get(name)

    def _task(self, name: str, document: Document, path: KeyPath) -> schema.Task | None:
        seen = ("tasks", name) in self.documents
        task = self._named("tasks", schema.Task, name, document, path, self.checked.tasks)
        if task is not None and not seen:
            self._check_task(self.documents["tasks", name], task)
        return task

    def _check_task(self, document: Document, task: schema.Task) -> None:
        if task.pool is not None:
            for i, name in enumerate(task.pool.tasks):
                pooled = self._task(name, document, ("pool", "tasks", i))
                if pooled is not None and pooled.pool is not None:
                    self._say(document, ("pool", "tasks", i), f"`{name}` is a pool itself; name the tasks in it")
            if "dev" in task.pool.splits:
                here: KeyPath = ("pool", "splits", task.pool.splits.index("dev"))
                self._say(document, here, "`dev` is only reported on, never trained on")
            return
        for key in ("source", "reader", "splits"):
            if getattr(task, key) is None:
                self._say(document, (), f"`{key}` is missing (or `pool`, to take other tasks' inputs)")
        if task.source is not None and task.source not in {*self.checked.sources, *self.broken}:
            self._say(document, ("source",), f"no source `{task.source}`; {nearest(task.source, self.checked.sources)}")
        if task.reader is not None:
            self._component(document, "reader", task.reader, ("reader",), task.options, ("options",))
        if task.type != "unlabelled":
            metrics = [name for name, (kind, _) in METRICS.items() if kind == task.type]
            if task.metric not in metrics:
                message = f"`{task.metric}` does not measure {task.type}; {nearest(str(task.metric), metrics)}"
                self._say(document, ("metric",), message)
        if task.type == "classification" and len(task.labels) < 2:
            self._say(document, ("labels",), "a classification task names at least two labels, in order")

    def _component(
        self, document: Document, kind: str, name: str, path: KeyPath, settings: dict[str, Any], where: KeyPath
    ) -> registry.Signature | None:
        if name not in registry.names(kind):
            self._say(document, path, f"no {kind} `{name}`; {nearest(name, registry.names(kind))}")
            return None
        signature = registry.signature(kind, name)
        for key, value in settings.items():
            if key not in signature.settings:
                message = f"{kind} `{name}` has no setting `{key}`; {nearest(key, signature.settings)}"
                self._say(document, (*where, key), message)
            elif registry.mistyped(signature.settings[key].annotation, value):
                self._say(document, (*where, key), f"must be {signature.settings[key].annotation}, but it is `{value}`")
        for key, setting in signature.settings.items():
            if setting.required and key not in settings:
                self._say(document, where if settings else path, f"{kind} `{name}` needs the setting `{key}`")
        return signature

    def _table(self, document: Document, path: KeyPath, table: schema.Table) -> None:
        for i, name in enumerate(table.tasks):
            column = self._task(name, document, (*path, "tasks", i))
            if column is not None and column.type == "unlabelled":
                self._say(document, (*path, "tasks", i), f"`{name}` has no labels, so no metric and no column")
        self._unique(document, (*path, "tasks"), table.tasks)
        self._unique(document, (*path, "seeds"), table.seeds)
        names = [row.experiment for row in table.rows]
        self._unique(document, (*path, "rows"), names)
        for i, row in enumerate(table.rows):
            here = (*path, "rows", i)
            self._columns(document, (*here, "tasks"), row.tasks, table)
            self._unique(document, (*here, "seeds"), row.seeds or [])
            for task in row.tasks or table.tasks:
                self._experiment(row.experiment, task, document, (*here, "experiment"))
        for i, comparison in enumerate(table.comparisons):
            here = (*path, "comparisons", i)
            self._columns(document, (*here, "tasks"), comparison.tasks, table)
            for key in ("row", "against"):
                if getattr(comparison, key) not in names:
                    wrong = getattr(comparison, key)
                    self._say(document, (*here, key), f"the table has no row `{wrong}`; {nearest(wrong, names)}")
                    continue
                columns = next(row.tasks for row in table.rows if row.experiment == getattr(comparison, key))
                for j, task in enumerate(comparison.tasks or []):
                    if columns is not None and task not in columns:
                        self._say(document, (*here, "tasks", j), f"row `{getattr(comparison, key)}` has no `{task}`")

    def _columns(self, document: Document, path: KeyPath, tasks: list[str] | None, table: schema.Table) -> None:
        for i, task in enumerate(tasks or []):
            if task not in table.tasks:
                self._say(document, (*path, i), f"the table has no column `{task}`; {nearest(task, table.tasks)}")

    def _unique(self, document: Document, path: KeyPath, values: list[Any]) -> None:
        for i, value in enumerate(values):
            if value in values[:i]:
                self._say(document, (*path, i), f"`{value}` stands twice")

    def _experiment(self, name: str, task_name: str, document: Document, path: KeyPath) -> schema.Experiment | None:
        """Check an experiment on a task, and what it starts from and learns from."""
        if (name, task_name) in self.visiting:
            self._say(document, path, f"goes round in a circle: `{name}` on `{task_name}` needs itself")
            return None
        experiment = self._named("experiments", schema.Experiment, name, document, path, self.checked.experiments)
        task = self.checked.tasks.get(task_name)
        if experiment is None or task is None:
            return experiment
        self.visiting.append((name, task_name))
        self._check_experiment(self.documents["experiments", name], experiment, task, task_name)
        self.visiting.pop()
        return experiment

    def _check_experiment(
        self, document: Document, experiment: schema.Experiment, task: schema.Task, task_name: str
    ) -> None:
        if experiment.baseline is not None:
            if experiment.student or experiment.stages or experiment.teacher:
                self._say(document, ("baseline",), "a baseline is fitted: no student, teacher or stages beside it")
            baseline = experiment.baseline
            self._component(document, "baseline", baseline.method, ("baseline", "method"), baseline.settings,
                            ("baseline", "settings"))  # fmt: skip
            return
        if experiment.student is None or not experiment.stages:
            self._say(document, (), "needs a `student` and `stages`, or a `baseline`")
            return
        self._student(document, experiment.student, task, task_name)
        if experiment.teacher is not None:
            self._teacher(document, experiment.teacher, task_name)
        if experiment.evaluation.checkpoint == "best" and (task.splits is None or not task.splits.select):
            self._say(document, ("evaluation", "checkpoint"), f"task `{task_name}` has no `select` to choose `best` on")
        for i, stage in enumerate(experiment.stages):
            self._stage(document, ("stages", i), experiment, stage, task, task_name)

    def _student(self, document: Document, student: schema.Student, task: schema.Task, task_name: str) -> None:
        here: KeyPath = ("student",)
        start = student.start
        if task.input == "image":
            if student.architecture is None:
                self._say(document, here, "an image task needs `architecture`")
            elif student.start is not None:
                self._say(document, (*here, "start"), "a registered architecture starts at random")
        elif start is None:
            self._say(document, here, "a text student needs a `start`: a pretrained `source`, or an `experiment`")
        if student.architecture is not None:
            self._component(document, "architecture", student.architecture, (*here, "architecture"), student.settings,
                            (*here, "settings"))  # fmt: skip
        if start is None:
            return
        if (start.source is None) == (start.experiment is None):
            self._say(document, (*here, "start"), "give either a pretrained `source` or an `experiment`")
        if start.source is not None:
            self._model_source(document, (*here, "start", "source"), start.source)
        if start.experiment is not None:
            other = start.task or task_name
            if start.task is not None:
                self._task(start.task, document, (*here, "start", "task"))
            found = self._experiment(start.experiment, other, document, (*here, "start", "experiment"))
            if found is not None and found.baseline is not None:
                self._say(document, (*here, "start", "experiment"),
                          f"`{start.experiment}` is a baseline: it has no weights to start from")  # fmt: skip

    def _model_source(self, document: Document, path: KeyPath, name: str) -> None:
        models = [n for n, source in self.checked.sources.items() if source.kind == "model"]
        if name not in models and name not in self.broken:
            self._say(document, path, f"no pretrained model `{name}` in configs/sources.yaml; {nearest(name, models)}")

    def _teacher(self, document: Document, teacher: schema.Teacher, task_name: str) -> None:
        if (teacher.source is None) == (teacher.experiment is None):
            self._say(document, ("teacher",), "give either an `experiment` or a pretrained `source`")
        if teacher.source is not None:
            self._model_source(document, ("teacher", "source"), teacher.source)
        if teacher.experiment is not None:
            path: KeyPath = ("teacher", "experiment")
            found = self._experiment(teacher.experiment, task_name, document, path)
            if found is not None and found.baseline is not None:
                self._say(document, path, f"`{teacher.experiment}` is a baseline: it has no logits to teach with")

    def _stage(
        self, document: Document, path: KeyPath, experiment: schema.Experiment, stage: schema.Stage,
        task: schema.Task, task_name: str,
    ) -> None:  # fmt: skip
        for i, split in enumerate(stage.data):
            empty = task.splits is not None and getattr(task.splits, split) == 0
            if empty or (task.pool is not None and split != "transfer"):
                self._say(document, (*path, "data", i), f"task `{task_name}` has no `{split}` split")
            if split == "dev":
                self._say(document, (*path, "data", i), "`dev` is only reported on, never trained on")
        self._unique(document, (*path, "data"), list(stage.data))
        for name, term in stage.loss.items():
            here = (*path, "loss", name)
            signature = self._component(document, "loss", term.method, (*here, "method"), term.settings,
                                        (*here, "settings"))  # fmt: skip
            if signature is not None:
                self._inputs(document, here, set(signature.inputs), term, experiment, stage, task)

    def _inputs(
        self, document: Document, path: KeyPath, inputs: set[str], term: schema.Term, experiment: schema.Experiment,
        stage: schema.Stage, task: schema.Task,
    ) -> None:  # fmt: skip
        """Whether the experiment can give a loss what it asks for."""
        method = f"loss `{term.method}`"
        if inputs & TEACHER_INPUTS and experiment.teacher is None:
            self._say(document, path, f"{method} needs a `teacher`, and the experiment names none")
        logits_of_source = "teacher_logits" in inputs and experiment.teacher and experiment.teacher.source
        if logits_of_source:
            self._say(document, path, f"{method} needs a teacher fine-tuned on the task: name its `experiment`")
        if "labels" in inputs and (task.type == "unlabelled" or stage.data == ["transfer"]):
            self._say(document, path, f"{method} needs labels, and this data has none")
        if inputs & HIDDEN_INPUTS and term.taps is None:
            self._say(document, path, f"{method} needs `taps`: which modules of student and teacher it compares")
        if term.taps is not None and not inputs & HIDDEN_INPUTS:
            self._say(document, (*path, "taps"), f"{method} compares no hidden states")
        if term.taps is not None and len(term.taps.student) != len(term.taps.teacher):
            self._say(document, (*path, "taps"), "student and teacher need as many taps each; they are paired in order")
