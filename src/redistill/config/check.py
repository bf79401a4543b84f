"""Read a whole study and refuse it, with every mistake at once, before anything is made. Imports no torch."""

import itertools
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel

from redistill import registry
from redistill.config import compose, folders, schema
from redistill.config.parse import Document, KeyPath
from redistill.errors import ConfigError, Problem, RedistillError, nearest
from redistill.evaluation.metrics import BINARY, METRICS

Model = TypeVar("Model", bound=BaseModel)

TEACHER_INPUTS = {"teacher_logits", "teacher_hidden"}
HIDDEN_INPUTS = {"student_hidden", "teacher_hidden"}
TEXT_ARCHITECTURES = ("transformers",)
MAX_DEPTH = 50  # of experiments that build on one another
MAX_POINTS = 1000  # of a row's grid
MAX_RUNS = 100_000  # of a study
MAX_PROBLEMS = 1000  # after which nothing more is looked for


@dataclass(frozen=True)
class Recipe:
    """An experiment as it is for one task, with every value's place."""

    experiment: schema.Experiment
    document: Document


@dataclass(frozen=True)
class Row:
    """A row of a table, its grid laid out: the recipes that it shows, or among which it chooses."""

    name: str
    experiment: str
    label: str
    notes: dict[str, str]
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    recipes: tuple[str, ...]


@dataclass
class Checked:
    """A study with everything that it names, read and found right."""

    name: str
    study: schema.Study
    sources: dict[str, schema.Source]
    tasks: dict[str, schema.Task] = field(default_factory=dict)
    recipes: dict[tuple[str, str], Recipe] = field(default_factory=dict)  # by name and task
    rows: dict[str, list[Row]] = field(default_factory=dict)  # by table
    plugins: list[registry.Plugin] = field(default_factory=list)
    references: schema.References | None = None  # published scores, where a submission stands beside some
    recorded: dict[str, dict[str, Any]] = field(default_factory=dict)  # by submission: what the server said of it
    given: dict[str, dict[str, Path]] = field(default_factory=dict)  # by source: files of a folder of the user's
    no_data: dict[str, str] = field(default_factory=dict)  # tasks that such a folder has no data for, and why

    def experiment(self, name: str, task: str) -> schema.Experiment:
        return self.recipes[name, self.trained(task)].experiment

    def trained(self, task: str) -> str:
        """The task whose runs stand for this one: another, where nothing is trained on it."""
        return self.tasks[task].model_of or task if task in self.tasks else task


def check(root: Path, name: str) -> Checked:
    """Read the study `configs/studies/<name>.yaml`.

    Raises:
        ConfigError: with all the mistakes in the study and in every file that it reaches.
    """
    return _Checker(root, name).run(compose.read(root, "studies", name))


def check_experiment(
    root: Path, name: str, tasks: list[str], seeds: list[int], study: str, changes: Document | None = None
) -> Checked:
    """Check an experiment that need not be in a study, on these tasks, with the runtime and plugins of `study`.

    `changes` are values laid over it, by their path.
    """
    around = compose.validate(schema.Study, compose.read(root, "studies", study))
    data = {
        "title": name, "runtime": around.runtime.model_dump(), "checkpoints": around.checkpoints.model_dump(),
        "plugins": {n: p.model_dump() for n, p in around.plugins.items()},
        "tables": {"run": {"title": name, "tasks": tasks, "seeds": seeds, "rows": [{"experiment": name}]}},
    }  # fmt: skip
    place = compose.read(root, "experiments", name).place(())
    return _Checker(root, name, changes, published=False).run(Document(data, {(): place}))


def tasks_of(root: Path, experiment: str, study: str) -> list[str]:
    """The tasks that a study has an experiment on, else those that the experiment itself has values for.

    Raises:
        RedistillError: neither says any.
    """
    found = [task for table, row in _rows_of(root, experiment, study) for task in row.tasks or table.tasks]
    if not found:
        per_task = compose.read(root, "experiments", experiment).data.get("per_task")
        found = list(per_task) if isinstance(per_task, dict) else []
    if not found:
        raise RedistillError(f"the study `{study}` has no row `{experiment}`: say on which task, with --task")
    return list(dict.fromkeys(found))


def seeds_of(root: Path, experiment: str, study: str) -> list[int]:
    """The seeds that a study has an experiment with; 0 if it has none."""
    found = [seed for table, row in _rows_of(root, experiment, study) for seed in row.seeds or table.seeds]
    return list(dict.fromkeys(found)) or [0]


def _rows_of(root: Path, experiment: str, study: str) -> list[tuple[schema.Table, schema.Row]]:
    tables = compose.validate(schema.Study, compose.read(root, "studies", study)).tables.values()
    return [(table, row) for table in tables for row in table.rows if row.experiment == experiment]


def recorded_scores(root: Path, study: str, submission: str) -> Path:
    """Where `redistill submit --record` keeps what the server said of a submission."""
    return root / "configs" / "recorded" / study / f"{submission}.json"


