"""Check the tasks of a study: their sources, readers, splits and metrics, and which data the user's folders have."""

import os
from pathlib import Path

from redistill.config import compose, folders, schema
from redistill.config.checked import Checked, Findings
from redistill.config.parse import Document, KeyPath
from redistill.errors import ConfigError, RedistillError, nearest
from redistill.evaluation.metrics import BINARY, METRICS

MOST_CLASSES = 255  # of a mask, whose pixels are bytes


class TaskChecker:
    """Reads and checks each task once, whoever names it."""

    def __init__(self, root: Path, findings: Findings, checked: Checked):
        self.root, self.findings, self.checked = root, findings, checked
        self._say = findings.say
        self.seen: set[str] = set()
        self.split_files: dict[str, dict[str, list[str]]] = {}  # by source: the files of a user's folder, by split

    def take_folders(self, document: Document, places: dict[str, schema.Place]) -> None:
        """Take sources from the folders that the study names, as far as they have their files."""
        known = {source.layout.folder for source in self.checked.sources.values() if source.layout}
        for name, place in places.items():
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
                    self._take(source_name, source.layout, folder)

    def _take(self, source: str, layout: schema.Layout, folder: Path) -> None:
        """Take what a folder has of a source: copies of its files, or all that is in its folders where they lie."""
        self.split_files[source] = found = folders.files_of(layout, folder)
        files = sorted({file for some in found.values() for file in some})
        self.checked.given[source] = {file: folder / file for file in files}
        if any(file.endswith("/") for file in files):
            self.checked.whole[source] = folder

    def _take_own(self, document: Document, name: str) -> None:
        """Take a source that is a folder of the user's from where its variable says, unless the study says it. Where
        nobody says it, things are planned all the same, and not made.
        """
        source = self.checked.sources.get(name)
        if source is None or source.layout is None or name in self.checked.given:
            return
        if isinstance(source.origin, schema.Folder) and not source.files and os.environ.get(source.origin.variable):
            try:
                place = schema.Place(variable=source.origin.variable)
                self._take(name, source.layout, folders.find(self.root, source.layout.folder, place))
            except RedistillError as error:
                self._say(document, ("source",), str(error))

    def task(self, name: str, document: Document, path: KeyPath) -> schema.Task | None:
        """The task that is named at a path of a document; None if it is wrong, which is said once."""
        if name not in self.seen:
            self.seen.add(name)
            self._read(name, document, path)
        return self.checked.tasks.get(name)

    def _read(self, name: str, document: Document, path: KeyPath) -> None:
        try:
            read = compose.read(self.root, "tasks", name, document.problem(path, ""))
            task = self.checked.tasks[name] = compose.validate(schema.Task, read)
        except ConfigError as error:
            self.findings.tell(error.problems)
            return
        self._check(read, task)
        if task.source is not None:
            self._take_own(read, task.source)
        self._look_for_data(name, task)
        if task.model_of in self.checked.no_data:
            self.checked.no_data[name] = self.checked.no_data[str(task.model_of)]

    def _check(self, document: Document, task: schema.Task) -> None:
        if task.input == "image" and task.image_shape is None:
            self._say(document, (), "an image task needs `image_shape`: channels, height and width")
        if task.type == "unlabelled" and task.metric is not None:
            self._say(document, ("metric",), "measures nothing: the task has no labels")
        if task.pool is not None:
            if task.type != "unlabelled":
                self._say(document, ("type",), "must be `unlabelled`: a pool takes inputs without their labels")
            for i, name in enumerate(task.pool.tasks):
                pooled = self.task(name, document, ("pool", "tasks", i))
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
        if task.source is not None and task.source not in {*data, *self.findings.broken}:
            self._say(document, ("source",), f"no data source `{task.source}`; {nearest(task.source, data)}")
        if task.reader is not None:
            self.findings.component(document, task.reader, ("reader",))
        if task.type != "unlabelled":
            self.metric(document, ("metric",), task.metric, task)
        fewest = {"classification": 2, "segmentation": 2, "detection": 1}.get(task.type, 0)
        if len(task.labels) < fewest:
            number = "one label" if fewest == 1 else "two labels, in order"
            self._say(document, ("labels",), f"a {task.type} task names at least {number}")
        if task.type in ("segmentation", "detection") and task.input != "image":
            self._say(document, ("input",), f"a {task.type} is made of images: write `image`")
        if task.type == "segmentation" and len(task.labels) > MOST_CLASSES:
            self._say(document, ("labels",), f"a mask can tell {MOST_CLASSES} classes apart, as 255 is none")
        self.findings.unique(document, ("labels",), task.labels)

    def _model_of(self, document: Document, task: schema.Task) -> None:
        """Whether a task's examples are read by the runs of the task that it names."""
        if task.model_of is None:
            if isinstance(task.splits, schema.OfficialSplits) and not task.splits.has("dev"):
                self._say(document, ("splits", "official"), "must say which split `dev` is (or give `model_of`)")
            return
        other = self.task(task.model_of, document, ("model_of",))
        if other is None:
            return
        if other.model_of is not None or other.pool is not None:
            self._say(document, ("model_of",), f"nothing is trained on `{task.model_of}` itself; name another task")
        if task.type in ("segmentation", "detection"):
            said = f"what runs say of other data is kept as logits, and a {task.type} has none: train on these images"
            self._say(document, ("model_of",), said)
        for key in ("type", "input", "labels"):
            if getattr(other, key) != getattr(task, key):
                self._say(document, (key,), f"differs from that of `{task.model_of}`, whose runs are evaluated here")

    def metric(self, document: Document, path: KeyPath, metric: str | None, task: schema.Task) -> None:
        """Whether a metric measures what a task asks for."""
        metrics = [name for name, (kind, _) in METRICS.items() if kind == task.type]
        if metric not in metrics:
            self._say(document, path, f"`{metric}` does not measure {task.type}; {nearest(str(metric), metrics)}")
        elif metric in BINARY and len(task.labels) != 2:
            self._say(document, path, f"`{metric}` is for two classes, and there are {len(task.labels)}")

    def _look_for_data(self, name: str, task: schema.Task) -> None:
        """Note a task that the user's folder has no data for: its column says so, and nothing is planned for it."""
        missing = self.missing(task, [split for split in self._official(task) if split != "test"])
        if missing is not None:
            self.checked.no_data[name] = f"no {missing}"

    def missing(self, task: schema.Task, splits: list[str]) -> str | None:
        """The first file that a folder of the user's lacks for these splits of a task, in words; None if it has all."""
        source = self.checked.sources.get(str(task.source))
        if source is None or source.layout is None or task.source not in self.checked.given:
            return None
        theirs = [self._official(task)[split] for split in splits if split in self._official(task)]
        there = self.split_files[str(task.source)]
        absent = [split for split in theirs if split not in there] or ([] if there else list(source.layout.splits))
        return folders.wanted(source.layout, absent[0]) if absent else None

    @staticmethod
    def _official(task: schema.Task) -> dict[str, str]:
        said = task.splits.official if isinstance(task.splits, schema.OfficialSplits) else {}
        return {str(ours): theirs for ours, theirs in said.items()}
