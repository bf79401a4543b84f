"""Read a whole study and refuse it, with every mistake at once, before anything is made. Imports no torch."""

import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from redistill import registry
from redistill.config import compose, schema
from redistill.config.checked import Checked, Findings, Row, written
from redistill.config.claims import check_claims
from redistill.config.experiments import ExperimentChecker
from redistill.config.parse import Document, KeyPath, Place
from redistill.config.tasks import TaskChecker
from redistill.errors import ConfigError, RedistillError, nearest

MAX_POINTS = 1000  # of a row's grid
MAX_RUNS = 100_000  # of a study


def check(root: Path, name: str) -> Checked:
    """Read the study `configs/studies/<name>.yaml`.

    Raises:
        ConfigError: with all the mistakes in the study and in every file that it reaches.
    """
    return _checked(root, name, compose.read(root, "studies", name))


def check_experiment(
    root: Path, name: str, tasks: list[str], seeds: list[int], study: str, changes: Document | None = None
) -> Checked:
    """Check an experiment that need not be in a study, on these tasks, with what is said around it in `study`.

    That is its runtime, folders, plugins and the like. `changes` are values laid over it, by their path.
    """
    document = compose.read(root, "studies", study)
    around = compose.validate(schema.Study, document)
    data = {
        "title": name, "runtime": around.runtime.model_dump(), "checkpoints": around.checkpoints.model_dump(),
        "loading": around.loading.model_dump(), "tracking": around.tracking.model_dump(),
        "plugins": {n: p.model_dump() for n, p in around.plugins.items()},
        "folders": {n: p.model_dump() for n, p in around.folders.items()},
        "tables": {"run": {"title": name, "tasks": tasks, "seeds": seeds, "rows": [{"experiment": name}]}},
    }  # fmt: skip
    here = compose.read(root, "experiments", name).place(())
    places: dict[KeyPath, Place] = {(): here, ("folders",): document.place(("folders",))}
    checked = _checked(root, name, Document(data, places), changes, published=False)
    checked.around = study
    return checked


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


def _checked(
    root: Path, name: str, document: Document, changes: Document | None = None, published: bool = True
) -> Checked:
    """Check the study that a document holds. One that is not `published` may have columns without a metric."""
    findings = Findings()
    sources = _sources(root, findings)
    try:
        study = compose.validate(schema.Study, document)
    except ConfigError as error:
        raise ConfigError([*findings.problems, *error.problems]) from None
    checked = Checked(name, study, sources)
    _StudyChecker(root, findings, checked, changes, published).check(document)
    if findings.problems:
        raise ConfigError(findings.problems)
    return checked


def _sources(root: Path, findings: Findings) -> dict[str, schema.Source]:
    """All sources that are right."""
    read = compose.load(root / "configs" / "sources.yaml", "configs/sources.yaml")
    if not isinstance(read.data, dict):
        raise ConfigError([read.problem((), "must be a mapping of names to sources")])
    sources: dict[str, schema.Source] = {}
    for name in read.data:
        try:
            sources[name] = compose.validate(schema.Source, read.sub(name), name)
        except ConfigError as error:
            findings.tell(error.problems)
            findings.broken.add(name)
    return sources


@dataclass(frozen=True)
class _Point:
    """A point of a row's grid: all that the row sets, in words; what of it is tried; and the values."""

    suffix: str
    trial: str
    changes: Document | None


