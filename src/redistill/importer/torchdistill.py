"""torchdistill 1.x configs as experiments: one for each file's student, and one for a teacher that no file trains."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from redistill.config.compose import find_root, known
from redistill.config.parse import load
from redistill.config.schema import Experiment
from redistill.errors import ConfigError, Problem, RedistillError
from redistill.importer.data import Task, evaluation, leave_data, read_task
from redistill.importer.inert import printable, printable_path
from redistill.importer.models import Model, is_text, read_model
from redistill.importer.names import name_of
from redistill.importer.report import Report
from redistill.importer.section import Source
from redistill.importer.training import read_stages, stage_sections
from redistill.importer.write import experiment_text


@dataclass
class Imported:
    """One source file, converted: its experiment's name below the target, and what the teacher is linked by."""

    name: str
    source: Source
    task: Task
    student: Model
    teacher: Model | None
    teacher_needs: list[str]
    data: dict[str, Any]


def import_files(files: list[Path], target: Path) -> list[Report]:
    """Convert torchdistill's YAML files into experiments below `target`, a folder of `configs/experiments`.

    Nothing that the files name is imported, called or fetched. Where one of the files trains the teacher of another,
    the teacher is that experiment. Nothing is written if one of the files cannot be read.

    Raises:
        ConfigError: with every mistake, by file, line and column.
        RedistillError: a file that would be written is there already, or cannot be written.
    """
    imported: list[Imported] = []
    problems: list[Problem] = []
    for file, name in zip(files, _names(files), strict=True):
        try:
            imported.append(_convert(file, name))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    reports: list[Report] = []
    texts: dict[Path, str] = {}
    there = _there(target)
    for one in imported:
        report, written = _linked(one, imported, target, there)
        reports.append(report)
        texts |= written
    _write(texts)
    return reports


def _names(files: list[Path]) -> list[str]:
    """A name for each file: its path below the folder that all share, each only once."""
    folders = [file.absolute().parent for file in files]
    shared = folders[0] if folders else Path()
    while any(not folder.is_relative_to(shared) for folder in folders):
        shared = shared.parent
    names: list[str] = []
    for file in files:
        below = file.absolute().relative_to(shared).with_suffix("").as_posix()
        name, count = name_of(below), 2
        while name in names:
            name, count = f"{name_of(below)}-{count}", count + 1
        names.append(name)
    return names


def _convert(file: Path, name: str) -> Imported:
    source = Source(file)
    top = source.top()
    models, student_key = top.section("models"), "student_model"
    if not models.has(student_key):
        student_key = "model"
    for wanted, there in (("models", models.has(student_key)), ("train", bool(top.section("train").data))):
        if not there:
            shown = printable_path(file)
            raise ConfigError(
                [Problem(shown, 1, 1, wanted, "is missing: this is no config of torchdistill's training")]
            )
    text = is_text(source)
    task = read_task(source, text)
    source.needs(f"a task `{task.name}` in configs/tasks")
    student = read_model(models.section(student_key), task)
    needed = list(source.to_do)
    has_teacher = bool(models.section("teacher_model").data)
    teacher = read_model(models.section("teacher_model"), task) if has_teacher else None
    teacher_needs = [need for need in source.to_do if need not in needed]
    stages, modules = read_stages(source, text, student, teacher)
    label = student.key if teacher is None else f"{student.key} from {teacher.key}"
    data: dict[str, Any] = {"label": printable(label), "notes": {"task": task.name}}
    data |= {
        "student": student.section,
        **({"modules": modules} if modules else {}),
        "stages": stages,
        "evaluation": evaluation(source, stage_sections(source), task),
    }
    leave_data(source)
    return Imported(name, source, task, student, teacher, teacher_needs, data)


def _there(target: Path) -> set[str]:
    """What the project around the target has already, in the words in which it is asked for."""
    try:
        root = find_root(next(folder for folder in (target, *target.absolute().parents) if folder.is_dir()))
        sources = load(root / "configs" / "sources.yaml").data
    except RedistillError:
        return set()
    tasks = {f"a task `{name}`" for name in known(root, "tasks")}
    return tasks | {f"a source `{name}`" for name in sources}


def _linked(one: Imported, imported: list[Imported], target: Path, there: set[str]) -> tuple[Report, dict[Path, str]]:
    """An experiment with its teacher named, and the text of each file that is written for it."""
    data, needs, extra = dict(one.data), one.source, {}
    one.teacher_needs = _still(one.teacher_needs, there)
    needs.to_do = _still(needs.to_do, there)
    origin = printable_path(Path(needs.file.name))
    if one.teacher is not None:
        name = next((other.name for other in imported if _trains(other, one)), None)
        if name is None:
            name = f"{one.name}-teacher"
            stages = [
                f"stages in {Path(name).name}.yaml, or the config of its training imported with this one: the source "
                "says how the teacher is made, not how it was trained"
            ] if not _published(one.teacher, one.task) else []  # fmt: skip
            for need in stages:
                needs.needs(need)
            extra[target / f"{name}.yaml"] = _teacher_text(one, [*one.teacher_needs, *stages], origin)
        else:
            needs.to_do = [need for need in needs.to_do if need not in one.teacher_needs]
        data = {"label": data["label"], "notes": data["notes"], "teacher": {"experiment": _below(target, name)}} | data
    for mistake in _mistakes(data):
        needs.needs(mistake)
    report = needs.report(one.task.name)
    texts = {target / f"{one.name}.yaml": experiment_text(data, report, origin), **extra}
    report.written = list(texts)
    return report, texts


def _still(needs: list[str], there: set[str]) -> list[str]:
    return [need for need in needs if need.partition(" in configs/")[0] not in there]


def _trains(other: Imported, one: Imported) -> bool:
    """Whether a file trains, without a teacher, the model that teaches in another file on the same task."""
    assert one.teacher is not None
    return other.teacher is None and other.task == one.task and other.student.key == one.teacher.key


def _published(model: Model, task: Task) -> bool:
    """Whether a model starts with weights that say what the task asks for, and so need not be trained."""
    start = model.section.get("start", {})
    return bool(task.looks_for) and start.keys() == {"source"} and str(start["source"]).startswith("torchvision/")


def _teacher_text(one: Imported, to_do: list[str], origin: str) -> str:
    assert one.teacher is not None
    data = {"label": printable(one.teacher.key), "notes": {"task": one.task.name}, "student": one.teacher.section}
    return experiment_text(data, Report(one.source.file, one.task.name, to_do=to_do), origin)


def _below(target: Path, name: str) -> str:
    """The name of an experiment below `configs/experiments`, where the target lies there."""
    parts = target.absolute().parts
    for i in range(len(parts) - 1):
        if parts[i : i + 2] == ("configs", "experiments"):
            return name_of("/".join([*parts[i + 2 :], name]))
    return name


def _mistakes(data: dict[str, Any]) -> list[str]:
    """What the language says of the experiment as it is."""
    try:
        Experiment.model_validate(data)
    except ValidationError as error:
        return [f"`{printable('.'.join(map(str, d['loc'])))}`: {printable(d['msg'])}" for d in error.errors()[:20]]
    return []


def _write(texts: dict[Path, str]) -> None:
    there = [printable_path(file) for file in texts if file.exists()]
    if there:
        raise RedistillError(f"there already: {', '.join(there)}. Give another folder, or remove them")
    for file, text in texts.items():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        except OSError as error:
            raise RedistillError(f"{printable_path(file)}: cannot be written: {error.strerror}") from None