class _Checker:
    """Collects problems while it follows names from file to file."""

    def __init__(self, root: Path, name: str, changes: Document | None = None, published: bool = True):
        self.root, self.name, self.changes, self.published = root, name, changes, published
        self.problems: list[Problem] = []
        self.broken: set[str] = set()  # sources that are wrong themselves; said once
        self.outside: set[tuple[str, str]] = set()  # plugins that are wrong themselves
        self.documents: dict[tuple[str, str], Document] = {}
        self.everywhere: dict[tuple[str, bool], Recipe] = {}  # by name: recipes for tasks that they say nothing of
        self.refused: set[tuple[str, str]] = set()  # recipes that are wrong themselves; said once
        self.alike: dict[tuple[str, str], set[str]] = {}  # paths that rows of an experiment set, by their last step
        self.runs = 0  # that the rows ask for
        self.task_names = compose.known(root, "tasks")
        self.checked: Checked
        self.visiting: list[tuple[str, str]] = []

    def run(self, document: Document) -> Checked:
        sources = compose.load(self.root / "configs" / "sources.yaml", "configs/sources.yaml")
        if not isinstance(sources.data, dict):
            raise ConfigError([sources.problem((), "must be a mapping of names to sources")])
        models: dict[str, schema.Source] = {}
        for name in sources.data:
            try:
                models[name] = compose.validate(schema.Source, sources.sub(name), name)
            except ConfigError as error:
                self._tell(error.problems)
                self.broken.add(name)
        try:
            study = compose.validate(schema.Study, document)
        except ConfigError as error:
            raise ConfigError([*self.problems, *error.problems]) from None
        self.checked = Checked(self.name, study, models)
        self._folders(document, study)
        self._plugins(document, study)
        self._runtime(document, study.runtime)
        for row in (row for table in study.tables.values() for row in table.rows):
            for key in row.set:
                self.alike.setdefault((row.experiment, key.rpartition(".")[2]), set()).add(key)
        for table_name, table in study.tables.items():
            self._table(document, ("tables", table_name), table_name, table)
        self._submissions(document, study.submissions)
        if self.problems:
            raise ConfigError(self.problems)
        return self.checked

    def _say(self, document: Document, path: KeyPath, message: str) -> None:
        self._tell([document.problem(path, message)])

    def _tell(self, problems: list[Problem]) -> None:
        self.problems.extend(problems)
        if len(self.problems) > MAX_PROBLEMS:
            raise ConfigError(self.problems)

    def _runtime(self, document: Document, runtime: schema.Runtime) -> None:
        if runtime.portable and runtime.device != "cpu":
            self._say(document, ("runtime", "portable"), "holds on CPUs alone; set it to false for `cuda`")
        if runtime.portable and runtime.precision != "float32":
            self._say(document, ("runtime", "portable"), "holds for float32 alone; set it to false, or `precision`")
        if runtime.precision == "float16" and runtime.device == "cpu":
            self._say(document, ("runtime", "precision"), "float16 trains on `cuda` alone; CPUs have `bfloat16`")

    def _folders(self, document: Document, study: schema.Study) -> None:
        """Take sources from the folders that the study names, as far as they have their files."""
        known = {source.layout.folder for source in self.checked.sources.values() if source.layout}
        self.split_files: dict[str, dict[str, list[str]]] = {}
        for name, place in study.folders.items():
            if name not in known:
                self._say(document, ("folders", name), f"no source is read from such a folder; {nearest(name, known)}")
                continue
            try:
                folder = folders.find(self.root, name, place)
            except RedistillError as error:
                self._say(document, ("folders", name), str(error))
                continue
            for source_name, source in self.checked.sources.items():
                if source.layout is not None and source.layout.folder == name:
                    self.split_files[source_name] = found = folders.files_of(source.layout, folder)
                    files = sorted({file for some in found.values() for file in some})
                    self.checked.given[source_name] = {file: folder / file for file in files}

    def _look_for_data(self, name: str, task: schema.Task) -> None:
        """Note a task that the user's folder has no data for: its column says so, and nothing is planned for it."""
        missing = self._missing(task, [split for split in self._official(task) if split != "test"])
        if missing is not None:
            self.checked.no_data[name] = f"no {missing}"

    def _missing(self, task: schema.Task, splits: list[str]) -> str | None:
        """The first file that a folder of the user's lacks for these splits of a task, in words; None if it has all."""
        source = self.checked.sources.get(str(task.source))
        if source is None or source.layout is None or task.source not in self.checked.given:
            return None
        theirs = [self._official(task)[split] for split in splits if split in self._official(task)]
        absent = [split for split in theirs if split not in self.split_files[str(task.source)]]
        return folders.wanted(source.layout, absent[0]) if absent else None

    @staticmethod
    def _official(task: schema.Task) -> dict[str, str]:
        said = task.splits.official if isinstance(task.splits, schema.OfficialSplits) else {}
        return {str(ours): theirs for ours, theirs in said.items()}

    def _plugins(self, document: Document, study: schema.Study) -> None:
        found: list[registry.Plugin] = []
        for name, said in study.plugins.items():
            path: KeyPath = ("plugins", name)
            file = compose.below(self.root.resolve(), self.root / said.file)
            if file is None:
                self._say(document, (*path, "file"), "must lie in the project's folder")
                continue
            plugin = registry.Plugin(said.kind, file.stem, file, said.sha256)
            try:
                registry.use([*found, plugin])
                found.append(plugin)
            except RedistillError as error:
                self._say(document, path, str(error).replace(f"{self.root.resolve()}/", ""))
                self.outside.add((said.kind, file.stem))
        registry.use(found)
        self.checked.plugins = found

    # --- tasks -------------------------------------------------------------------------------------------------------

    def _named(
        self, folder: str, model: type[Model], name: str, document: Document, path: KeyPath, into: dict[str, Model]
    ) -> Model | None:
        """Read a file by name once; a file that is wrong is reported once."""
        read = self._read(folder, name, document, path)
        if read is not None and name not in into and (folder, name) not in self.refused:
            try:
                into[name] = compose.validate(model, read)
            except ConfigError as error:
                self._tell(error.problems)
                self.refused.add((folder, name))
        return into.get(name)

    def _read(self, folder: str, name: str, document: Document, path: KeyPath) -> Document | None:
        if (folder, name) not in self.documents:
            self.documents[folder, name] = Document(None, {(): document.place(path)})
            try:
                self.documents[folder, name] = compose.read(self.root, folder, name, document.problem(path, ""))
            except ConfigError as error:
                self._tell(error.problems)
        read = self.documents[folder, name]
        return read if read.data is not None else None

    def _task(self, name: str, document: Document, path: KeyPath) -> schema.Task | None:
        seen = ("tasks", name) in self.documents
        task = self._named("tasks", schema.Task, name, document, path, self.checked.tasks)
        if task is not None and not seen:
            self._check_task(self.documents["tasks", name], task)
            self._look_for_data(name, task)
            if task.model_of in self.checked.no_data:
                self.checked.no_data[name] = self.checked.no_data[str(task.model_of)]
        return task

    def _check_task(self, document: Document, task: schema.Task) -> None:
        if task.input == "image" and task.image_shape is None:
            self._say(document, (), "an image task needs `image_shape`: channels, height and width")
        if task.type == "unlabelled" and task.metric is not None:
            self._say(document, ("metric",), "measures nothing: the task has no labels")
        if task.pool is not None:
            if task.type != "unlabelled":
                self._say(document, ("type",), "must be `unlabelled`: a pool takes inputs without their labels")
            for i, name in enumerate(task.pool.tasks):
                pooled = self._task(name, document, ("pool", "tasks", i))
                if pooled is not None and pooled.pool is not None:
                    self._say(document, ("pool", "tasks", i), f"`{name}` is a pool itself; name the tasks in it")
                if pooled is not None and pooled.input != task.input:
                    self._say(
                        document, ("pool", "tasks", i), f"`{name}` is made of {pooled.input}s, not of {task.input}s"
                    )
            if "dev" in task.pool.splits:
                here: KeyPath = ("pool", "splits", task.pool.splits.index("dev"))
                self._say(document, here, "`dev` is only reported on, never trained on")
            return
        self._model_of(document, task)
        for key in ("source", "reader", "splits"):
            if getattr(task, key) is None:
                self._say(document, (), f"`{key}` is missing (or `pool`, to take other tasks' inputs)")
        data = [n for n, source in self.checked.sources.items() if source.kind == "data"]
        if task.source is not None and task.source not in {*data, *self.broken}:
            self._say(document, ("source",), f"no data source `{task.source}`; {nearest(task.source, data)}")
        if task.reader is not None:
            self._component(document, task.reader, ("reader",))
        if task.type != "unlabelled":
            self._metric(document, ("metric",), task.metric, task)
        if task.type == "classification" and len(task.labels) < 2:
            self._say(document, ("labels",), "a classification task names at least two labels, in order")
        self._unique(document, ("labels",), task.labels)

    def _model_of(self, document: Document, task: schema.Task) -> None:
        """Whether a task's examples are read by the runs of the task that it names."""
        if task.model_of is None:
            if isinstance(task.splits, schema.OfficialSplits) and not task.splits.has("dev"):
                self._say(document, ("splits", "official"), "must say which split `dev` is (or give `model_of`)")
            return
        other = self._task(task.model_of, document, ("model_of",))
        if other is None:
            return
        if other.model_of is not None or other.pool is not None:
            self._say(document, ("model_of",), f"nothing is trained on `{task.model_of}` itself; name another task")
        for key in ("type", "input", "labels"):
            if getattr(other, key) != getattr(task, key):
                self._say(document, (key,), f"differs from that of `{task.model_of}`, whose runs are evaluated here")

    def _submissions(self, document: Document, submissions: dict[str, schema.Submission]) -> None:
        if any(said.published for said in submissions.values()):
            try:
                self.checked.references = compose.validate(
                    schema.References, compose.read(self.root, "references", "glue-test")
                )
            except ConfigError as error:
                self._tell(error.problems)
        for name, said in submissions.items():
            self._submission(document, ("submissions", name), said)
            rows = self.checked.references.rows if self.checked.references else {}
            for i, row in enumerate(said.published):
                if self.checked.references is not None and row not in rows:
                    hint = nearest(row, rows)
                    self._say(document, ("submissions", name, "published", i), f"no published row `{row}`; {hint}")
            file = recorded_scores(self.root, self.name, name)
            if file.is_file():
                try:
                    self.checked.recorded[name] = json.loads(file.read_text(encoding="utf-8"))
                except ValueError:
                    where = file.relative_to(self.root).as_posix()
                    self._say(document, ("submissions", name), f"{where} is no JSON: record the scores again")

    def _submission(self, document: Document, path: KeyPath, submission: schema.Submission) -> None:
        files: dict[str, str] = {}
        for i, name in enumerate(submission.tasks):
            here: KeyPath = (*path, "tasks", i)
            task = self._task(name, document, here)
            if task is None:
                continue
            if task.submitted_as is None or task.splits is None or not task.splits.has("test"):
                self._say(document, here, f"`{name}` has no `test` split, or does not say what it is `submitted_as`")
            elif task.submitted_as in files:
                self._say(document, here, f"is submitted as {task.submitted_as}, like `{files[task.submitted_as]}`")
            else:
                files[task.submitted_as] = name
            if (missing := self._missing(task, ["test"])) is not None:
                self._say(document, here, f"the folder that the study names has no {missing}")
            found = self._recipe(submission.experiment, self.checked.trained(name), document, (*path, "experiment"))
            if found is not None and found.baseline is not None:
                self._say(document, (*path, "experiment"), "is a baseline, whose test predictions are not made")
        if left_out := [file for file in get_args(schema.SubmittedFile) if file not in files]:
            said = f"none of them is submitted as {', '.join(left_out)}: the server takes whole submissions alone"
            self._say(document, (*path, "tasks"), said)

    def _metric(self, document: Document, path: KeyPath, metric: str | None, task: schema.Task) -> None:
        metrics = [name for name, (kind, _) in METRICS.items() if kind == task.type]
        if metric not in metrics:
            self._say(document, path, f"`{metric}` does not measure {task.type}; {nearest(str(metric), metrics)}")
        elif metric in BINARY and len(task.labels) != 2:
            self._say(document, path, f"`{metric}` is for two classes, and there are {len(task.labels)}")

    def _component(self, document: Document, said: schema.Component, path: KeyPath) -> registry.Signature | None:
        kind, name = said.kind, said.method
        if name not in registry.names(kind):
            if (kind, name) not in self.outside:
                self._say(document, (*path, "method"), f"no {kind} `{name}`; {nearest(name, registry.names(kind))}")
            return None
        signature = registry.signature(kind, name)
        own = [key for key in type(said).model_fields if key != "method"]
        for key, value in said.settings.items():
            if key not in signature.settings:
                message = f"{kind} `{name}` has no setting `{key}`; {nearest(key, [*signature.settings, *own])}"
                self._say(document, (*path, key), message)
            elif wrong := registry.mistake(signature.settings[key], value):
                self._say(document, (*path, key), f"{wrong}, but it is `{value}`")
        for key, setting in signature.settings.items():
            if setting.required and key not in said.settings:
                self._say(document, path, f"{kind} `{name}` needs the setting `{key}`")
        return signature

    # --- tables ------------------------------------------------------------------------------------------------------

    def _table(self, document: Document, path: KeyPath, name: str, table: schema.Table) -> None:
        for i, task in enumerate(table.tasks):
            column = self._task(task, document, (*path, "tasks", i))
            if column is not None and column.type == "unlabelled" and self.published:
                self._say(document, (*path, "tasks", i), f"`{task}` has no labels, so no metric and no column")
            elif column is not None and column.splits is not None and not column.splits.has("dev"):
                self._say(document, (*path, "tasks", i), f"`{task}` has no `dev` split, so no column")
            elif table.choose is not None and column is not None and column.model_of is not None:
                self._say(
                    document, (*path, "tasks", i), f"`{task}` has no runs of its own, among which `choose` decides"
                )
            elif table.choose is not None and column is not None and column.splits and not column.splits.has("select"):
                self._say(document, (*path, "tasks", i), f"`{task}` has no `select` split, which `choose` decides on")
        if table.tasks and all(task in self.checked.no_data for task in table.tasks):
            why = self.checked.no_data[table.tasks[0]]
            self._say(document, (*path, "tasks"), f"the folder has no data for any of them ({why}): name another one")
            return
        self._means(document, path, table)
        for task in table.marks:
            if task not in table.tasks:
                hint = nearest(task, table.tasks)
                self._say(document, (*path, "marks", task), f"the table has no column `{task}`; {hint}")
        self._unique(document, (*path, "tasks"), table.tasks)
        self._unique(document, (*path, "seeds"), table.seeds)
        rows: list[Row] = []
        taken = set[str]()
        for i, row in enumerate(table.rows):
            rows += (laid_out := self._row(document, (*path, "rows", i), row, table, taken))
            taken.update(row.name for row in laid_out)
        self.checked.rows[name] = rows
        self._comparisons(document, path, table, {row.name: row for row in rows})

    def _means(self, document: Document, path: KeyPath, table: schema.Table) -> None:
        for name, mean in table.means.items():
            here: KeyPath = (*path, "means", name)
            if name in table.tasks:
                self._say(document, here, "is the name of a column; give the mean another")
            groups = [[task] if isinstance(task, str) else task for task in mean.tasks]
            self._columns(document, (*here, "tasks"), [task for group in groups for task in group], table)
            self._unique(document, (*here, "tasks"), [task for group in groups for task in group])

    def _row(
        self, document: Document, here: KeyPath, row: schema.Row, table: schema.Table, taken: set[str]
    ) -> list[Row]:
        self._columns(document, (*here, "tasks"), row.tasks, table)
        self._unique(document, (*here, "tasks"), row.tasks or [])
        self._unique(document, (*here, "seeds"), row.seeds or [])
        points = self._points(document, (*here, "set"), row)
        asked = [task for task in row.tasks or table.tasks if task in table.tasks] or table.tasks
        tasks = tuple(task for task in asked if task not in self.checked.no_data)
        if not tasks:
            self._say(document, (*here, "tasks"), f"the folder has no data for them ({self.checked.no_data[asked[0]]})")
            return []
        self.runs += len(points) * len(tasks) * len(row.seeds or table.seeds)
        if self.runs > MAX_RUNS:
            raise ConfigError([*self.problems, document.problem(here, f"the study asks for more than {MAX_RUNS} runs")])
        for suffix, changes in points:
            for task in dict.fromkeys(map(self.checked.trained, tasks)):
                self._recipe(
                    row.experiment, task, document, (*here, "experiment"), f"{row.experiment}{suffix}", changes
                )
        name, recipes = row.name or row.experiment, [f"{row.experiment}{suffix}" for suffix, _ in points]
        if table.choose is not None:
            self._trials(document, here, recipes, self.checked.trained(tasks[0]), table.choose.trials)
        if table.choose is not None or not points or (row.name and len(points) == 1):
            laid_out = [(name, recipes, "")]
        else:
            laid_out = [
                (f"{name}{suffix}", [recipe], suffix) for (suffix, _), recipe in zip(points, recipes, strict=True)
            ]
        rows = []
        for row_name, recipes, suffix in laid_out:
            if row_name in taken:
                self._say(document, here, f"the table has a row `{row_name}` already; give this one another `name`")
            first = self.checked.trained(tasks[0])
            recipe = self.checked.recipes.get((recipes[0], first)) if recipes else None  # none: wrong, and said so
            label = (row.label or (recipe.experiment.label if recipe else "")) + (f", {suffix[1:]}" if suffix else "")
            notes = recipe.experiment.notes if recipe else {}
            seeds = tuple(row.seeds or table.seeds)
            rows.append(Row(row_name, row.experiment, label, notes, tasks, seeds, tuple(recipes)))
        return rows

    def _points(self, document: Document, path: KeyPath, row: schema.Row) -> list[tuple[str, Document | None]]:
        """Every point of a row's grid: what distinguishes its name, and its values with their places."""
        axes: list[list[tuple[str, Document]]] = []
        for key, value in row.set.items():
            here = (*path, key)
            parts = [(value, document.sub(*here))]
            if isinstance(value, dict) and "grid" in value:
                values = value["grid"] if set(value) == {"grid"} and isinstance(value["grid"], list) else []
                self._unique(document, (*here, "grid"), values)
                parts = [(v, document.sub(*here, "grid", i)) for i, v in enumerate(values)]
            if not parts:
                self._say(document, here, "a grid is `{grid: [value, value]}` and nothing else")
            word = self._word(row.experiment, key)
            axes.append([(f"{word}={_written(v)}", _at(key, part)) for v, part in parts])
        if math.prod(map(len, axes)) > MAX_POINTS:
            self._say(document, path, f"has a grid of more than {MAX_POINTS} points")
            return []
        points: list[tuple[str, Document | None]] = []
        for point in itertools.product(*axes):
            changes = [*(changed for _, changed in point), *([self.changes] if self.changes else [])]
            suffix = ",".join(words for words, _ in point)
            points.append((f"@{suffix}" if suffix else "", _together(changes)))
        return points

    def _word(self, experiment: str, path: str) -> str:
        """The last step of a path; all of it where the study sets another one of the experiment that ends alike."""
        step = path.rpartition(".")[2]
        return step if len(self.alike[experiment, step]) == 1 else path

    def _trials(self, document: Document, here: KeyPath, recipes: list[str], task: str, trials: int) -> None:
        recipe = self.checked.recipes.get((recipes[0], task)) if recipes else None
        if recipe is None:  # wrong itself
            return
        baseline = recipe.experiment.baseline
        if baseline is not None and baseline.method not in registry.names("baseline"):  # wrong, and said so
            return
        tunable = baseline is None or bool(registry.signature("baseline", baseline.method).settings)
        if len(recipes) != trials and (tunable or len(recipes) != 1):
            points = f"has {len(recipes)} points to choose from, and every row of this table has {trials}"
            self._say(document, here, f"{points}: give `set` a grid of {trials}")

    def _comparisons(self, document: Document, path: KeyPath, table: schema.Table, rows: dict[str, Row]) -> None:
        for i, comparison in enumerate(table.comparisons):
            here = (*path, "comparisons", i)
            self._columns(document, (*here, "tasks"), comparison.tasks, table)
            if comparison.row == comparison.against:
                self._say(document, (*here, "against"), "is the same row: a row does not differ from itself")
            for key in ("row", "against"):
                name = getattr(comparison, key)
                if name not in rows:
                    self._say(document, (*here, key), f"the table has no row `{name}`; {nearest(name, rows)}")
                    continue
                for j, task in enumerate(comparison.tasks or []):
                    if task not in rows[name].tasks and task not in self.checked.no_data:
                        self._say(document, (*here, "tasks", j), f"row `{name}` has no `{task}`")

    def _columns(self, document: Document, path: KeyPath, tasks: list[str] | None, table: schema.Table) -> None:
        for i, task in enumerate(tasks or []):
            if task not in table.tasks:
                self._say(document, (*path, i), f"the table has no column `{task}`; {nearest(task, table.tasks)}")

    def _unique(self, document: Document, path: KeyPath, values: list[Any]) -> None:
        seen = set[str]()
        for i, value in enumerate(values):
            text = _written(int(value) if isinstance(value, float) and value.is_integer() else value)
            if text in seen:
                self._say(document, (*path, i), f"`{value}` stands twice")
            seen.add(text)

    # --- experiments -------------------------------------------------------------------------------------------------

    def _recipe(
        self, experiment: str, task_name: str, document: Document, path: KeyPath, name: str = "",
        changes: Document | None = None,
    ) -> schema.Experiment | None:  # fmt: skip
        """Check an experiment on a task, and what it starts from and learns from."""
        name = name or experiment
        if (name, task_name) in self.visiting:
            self._say(document, path, f"goes round in a circle: `{name}` on `{task_name}` needs itself")
            return None
        if len(self.visiting) > MAX_DEPTH:
            self._say(document, path, f"is the end of a chain of more than {MAX_DEPTH} experiments")
            return None
        known = self.checked.recipes.get((name, task_name))
        if known is not None or (name, task_name) in self.refused:
            return known.experiment if known else None
        recipe = self._composed(experiment, name, task_name, document, path, changes)
        task = self.checked.tasks.get(task_name)
        if recipe is None or task is None:
            self.refused.add((name, task_name))
            return None
        self.visiting.append((name, task_name))
        self._check_experiment(recipe.document, recipe.experiment, task, task_name)
        self.visiting.pop()
        self.checked.recipes[name, task_name] = recipe
        return recipe.experiment

    def _composed(
        self, experiment: str, name: str, task: str, document: Document, path: KeyPath, changes: Document | None
    ) -> Recipe | None:
        """An experiment with what it has for a task alone and what a row sets; read once for all tasks where it can."""
        read = self._read("experiments", experiment, document, path)
        if read is None:
            return None
        try:
            per_task = read.data.get("per_task")
            own = isinstance(per_task, dict) and isinstance(per_task.get(task), dict)
            if own:
                read = compose.override(read, read.sub("per_task", task))
            elif (name, changes is None) in self.everywhere:
                return self.everywhere[name, changes is None]
            if changes is not None:
                read = compose.override(read, changes)
            recipe = Recipe(compose.validate(schema.Experiment, read), read)
        except ConfigError as error:
            self._tell(error.problems)
            return None
        if not own:
            self.everywhere[name, changes is None] = recipe
        return recipe

    def _check_experiment(
        self, document: Document, experiment: schema.Experiment, task: schema.Task, task_name: str
    ) -> None:
        for other in experiment.per_task:
            if other not in self.task_names:
                hint = nearest(other, self.task_names)
                self._say(document, ("per_task", other), f"there is no task `{other}`; {hint}")
        if experiment.baseline is not None:
            if experiment.student or experiment.stages or experiment.all_teachers:
                self._say(document, ("baseline",), "a baseline is fitted: no student, teacher or stages beside it")
            signature = self._component(document, experiment.baseline, ("baseline",))
            for kind in ("text", "image"):
                if signature is not None and f"{kind}s" in signature.inputs and task.input != kind:
                    self._say(
                        document, ("baseline", "method"), f"reads {kind}s, and `{task_name}` is made of {task.input}s"
                    )
            return
        as_it_is = experiment.student is not None and experiment.student.start is not None \
            and experiment.student.start.head  # fmt: skip
        if experiment.student is None or not (experiment.stages or as_it_is):
            self._say(document, (), "needs a `student` and `stages`, or a `baseline`")
            return
        if not experiment.stages:
            self._without_stages(document, experiment)
        self._student(document, ("student",), experiment.student, task, task_name)
        for name, teacher in experiment.all_teachers.items():
            path: KeyPath = ("teacher",) if experiment.teacher is not None else ("teachers", name)
            self._teacher(document, path, teacher, task_name)
        for name, module in experiment.modules.items():
            self._component(document, module, ("modules", name))
            if module.of not in ("student", *experiment.all_teachers):
                known = nearest(module.of, ("student", *experiment.all_teachers))
                self._say(document, ("modules", name, "of"), f"there is no `{module.of}`; {known}")
        self._evaluation(document, experiment.evaluation, task, task_name)
        for i, stage in enumerate(experiment.stages):
            self._stage(document, ("stages", i), experiment, stage, task, task_name)

    def _without_stages(self, document: Document, experiment: schema.Experiment) -> None:
        """A model as it is: nothing of what only training uses."""
        for key in ("teacher", "teachers", "modules"):
            if getattr(experiment, key):
                self._say(document, (key,), "nothing is trained without `stages`; leave this out")
        if experiment.evaluation.checkpoint == "best":
            self._say(document, ("evaluation", "checkpoint"), "without `stages` there is no epoch to choose")

    def _evaluation(self, document: Document, evaluation: schema.Evaluation, task: schema.Task, task_name: str) -> None:
        for i, metric in enumerate(evaluation.metrics or []):
            self._metric(document, ("evaluation", "metrics", i), metric, task)
        if evaluation.checkpoint == "best" and (task.splits is None or not task.splits.has(evaluation.split)):
            self._say(document, ("evaluation", "checkpoint"),
                      f"task `{task_name}` has no `{evaluation.split}` to choose `best` on")  # fmt: skip

    def _student(
        self, document: Document, here: KeyPath, student: schema.Student, task: schema.Task, task_name: str
    ) -> None:
        start, architecture = student.start, student.architecture
        if architecture is not None:
            self._component(document, architecture, (*here, "architecture"))
            reads = "text" if architecture.method in TEXT_ARCHITECTURES else "image"
            if reads != task.input:
                self._say(
                    document, (*here, "architecture"), f"reads {reads}s, and `{task_name}` is made of {task.input}s"
                )
            if reads == "text" and student.tokenizer is None and start is None:
                self._say(document, here, "needs a `tokenizer`: a pretrained model whose tokenizer reads the texts")
        elif task.input == "image":
            self._say(document, here, "an image task needs `architecture`")
        elif start is None:
            self._say(document, here, "a text student needs a `start`: a pretrained `source`, or an `experiment`")
        if student.tokenizer is not None:
            self._model_source(document, (*here, "tokenizer"), student.tokenizer)
        if start is not None:
            self._start(document, (*here, "start"), start, task, task_name)
            if start.head:
                self._head(document, (*here, "start", "head"), student, start, task)

    def _head(
        self, document: Document, here: KeyPath, student: schema.Student, start: schema.Start, task: schema.Task
    ) -> None:
        if student.architecture is not None or task.input != "text":
            self._say(document, here, "is of pretrained text models; an architecture takes over all but `start.fresh`")
        if task.type == "unlabelled":
            self._say(document, here, "a task without labels has nothing that a head could say")
        for key in ("random", "fresh"):
            if getattr(start, key):
                self._say(document, here, f"takes the head's weights, and `{key}` draws weights anew: give one of them")

    def _start(self, document: Document, here: KeyPath, start: schema.Start, task: schema.Task, task_name: str) -> None:
        if (start.source is None) == (start.experiment is None):
            self._say(document, here, "give either a pretrained `source` or an `experiment`")
        if start.layers is not None and task.input != "text":
            self._say(document, (*here, "layers"), "chosen layers are of transformers that read texts")
        if start.fresh and task.input == "text":
            self._say(document, (*here, "fresh"), "a transformer's head is always drawn anew; leave this out")
        if start.source is not None:
            self._model_source(document, (*here, "source"), start.source)
            depth = self.checked.sources[start.source].config.get("num_hidden_layers") \
                if start.source in self.checked.sources else None  # fmt: skip
            for i, layer in enumerate(start.layers or []):
                if isinstance(depth, int) and layer >= depth:
                    self._say(document, (*here, "layers", i), f"`{start.source}` has {depth} layers, counted from 0")
        if start.experiment is not None:
            other = start.task or task_name
            if start.task is not None:
                self._task(start.task, document, (*here, "task"))
            found = self._recipe(start.experiment, other, document, (*here, "experiment"))
            if found is not None and found.baseline is not None:
                self._say(document, (*here, "experiment"),
                          f"`{start.experiment}` is a baseline: it has no weights to start from")  # fmt: skip

    def _model_source(self, document: Document, path: KeyPath, name: str) -> None:
        models = [n for n, source in self.checked.sources.items() if source.kind == "model"]
        if name not in models and name not in self.broken:
            self._say(document, path, f"no pretrained model `{name}` in configs/sources.yaml; {nearest(name, models)}")

    def _teacher(self, document: Document, here: KeyPath, teacher: schema.Teacher, task_name: str) -> None:
        if (teacher.source is None) == (teacher.experiment is None):
            self._say(document, here, "give either an `experiment` or a pretrained `source`")
        if teacher.source is not None:
            self._model_source(document, (*here, "source"), teacher.source)
        if teacher.experiment is not None:
            path: KeyPath = (*here, "experiment")
            found = self._recipe(teacher.experiment, task_name, document, path)
            if found is not None and found.baseline is not None:
                self._say(document, path, f"`{teacher.experiment}` is a baseline: it has no logits to teach with")

    # --- stages ------------------------------------------------------------------------------------------------------

    def _stage(
        self, document: Document, path: KeyPath, experiment: schema.Experiment, stage: schema.Stage,
        task: schema.Task, task_name: str,
    ) -> None:  # fmt: skip
        for i, split in enumerate(stage.data):
            empty = task.splits is not None and not task.splits.has(split)
            if empty or (task.pool is not None and split != "transfer"):
                self._say(document, (*path, "data", i), f"task `{task_name}` has no `{split}` split")
            if split == "dev":
                self._say(document, (*path, "data", i), "`dev` is only reported on, never trained on")
        self._unique(document, (*path, "data"), list(stage.data))
        processes = self.checked.study.runtime.processes
        if stage.batch_size < processes * stage.accumulate:
            self._say(
                document, (*path, "batch_size"), f"is smaller than {processes} processes x {stage.accumulate} passes"
            )
        self._component(document, stage.optimiser, (*path, "optimiser"))
        self._component(document, stage.schedule, (*path, "schedule"))
        if stage.rebuild is not None:
            here: KeyPath = (*path, "rebuild", "student")
            self._student(document, here, stage.rebuild.student, task, task_name)
            for key in sorted({"tokenizer", "max_length"} & stage.rebuild.student.model_fields_set):
                self._say(document, (*here, key), "texts are tokenised once, as `student` of the experiment says")
        for name, term in stage.loss.items():
            here = (*path, "loss", name)
            signature = self._component(document, term, here)
            if signature is not None:
                self._inputs(document, here, set(signature.inputs), term, experiment, stage, task)
        if len(stage.loss) > 1 and "loss" in stage.loss:
            self._say(
                document, (*path, "loss", "loss"), "the sum of the terms is called `loss` in the log; rename this"
            )

    def _inputs(
        self, document: Document, path: KeyPath, inputs: set[str], term: schema.Term, experiment: schema.Experiment,
        stage: schema.Stage, task: schema.Task,
    ) -> None:  # fmt: skip
        """Whether the experiment can give a loss what it asks for."""
        method, teachers = f"loss `{term.method}`", experiment.all_teachers
        if inputs & TEACHER_INPUTS and not teachers:
            self._say(document, path, f"{method} needs a `teacher`, and the experiment names none")
        if term.teacher is not None and term.teacher not in teachers:
            self._say(document, (*path, "teacher"), f"no teacher `{term.teacher}`; {nearest(term.teacher, teachers)}")
        elif inputs & TEACHER_INPUTS and len(teachers) > 1 and term.teacher is None:
            self._say(document, path, f"{method} does not say which `teacher`: {', '.join(sorted(teachers))}")
        chosen = teachers.get(term.teacher or next(iter(teachers), ""))
        if "teacher_logits" in inputs and chosen is not None and chosen.source is not None:
            self._say(document, path, f"{method} needs a teacher fine-tuned on the task: name its `experiment`")
        if "labels" in inputs and (task.type == "unlabelled" or stage.data == ["transfer"]):
            self._say(document, path, f"{method} needs labels, and this data has none")
        if "mask" in inputs and task.input != "text":
            self._say(document, path, f"{method} needs the mask of texts, and `{task.title}` is made of {task.input}s")
        if inputs & HIDDEN_INPUTS and term.taps is None:
            self._say(document, path, f"{method} needs `taps`: which modules of student and teacher it compares")
        if term.taps is not None:
            self._taps(document, (*path, "taps"), inputs, term.taps, method, experiment.modules)

    def _taps(
        self, document: Document, path: KeyPath, inputs: set[str], taps: schema.Taps, method: str,
        modules: dict[str, schema.Auxiliary],
    ) -> None:  # fmt: skip
        for side in ("student", "teacher"):
            given, wanted = getattr(taps, side), f"{side}_hidden" in inputs
            own = [name for name, module in modules.items() if (module.of == "student") == (side == "student")]
            for i, tap in enumerate(given):
                steps = tap.partition(":")[0].split(".")
                if steps[0] == "modules" and (len(steps) < 2 or steps[1] not in own):
                    known = nearest(".".join(steps[1:2]), own)
                    self._say(document, (*path, side, i), f"the {side} has no auxiliary module of that name; {known}")
            if given and not wanted:
                self._say(document, (*path, side), f"{method} compares no hidden states of the {side}")
            if wanted and not given:
                self._say(document, path, f"{method} needs taps in the {side}")
        paired = inputs >= HIDDEN_INPUTS and taps.student and taps.teacher
        if paired and len(taps.student) != len(taps.teacher):
            self._say(document, path, "student and teacher need as many taps each; they are paired in order")


def _written(value: Any) -> str:
    """A value in a name: different values never read alike, so a text that could be another value stands in quotes."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    if not isinstance(value, str) or set(value) & set(',="'):
        return text
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return value
    return text


def _at(key: str, part: Document) -> Document:
    """A document that holds `part` under one key."""
    places = {(key, *path): place for path, place in part.places.items()}
    return Document({key: part.data}, {(): part.place(()), **places})


def _together(parts: list[Document]) -> Document | None:
    if not parts:
        return None
    data: dict[str, Any] = {}
    places: dict[KeyPath, Any] = {}
    for part in parts:
        data |= part.data
        places |= part.places
    return Document(data, places)