class _StudyChecker:
    """Follows names from a study to the tasks and experiments that it is made of."""

    def __init__(self, root: Path, findings: Findings, checked: Checked, changes: Document | None, published: bool):
        self.root, self.findings, self.checked = root, findings, checked
        self.changes, self.published = changes, published
        self._say, self._unique = findings.say, findings.unique
        self.tasks = TaskChecker(root, findings, checked)
        self.experiments = ExperimentChecker(root, findings, checked, self.tasks)
        self.alike: dict[tuple[str, str], set[str]] = {}  # paths that rows of an experiment set, by their last step
        self.named: dict[str, str] = {}  # what short names of recipes stand for
        self.runs = 0  # that the rows ask for

    def check(self, document: Document) -> None:
        study = self.checked.study
        self.tasks.take_folders(document, study.folders)
        self._plugins(document, study.plugins)
        self._runtime(document, study.runtime)
        for row in (row for table in study.tables.values() for row in table.rows):
            for key in row.set:
                self.alike.setdefault((row.experiment, key.rpartition(".")[2]), set()).add(key)
        for table_name, table in study.tables.items():
            self._table(document, ("tables", table_name), table_name, table)
        self._submissions(document, study.submissions)
        check_claims(self.root, self.findings, self.checked, document)

    def _runtime(self, document: Document, runtime: schema.Runtime) -> None:
        if runtime.portable and runtime.device != "cpu":
            self._say(document, ("runtime", "portable"), "holds on CPUs alone; set it to false for `cuda`")
        if runtime.portable and runtime.precision != "float32":
            self._say(document, ("runtime", "portable"), "holds for float32 alone; set it to false, or `precision`")
        if runtime.precision == "float16" and runtime.device == "cpu":
            self._say(document, ("runtime", "precision"), "float16 trains on `cuda` alone; CPUs have `bfloat16`")
        if runtime.strategy == "fsdp" and runtime.devices == 1:
            self._say(document, ("runtime", "strategy"), "shards a model over several `devices`, and there is one")
        if runtime.strategy == "fsdp" and runtime.precision == "float16":
            self._say(document, ("runtime", "precision"), "scales losses, which `fsdp` is not tried with: `bfloat16`")

    def _plugins(self, document: Document, plugins: dict[str, schema.Plugin]) -> None:
        found: list[registry.Plugin] = []
        for name, said in plugins.items():
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
                self.findings.outside.add((said.kind, file.stem))
        registry.use(found)
        self.checked.plugins = found

    # --- tables ------------------------------------------------------------------------------------------------------

    def _table(self, document: Document, path: KeyPath, name: str, table: schema.Table) -> None:
        for i, task in enumerate(table.tasks):
            column = self.tasks.task(task, document, (*path, "tasks", i))
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
        if table.choose is not None:
            self._unique(document, (*path, "choose", "seeds"), table.choose.seeds or [])
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
            raise ConfigError(
                [*self.findings.problems, document.problem(here, f"the study asks for more than {MAX_RUNS} runs")]
            )
        name, recipes = row.name or row.experiment, [self._recipe_name(row, point) for point in points]
        for recipe_name, point in zip(recipes, points, strict=True):
            for task in dict.fromkeys(map(self.checked.trained, tasks)):
                self.experiments.recipe(
                    row.experiment, task, document, (*here, "experiment"), recipe_name, point.changes
                )
        if table.choose is not None and not (row.fixed and len(points) == 1):
            self._trials(document, here, recipes, self.checked.trained(tasks[0]), table.choose.trials)
        if table.choose is not None or not points or (row.name and len(points) == 1):
            laid_out = [(name, recipes, "")]
        else:
            laid_out = [
                (f"{name}{point.suffix}", [recipe], point.suffix) for point, recipe in zip(points, recipes, strict=True)
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
            trials = tuple(point.trial for point in points)
            rows.append(Row(row_name, row.experiment, label, notes, tasks, seeds, tuple(recipes), trials, row.fixed))
        return rows

    def _recipe_name(self, row: schema.Row, point: _Point) -> str:
        """The experiment and what is set; of a row with a name, this and what is tried, unless another row has both."""
        if row.name is None or point.changes is None:
            return f"{row.experiment}{point.suffix}"
        short = f"{row.experiment}@{','.join(filter(None, (row.name, point.trial)))}"
        said = written(point.changes.data)
        return short if self.named.setdefault(short, said) == said else f"{row.experiment}{point.suffix}"

    def _points(self, document: Document, path: KeyPath, row: schema.Row) -> list[_Point]:
        """Every point of a row's grid."""
        axes: list[list[tuple[str, str, Document]]] = []
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
            tried = f"{self._step(row, key)}=" if len(parts) > 1 else ""
            axes.append(
                [(f"{word}={written(v)}", tried and f"{tried}{written(v)}", _at(key, part)) for v, part in parts]
            )
        if math.prod(map(len, axes)) > MAX_POINTS:
            self._say(document, path, f"has a grid of more than {MAX_POINTS} points")
            return []
        points = []
        for point in itertools.product(*axes):
            changes = [*(changed for *_, changed in point), *([self.changes] if self.changes else [])]
            suffix = ",".join(words for words, *_ in point)
            trial = ",".join(tried for _, tried, _ in point if tried)
            points.append(_Point(f"@{suffix}" if suffix else "", trial, _together(changes)))
        return points

    @staticmethod
    def _step(row: schema.Row, path: str) -> str:
        """The last step of a path; all of it where the row sets another one that ends alike."""
        step = path.rpartition(".")[2]
        return step if sum(key.rpartition(".")[2] == step for key in row.set) == 1 else path

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
                if key == "row" and name == schema.EVERY:
                    continue
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

    # --- submissions -------------------------------------------------------------------------------------------------

    def _submissions(self, document: Document, submissions: dict[str, schema.Submission]) -> None:
        if any(said.published for said in submissions.values()):
            try:
                self.checked.references = compose.validate(
                    schema.References, compose.read(self.root, "references", "glue-test")
                )
            except ConfigError as error:
                self.findings.tell(error.problems)
        for name, said in submissions.items():
            self._submission(document, ("submissions", name), said)
            rows = self.checked.references.rows if self.checked.references else {}
            for i, row in enumerate(said.published):
                if self.checked.references is not None and row not in rows:
                    hint = nearest(row, rows)
                    self._say(document, ("submissions", name, "published", i), f"no published row `{row}`; {hint}")
            file = recorded_scores(self.root, self.checked.name, name)
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
            task = self.tasks.task(name, document, here)
            if task is None:
                continue
            if task.submitted_as is None or task.splits is None or not task.splits.has("test"):
                self._say(document, here, f"`{name}` has no `test` split, or does not say what it is `submitted_as`")
            elif task.submitted_as in files:
                self._say(document, here, f"is submitted as {task.submitted_as}, like `{files[task.submitted_as]}`")
            else:
                files[task.submitted_as] = name
            if (missing := self.tasks.missing(task, ["test"])) is not None:
                self._say(document, here, f"the folder that the study names has no {missing}")
            found = self.experiments.recipe(
                submission.experiment, self.checked.trained(name), document, (*path, "experiment")
            )
            if found is not None and found.baseline is not None:
                self._say(document, (*path, "experiment"), "is a baseline, whose test predictions are not made")
        if left_out := [file for file in get_args(schema.SubmittedFile) if file not in files]:
            said = f"none of them is submitted as {', '.join(left_out)}: the server takes whole submissions alone"
            self._say(document, (*path, "tasks"), said)


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
