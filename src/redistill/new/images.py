"""A study on a folder of images, one folder a class: a pretrained teacher, students that begin at random."""

import os
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from redistill.data.picture_files import files_below, folders_in, is_picture, some
from redistill.errors import RedistillError, nearest
from redistill.new import Said, Wish, sources_of, variable
from redistill.new.texts import splits_of

TEACHER, STUDENT = "efficientnet-lite0", "mobilenetv2_035"
SIDES = (64, 96, 128)  # pixels that models are shown, of which the first that most images have is taken
LOOKED_AT = 50  # images of each class, for their sizes
HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}  # as EfficientNet-Lite0 was trained
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}  # as torchvision's models were
EPOCHS, TEACHER_EPOCHS = 20, 8


@dataclass(frozen=True)
class Images:
    """A folder with a folder of images for each class."""

    folder: Path

    def say(self, root: Path, wish: Wish) -> Said:
        classes = self._classes()
        side = self._side(classes)
        number = sum(map(len, classes.values()))
        task = {
            "title": wish.name, "type": "classification", "input": "image", "image_shape": [3, side, side],
            "source": wish.name, "reader": {"method": "image_folder"}, "labels": list(classes), "metric": "accuracy",
            "splits": splits_of(f"{self.folder}: has {number} images", number),
        }  # fmt: skip
        source = {
            "kind": "data", "origin": {"type": "folder", "variable": variable(wish.name)},
            "layout": {"folder": wish.name, "splits": {"all": ["./"]}},
            "licence": "not said", "citation": f"{self.folder.name}, by whoever made this study",
        }  # fmt: skip
        recipes, students = _recipes(root, wish, task)
        place = os.path.relpath(self.folder.resolve(), root.resolve())
        return Said(task, source, recipes, students, ["floors/majority"], place)

    def _classes(self) -> dict[str, list[Path]]:
        """The images of each class, by the name of its folder."""
        if not self.folder.is_dir():
            raise RedistillError(f"{self.folder}: there is no such folder")
        classes = {one.name: [f for f in files_below(one) if is_picture(f)] for one in folders_in(self.folder)}
        if len(classes) < 2:
            raise RedistillError(
                f"{self.folder}: has {len(classes)} folders, and one for each class is needed, such as cat/ and dog/"
            )
        if empty := [name for name, files in classes.items() if not files]:
            raise RedistillError(f"{self.folder}: {some(empty)}: no image is there; .jpg, .png and their like are read")
        return classes

    def _side(self, classes: dict[str, list[Path]]) -> int:
        """Pixels of the square that models are shown, by the shorter sides of some images."""
        from PIL import Image, UnidentifiedImageError

        sides = list[int]()
        for file in (file for files in classes.values() for file in files[:LOOKED_AT]):
            try:
                with Image.open(file) as opened:
                    sides.append(min(opened.size))
            except (OSError, UnidentifiedImageError):
                raise RedistillError(f"{file}: cannot be read as an image: take it out, or mend it") from None
        return next((side for side in SIDES if side >= median(sides)), SIDES[-1])


def _recipes(root: Path, wish: Wish, task: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    teacher, said = _teacher(root, wish)
    side = task["image_shape"][-1]
    normalise = {"method": "normalise", **(HALF if teacher == TEACHER else IMAGENET)}
    head, rest = _parts(said)
    base = {
        "label": "Shared",
        "student": {"architecture": {"method": "timm", "name": STUDENT}},
        "stages": [{
            "data": ["train"], "epochs": EPOCHS, "batch_size": 32,
            "transforms": [{"method": "random_resized_crop", "size": side, "smallest": 0.4},
                           {"method": "horizontal_flip"}, normalise],
            "optimiser": {"method": "adamw", "learning_rate": 2e-3, "weight_decay": 0.01},
            "schedule": {"method": "cosine", "warmup": 0.1},
            "loss": {"hard": {"method": "hard", "weight": 1.0}},
        }],
        "evaluation": {"transforms": [{"method": "resize", "size": side * 8 // 7},
                                      {"method": "centre_crop", "size": side}, normalise]},
    }  # fmt: skip
    recipes: dict[str, dict[str, Any]] = {
        "base": base,
        "teacher": {
            "extends": "base", "label": f"Teacher ({teacher}, fine-tuned)", "notes": {"start": "pretrained"},
            "student": {"architecture": said["architecture"], "start": {"source": teacher, "fresh": [head]}},
            "set": {"stages.0.epochs": TEACHER_EPOCHS,
                    "stages.0.optimiser.learning_rate": 1e-3,
                    "stages.0.optimiser.groups": [{"modules": rest, "rate": 0.1}]},
        },
    }  # fmt: skip
    chosen = wish.students or (STUDENT,)
    for student in chosen:
        _refuse_unknown(student, task)
        name = f"student-{student.replace('_', '-')}" if len(chosen) > 1 else "student"
        recipes[name] = {
            "extends": "base", "label": student, "notes": {"start": "random"},
            "student": {"architecture": {"name": student}},
        }  # fmt: skip
    return recipes, [name for name in recipes if name.startswith("student")]


def _teacher(root: Path, wish: Wish) -> tuple[str, dict[str, Any]]:
    """The teacher's source, and what it says of the model's shape."""
    known = {
        name: said["config"] for name, said in sources_of(root, "model").items()
        if (said.get("config") or {}).get("architecture", {}).get("method") in ("timm", "torchvision")
    }  # fmt: skip
    name = wish.teacher or TEACHER
    if name not in known:
        raise RedistillError(
            f"configs/sources.yaml has no pretrained classifier of images `{name}`; {nearest(name, known)}. Another "
            "one is added there"
        )
    return name, known[name]


def _refuse_unknown(student: str, task: dict[str, Any]) -> None:
    """Raises:
    RedistillError: timm has no such network, or it does not take images of this size.
    """
    import torch

    from redistill.models.load import nested

    with torch.device("meta"):
        nested({"method": "timm", "name": student}, task)


def _parts(said: dict[str, Any]) -> tuple[str, list[str]]:
    """The head of a classifier, which is drawn anew, and the parts before it, which learn slowly; by their paths."""
    import torch
    from torch import nn

    from redistill.models.load import of_source

    with torch.device("meta"):
        model = of_source(said)
    head = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1]
    rest = [name for name, part in model.named_children() if any(True for _ in part.parameters())]
    return head, [name for name in rest if name != head.split(".")[0]]
