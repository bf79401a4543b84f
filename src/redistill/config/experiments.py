"""Check experiments on their tasks: what they are composed of, start from and learn from, what each loss is given."""

from pathlib import Path

from redistill import registry
from redistill.config import compose, schema
from redistill.config.checked import Checked, Findings, Recipe
from redistill.config.parse import Document, KeyPath
from redistill.config.tasks import TaskChecker
from redistill.data.transforms import FIXED
from redistill.errors import ConfigError, nearest

LOGITS = {"teacher_logits", "all_teacher_logits"}
TEACHER_INPUTS = {"teacher_logits", "teacher_hidden", "teacher_head"}
HIDDEN_INPUTS = {"student_hidden", "teacher_hidden"}
OF_CLASSES = {*LOGITS, "student_logits", "labels", "student_head", "teacher_head"}
DRAWN_ON = ("detection", "segmentation")  # types of tasks whose images have boxes or masks
FLOORS = {"segmentation": "pixels", "detection": "drawn"}  # what baselines of these types of tasks ask for
TEXT_ARCHITECTURES = ("transformers",)
MAX_DEPTH = 50  # of experiments that build on one another


class ExperimentChecker:
    """Checks each experiment once for a task, and the experiments that it builds on."""

    def __init__(self, root: Path, findings: Findings, checked: Checked, tasks: TaskChecker):
        self.root, self.findings, self.checked, self.tasks = root, findings, checked, tasks
        self._say, self._component = findings.say, findings.component
        self.task_names = compose.known(root, "tasks")
        self.documents: dict[str, Document | None] = {}  # None: wrong, and said so
        self.everywhere: dict[tuple[str, bool], Recipe] = {}  # by name: recipes for tasks that they say nothing of
        self.refused: set[tuple[str, str]] = set()  # recipes that are wrong themselves; said once
        self.visiting: list[tuple[str, str]] = []  # recipes that are being checked, each named by the one before

    def recipe(
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
        self._check(recipe.document, recipe.experiment, task, task_name)
        self.visiting.pop()
        self.checked.recipes[name, task_name] = recipe
        return recipe.experiment

    def _composed(
        self, experiment: str, name: str, task: str, document: Document, path: KeyPath, changes: Document | None
    ) -> Recipe | None:
        """An experiment with what it has for a task alone and what a row sets; read once for all tasks where it can."""
        read = self._read(experiment, document, path)
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
            self.findings.tell(error.problems)
            return None
        if not own:
            self.everywhere[name, changes is None] = recipe
        return recipe

    def _read(self, name: str, document: Document, path: KeyPath) -> Document | None:
        """An experiment's file, read once; what is wrong with it is said once."""
        if name not in self.documents:
            self.documents[name] = None
            try:
                self.documents[name] = compose.read(self.root, "experiments", name, document.problem(path, ""))
            except ConfigError as error:
                self.findings.tell(error.problems)
        return self.documents[name]

    def _check(self, document: Document, experiment: schema.Experiment, task: schema.Task, task_name: str) -> None:
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
            if signature is not None:
                self._floor(document, experiment.baseline.method, set(signature.inputs), task, task_name)
            return
        if experiment.student is None or not (experiment.stages or _as_it_is(experiment.student)):
            self._say(document, (), "needs a `student` and `stages`, or a `baseline`")
            return
        if not experiment.stages:
            self._without_stages(document, experiment)
        self._student(document, ("student",), experiment.student, task, task_name)
        for name, teacher in experiment.all_teachers.items():
            path: KeyPath = ("teacher",) if experiment.teacher is not None else ("teachers", name)
            self._teacher(document, path, teacher, task, task_name)
        for name, peer in experiment.peers.items():
            self._beside(document, ("peers", name), peer, task, task_name)
        for name, module in experiment.modules.items():
            self._component(document, module, ("modules", name))
            models = (*experiment.learning, *experiment.all_teachers)
            if module.of not in models:
                known = nearest(module.of, models)
                self._say(document, ("modules", name, "of"), f"there is no `{module.of}`; {known}")
            elif module.like is not None and module.of in experiment.learning and not experiment.all_teachers:
                self._say(document, ("modules", name, "like"), "is a tap of the teacher, and the experiment names none")
        self._evaluation(document, experiment.evaluation, task, task_name)
        for i, stage in enumerate(experiment.stages):
            self._stage(document, ("stages", i), experiment, stage, task, task_name)

    def _floor(self, document: Document, method: str, inputs: set[str], task: schema.Task, task_name: str) -> None:
        """Whether a baseline is one of tasks of this type."""
        kind = next((kind for kind, asked in FLOORS.items() if asked in inputs), None)
        if kind != (task.type if task.type in FLOORS else None):
            of = [name for name in registry.names("baseline")
                  if FLOORS.get(task.type, "labels") in registry.signature("baseline", name).inputs]  # fmt: skip
            self._say(document, ("baseline", "method"), f"`{method}` says nothing of `{task_name}`, a {task.type}: "
                                                        f"take {' or '.join(f'`{name}`' for name in of)}")  # fmt: skip

    def _without_stages(self, document: Document, experiment: schema.Experiment) -> None:
        """A model as it is: nothing of what only training uses."""
        for key in ("teacher", "teachers", "peers", "modules"):
            if getattr(experiment, key):
                self._say(document, (key,), "nothing is trained without `stages`; leave this out")
        if experiment.evaluation.checkpoint == "best":
            self._say(document, ("evaluation", "checkpoint"), "without `stages` there is no epoch to choose")

    def _evaluation(self, document: Document, evaluation: schema.Evaluation, task: schema.Task, task_name: str) -> None:
        for i, metric in enumerate(evaluation.metrics or []):
            self.tasks.metric(document, ("evaluation", "metrics", i), metric, task)
        self._transforms(document, ("evaluation", "transforms"), evaluation.transforms, task)
        for i, transform in enumerate(evaluation.transforms):
            if transform.method not in FIXED:
                self._say(document, ("evaluation", "transforms", i), f"`{transform.method}` draws at random, and every "
                          f"image is evaluated in one view: take {', '.join(FIXED)}")  # fmt: skip
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
            alone = here == ("student",)  # others read what the experiment's student reads
            if reads == "text" and student.tokenizer is None and start is None and alone:
                self._say(document, here, "needs a `tokenizer`: a pretrained model whose tokenizer reads the texts")
        elif task.input == "image":
            self._say(document, here, "an image task needs `architecture`")
            return  # what else is said of a reader of texts does not fit either
        elif start is None:
            self._say(document, here, "a text student needs a `start`: a pretrained `source`, or an `experiment`")
        if student.tokenizer is not None:
            self._model_source(document, (*here, "tokenizer"), student.tokenizer)
        if start is not None:
            self._start(document, (*here, "start"), start, task, task_name)
            if start.head:
                self._head(document, (*here, "start", "head"), student, start, task)

    def _beside(
        self, document: Document, here: KeyPath, student: schema.Student, task: schema.Task, task_name: str
    ) -> None:
        """A model that reads what the experiment's student reads."""
        self._student(document, here, student, task, task_name)
        for key in sorted({"tokenizer", "max_length"} & student.model_fields_set):
            self._say(document, (*here, key), "texts are tokenised once, as `student` of the experiment says")

    def _head(
        self, document: Document, here: KeyPath, student: schema.Student, start: schema.Start, task: schema.Task
    ) -> None:
        if student.architecture is not None or task.input != "text":
            self._say(document, here, "is of pretrained text models; an architecture takes over all but `start.fresh`, "
                                      "and needs no `stages` where it takes over all")  # fmt: skip
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
        for key in ("into", "part", "without"):
            if getattr(start, key) and task.input == "text":
                self._say(document, (*here, key), "is of models of images; of a text model its encoder is taken over")
        if start.source is not None:
            self._model_source(document, (*here, "source"), start.source)
            self._reads(document, (*here, "source"), start.source, task)
            depth = self.checked.sources[start.source].config.get("num_hidden_layers") \
                if start.source in self.checked.sources else None  # fmt: skip
            for i, layer in enumerate(start.layers or []):
                if isinstance(depth, int) and layer >= depth:
                    self._say(document, (*here, "layers", i), f"`{start.source}` has {depth} layers, counted from 0")
        if start.experiment is not None:
            other = start.task or task_name
            if start.task is not None:
                self.tasks.task(start.task, document, (*here, "task"))
            found = self.recipe(start.experiment, other, document, (*here, "experiment"))
            if found is not None and found.baseline is not None:
                self._say(document, (*here, "experiment"),
                          f"`{start.experiment}` is a baseline: it has no weights to start from")  # fmt: skip

    def _model_source(self, document: Document, path: KeyPath, name: str) -> None:
        models = [n for n, source in self.checked.sources.items() if source.kind == "model"]
        if name not in models and name not in self.findings.broken:
            self._say(document, path, f"no pretrained model `{name}` in configs/sources.yaml; {nearest(name, models)}")

    def _reads(self, document: Document, path: KeyPath, name: str, task: schema.Task) -> None:
        """Whether a pretrained model reads what a task is made of, and can be built, as far as its source says."""
        source = self.checked.sources.get(name)
        if source is None:
            return
        reads = "image" if source.architecture else "text" if "model_type" in source.config else task.input
        if reads != task.input:
            self._say(document, path, f"`{name}` reads {reads}s, and `{task.title}` is made of {task.input}s")
        if source.architecture is not None:
            self._component(document, source.architecture, path)

    def _teacher(
        self, document: Document, here: KeyPath, teacher: schema.Teacher, task: schema.Task, task_name: str
    ) -> None:
        if (teacher.source is None) == (teacher.experiment is None):
            self._say(document, here, "give either an `experiment` or a pretrained `source`")
        if teacher.source is not None:
            self._model_source(document, (*here, "source"), teacher.source)
            self._reads(document, (*here, "source"), teacher.source, task)
            source = self.checked.sources.get(teacher.source)
            if task.input == "image" and source is not None and source.architecture is None:
                self._say(document, (*here, "source"), f"`{teacher.source}` does not say in its `config` which "
                                                       "`architecture` its weights are of")  # fmt: skip
        if teacher.experiment is not None:
            path: KeyPath = (*here, "experiment")
            found = self.recipe(teacher.experiment, task_name, document, path)
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
        self.findings.unique(document, (*path, "data"), list(stage.data))
        devices = self.checked.study.runtime.devices
        if stage.batch_size < devices * stage.accumulate:
            self._say(document, (*path, "batch_size"), f"is smaller than {devices} devices x {stage.accumulate} passes")
        self._component(document, stage.optimiser, (*path, "optimiser"))
        self._component(document, stage.schedule, (*path, "schedule"))
        if stage.rebuild is not None:
            self._beside(document, (*path, "rebuild", "student"), stage.rebuild.student, task, task_name)
        asked = set[str]()
        for name, term in stage.loss.items():
            here: KeyPath = (*path, "loss", name)
            signature = self._component(document, term, here)
            if signature is not None:
                asked |= set(signature.inputs)
                self._inputs(document, here, signature, term, experiment, stage, task)
        if stage.rotations:
            self._rotations(document, (*path, "rotations"), asked, task)
        self._transforms(document, (*path, "transforms"), stage.transforms, task)
        self._teacher_outputs(document, (*path, "teacher_outputs"), stage, asked, task)
        if len(stage.loss) > 1 and "loss" in stage.loss:
            self._say(
                document, (*path, "loss", "loss"), "the sum of the terms is called `loss` in the log; rename this"
            )

    def _transforms(
        self, document: Document, path: KeyPath, transforms: list[schema.Transform], task: schema.Task
    ) -> None:
        if transforms and task.input != "image":
            self._say(document, path, f"are for images, and `{task.title}` is made of {task.input}s")
        for i, transform in enumerate(transforms):
            self._component(document, transform, (*path, i))

    def _teacher_outputs(
        self, document: Document, path: KeyPath, stage: schema.Stage, asked: set[str], task: schema.Task
    ) -> None:
        """Whether what a teacher said is said of the view that its student is shown."""
        drawn = [transform.method for transform in stage.transforms if transform.method not in FIXED]
        heard = bool(LOGITS & asked)
        if heard and task.type == "segmentation":
            if stage.teacher_outputs != "live":
                self._say(document, path, "logits of every pixel are not stored, they would fill disks: say `live`")
            return
        if heard and drawn and stage.teacher_outputs == "stored":
            self._say(document, path, f"`{drawn[0]}` shows another view of an image each time, and stored outputs know "
                                      "one: say `live`, or `{views: 10}` to store so many")  # fmt: skip
        if isinstance(stage.teacher_outputs, schema.Views) and not (heard and drawn):
            self._say(document, path, "stores views for losses that listen to a teacher's logits, of transforms that "
                                      "draw at random; leave it out")  # fmt: skip

    def _rotations(self, document: Document, path: KeyPath, asked: set[str], task: schema.Task) -> None:
        if task.input != "image":
            self._say(document, path, f"turns images, and `{task.title}` is made of {task.input}s")
        elif task.type in DRAWN_ON:
            self._say(document, path, "turns images without what is drawn on them; leave it out")
        elif task.image_shape is not None and task.image_shape[1] != task.image_shape[2]:
            self._say(document, path, "turns images by right angles: they must be as high as they are wide")
        if "views" not in asked:
            self._say(document, path, "no loss of the stage looks at turned images (such as `sskd` does); leave it out")

    def _inputs(
        self, document: Document, path: KeyPath, signature: registry.Signature, term: schema.Term,
        experiment: schema.Experiment, stage: schema.Stage, task: schema.Task,
    ) -> None:  # fmt: skip
        """Whether the experiment can give a loss what it asks for."""
        method, inputs = f"loss `{term.method}`", set(signature.inputs)
        self._models(document, path, inputs, term, experiment)
        if "student_losses" in inputs and task.type != "detection":
            self._say(document, path, f"{method} adds up what a detector says of itself, and `{task.title}` is a "
                                      f"{task.type}: take `hard`")  # fmt: skip
        if task.type == "detection" and inputs & OF_CLASSES:
            self._say(document, path, f"{method} needs one label or logit row of each image, and a detector gives "
                                      "boxes: take `detector`, or a loss that compares features")  # fmt: skip
        if "labels" in inputs and (task.type == "unlabelled" or stage.data == ["transfer"]):
            self._say(document, path, f"{method} needs labels, and this data has none")
        if "mask" in inputs and "None" not in signature.shapes.get("mask", "") and task.input != "text":
            self._say(document, path, f"{method} needs the mask of texts, and `{task.title}` is made of {task.input}s")
        if "views" in inputs and not stage.rotations:
            self._say(document, path, f"{method} compares an image's turned views: the stage needs `rotations: true`")
        together = signature.over == "batch" and self.checked.study.runtime.devices > 1
        if together and (task.type == "detection" or "student_losses" in inputs):
            self._say(document, path, f"{method} is of a whole batch, and images of a detection, which have sizes of "
                                      "their own, stay on their device: set runtime.devices to 1")  # fmt: skip
        if inputs & HIDDEN_INPUTS and term.taps is None:
            self._say(document, path, f"{method} needs `taps`: which modules of student and teacher it compares")
        if term.taps is not None:
            self._taps(document, (*path, "taps"), inputs, term, experiment)

    def _models(
        self, document: Document, path: KeyPath, inputs: set[str], term: schema.Term, experiment: schema.Experiment
    ) -> None:
        """Whether there are the models that a loss trains and listens to."""
        method, teachers, learning = f"loss `{term.method}`", experiment.all_teachers, experiment.learning
        if term.student not in learning:
            hint = nearest(term.student, learning)
            self._say(document, (*path, "student"), f"no student or peer `{term.student}`; {hint}")
        if "all_teacher_logits" in inputs:
            self._all_teachers(document, path, term, experiment)
        listens = bool(inputs & TEACHER_INPUTS)
        if listens and not teachers and term.teacher is None:
            self._say(document, path, f"{method} needs a `teacher`, and the experiment names none")
        if term.teacher is not None and term.teacher not in {**learning, **teachers}:
            hint = nearest(term.teacher, [*teachers, *learning])
            self._say(document, (*path, "teacher"), f"no teacher `{term.teacher}`; {hint}")
        elif listens and term.teacher == term.student:
            self._say(document, (*path, "teacher"), "a model learns nothing from itself as it is: name another")
        elif listens and len(teachers) > 1 and term.teacher is None:
            self._say(document, path, f"{method} does not say which `teacher`: {', '.join(sorted(teachers))}")
        chosen = teachers.get(term.teacher or next(iter(teachers), ""))
        if inputs & {"teacher_logits", "teacher_head"} and chosen is not None and chosen.source is not None:
            self._say(document, path, f"{method} needs a teacher fine-tuned on the task: name its `experiment`")

    def _all_teachers(
        self, document: Document, path: KeyPath, term: schema.Term, experiment: schema.Experiment
    ) -> None:
        method = f"loss `{term.method}`"
        if term.teacher is not None:
            self._say(document, (*path, "teacher"), f"{method} listens to all teachers; leave it out")
        if not experiment.all_teachers:
            self._say(document, path, f"{method} needs `teachers`, and the experiment names none")
        for name, teacher in experiment.all_teachers.items():
            if teacher.source is not None:
                self._say(document, path, f"{method} needs teachers fine-tuned on the task, and `{name}` is a source")

    def _taps(
        self, document: Document, path: KeyPath, inputs: set[str], term: schema.Term, experiment: schema.Experiment
    ) -> None:
        method, taps = f"loss `{term.method}`", term.taps or schema.Taps()
        first = next(iter(sorted(experiment.all_teachers)), "")
        for side, model in (("student", term.student), ("teacher", term.teacher or first)):
            given, wanted = getattr(taps, side), f"{side}_hidden" in inputs
            own = [name for name, module in experiment.modules.items() if module.of == model]
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


def _as_it_is(student: schema.Student) -> bool:
    """Whether a student starts with all of its weights, so that it need not be trained."""
    start = student.start
    if start is None or start.random or start.fresh or start.into:  # which draw some weights
        return start is not None and start.head
    return start.head or student.architecture is not None
