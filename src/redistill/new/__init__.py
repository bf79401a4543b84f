"""Start a study on data of one's own: what is written is plain configuration, to be read and changed.

A table of texts, a folder of images, or a data set of the hub; each kind of data says its task, its source and how
many examples there are, and the recipes are written for its teacher and students.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml

from redistill import registry
from redistill.config import compose
from redistill.config.check import check
from redistill.errors import ConfigError, RedistillError, nearest, writing

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")
LOGITS = {"student_logits", "teacher_logits", "labels"}  # what a method may look at without being told where


@dataclass(frozen=True)
class Wish:
    """How a study is distilled: its name, teacher, students, methods and seeds; of each, what the data suggests if not
    given.
    """

    name: str
    teacher: str | None = None
    students: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("kd",)
    seeds: int = 3


@dataclass(frozen=True)
class Said:
    """What a kind of data says of its study: configs by section, the rows that need no recipe, and files to copy."""

    task: dict[str, Any]
    source: dict[str, Any]
    recipes: dict[str, dict[str, Any]]
    students: list[str]
    floors: list[str]
    folder: str | None = None
    copied: dict[Path, Path] = field(default_factory=dict)


class Data(Protocol):
    """A kind of data."""

    def say(self, root: Path, wish: Wish) -> Said:
        """What its study is.

        Raises:
            RedistillError: the data, or what is wished of it, is not there or not of its kind.
        """
        ...


def write(root: Path, wish: Wish, data: Data) -> list[Path]:
    """Write the study, and take it back if `check` finds anything wrong with it; returns the files.

    Raises:
        RedistillError: a name is taken, the data is not of its kind, a method does not fit.
        ConfigError: what was written is wrong; nothing of it is left.
    """
    _check_wish(root, wish)
    said = data.say(root, wish)
    files = dict(_files(root, wish, said))
    copies = {root / to: origin for to, origin in said.copied.items()}
    sources = root / "configs" / "sources.yaml"
    before = sources.read_text(encoding="utf-8")
    try:
        for file, text in files.items():
            with writing(file):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
        for file, origin in copies.items():
            with writing(file):
                file.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(origin, file)
        with writing(sources):
            sources.write_text(f"{before.rstrip()}\n\n{_yaml({wish.name: said.source})}", encoding="utf-8")
        check(root, wish.name)
    except (RedistillError, ConfigError):
        _take_back([*files, *copies])
        sources.write_text(before, encoding="utf-8")
        raise
    return [*files, *copies, sources]


def _take_back(files: list[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
        if file.parent.is_dir() and not any(file.parent.iterdir()):
            file.parent.rmdir()


def name_from(data: str) -> str:
    """A name for a study on this data: what a file, a folder or a repository is called, as names are written."""
    stem = Path(data.rstrip("/")).stem.lower()
    return re.sub(r"[^a-z0-9_-]+", "-", stem).strip("-_")[:60] or "mine"


def sources_of(root: Path, kind: str) -> dict[str, dict[str, Any]]:
    """The sources of a kind, as configs/sources.yaml has them, by name."""
    known = compose.load(root / "configs" / "sources.yaml", "configs/sources.yaml").data
    return {name: said for name, said in known.items() if said.get("kind") == kind}


def _check_wish(root: Path, wish: Wish) -> None:
    if not NAME.fullmatch(wish.name):
        raise RedistillError(f"`{wish.name}` is no name: small letters, digits, `_` and `-`, a letter or digit first")
    taken = [folder for folder in ("studies", "tasks") if (root / "configs" / folder / f"{wish.name}.yaml").exists()]
    taken += ["experiments"] if (root / "configs" / "experiments" / wish.name).exists() else []
    taken += ["sources.yaml"] if wish.name in compose.load(root / "configs" / "sources.yaml", "sources").data else []
    if taken:
        raise RedistillError(f"configs/{taken[0]} has a `{wish.name}` already: take another name")
    if wish.seeds < 1:
        raise RedistillError("a row needs a seed at least; with five, a difference can be starred")
    for method in wish.methods:
        _check_method(method)


def _check_method(method: str) -> None:
    known = registry.names("loss")
    if method not in known or method == "hard":
        raise RedistillError(f"there is no method `{method}` of distillation; {nearest(method, known)}")
    signature = registry.signature("loss", method)
    required = [name for name, setting in signature.settings.items() if setting.required]
    if not set(signature.inputs) <= LOGITS or "teacher_logits" not in signature.inputs or required:
        raise RedistillError(
            f"`{method}` needs more than its name: `redistill methods {method}` says what. Begin with `kd`, and write "
            "it into the recipe then"
        )


def _files(root: Path, wish: Wish, said: Said) -> Iterator[tuple[Path, str]]:
    """Every config of the study with its text."""
    configs, name = root / "configs", wish.name
    yield configs / "tasks" / f"{name}.yaml", f"# What the models learn.\n{_yaml(said.task)}"
    for recipe, content in (said.recipes | _distilled(wish, said)).items():
        yield configs / "experiments" / name / f"{recipe}.yaml", _yaml(content)
    yield configs / "studies" / f"{name}.yaml", _study(wish, said)


def _distilled(wish: Wish, said: Said) -> dict[str, dict[str, Any]]:
    """A recipe for each student and method: the student's own, with the teacher's say beside the labels."""
    return {
        f"{student}-{method}": {
            "extends": student, "label": f"{said.recipes[student]['label']}, distilled ({method})",
            "teacher": {"experiment": f"{wish.name}/teacher"},
            "set": {"stages.0.loss": {"hard": {"method": "hard", "weight": 0.5},
                                      "soft": {"method": method, "weight": 0.5}},
                    **({"stages.0.teacher_outputs": {"views": 4}} if said.task["input"] == "image" else {})},
        }
        for student in said.students for method in wish.methods
    }  # fmt: skip


def _study(wish: Wish, said: Said) -> str:
    rows: list[dict[str, Any]] = [
        *({"experiment": floor, "seeds": [0]} for floor in said.floors),
        {"experiment": f"{wish.name}/teacher", "seeds": [0]},
    ]
    pairs = list[dict[str, str]]()
    for student in said.students:
        rows.append({"experiment": f"{wish.name}/{student}"})
        for method in wish.methods:
            rows.append({"experiment": f"{wish.name}/{student}-{method}"})
            pairs.append({"row": f"{wish.name}/{student}-{method}", "against": f"{wish.name}/{student}"})
    content = {
        "title": wish.name,
        "runtime": {"precision": "float32", "device": "cpu", "threads": 1},
        **({"folders": {wish.name: {"path": said.folder}}} if said.folder else {}),
        "tables": {"main": {"title": wish.name, "tasks": [wish.name], "seeds": list(range(wish.seeds)), "rows": rows,
                            "comparisons": pairs}},
    }  # fmt: skip
    return f"# snakemake --cores all --config study={wish.name}\n{_yaml(content)}"


def variable(name: str) -> str:
    """The environment variable that names the folder of a source of the user's."""
    letters = "".join(letter if letter.isalnum() else "_" for letter in name.upper())
    return f"{letters if letters[0].isalpha() else f'DATA_{letters}'}_DIR"


def _yaml(value: dict[str, Any]) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
