"""The methods as their files describe themselves, for `redistill methods` and the catalogue page. Imports no torch."""

import ast
import json
import re
import textwrap
from dataclasses import dataclass
from typing import Any

from redistill import registry
from redistill.errors import RedistillError, nearest

FAMILIES = {  # what a method compares, by the annotation of its taps
    "": "logits",
    "FeatureMaps": "feature maps (B, C, H, W)",
    "HiddenStates": "hidden states (B, T, H)",
    "Attention": "attention (B, A, T, T)",
    "Pooled": "pooled features (B, D)",
    "Anything": "tensors of any shape",
}
NEEDS = {
    "teacher_logits": "a teacher of the task, or a peer",
    "all_teacher_logits": "`teachers` of the task",
    "teacher_hidden": "a teacher, tapped while the student trains",
    "labels": "labels, as far as examples have them",
    "mask": "texts, whose padding never counts",
    "index": "to know which example is which",
    "teacher_head": "a teacher that ends in a linear layer",
    "student_head": "a student that ends in a linear layer",
    "own": "a module of its own, which is trained or remembered with the student, and saved in checkpoints",
    "share": "to know how much of the stage is done",
    "generator": "random numbers, the same for a step however often it is run",
    "views": "images turned by `rotations` of the stage",
}
_SIGNS = {"Gt": ">", "Ge": ">=", "Lt": "<", "Le": "<="}
_BESIDE = re.compile(r"^with, at the experiment's top::$", re.MULTILINE)


@dataclass(frozen=True)
class Method:
    """A method of distillation, read from the syntax tree of its file.

    `title` and `about` are the file's first lines and the rest of what it says; `formula` is what its function says;
    `usage` are lines of a config, under `loss:`, and `beside` what the experiment must say beside its stages for them;
    empty if the file gives none.
    """

    name: str
    title: str
    about: str
    formula: str
    usage: str
    beside: str
    signature: registry.Signature

    @property
    def family(self) -> str:
        """What it compares."""
        shapes = self.signature.shapes
        return FAMILIES.get(shapes.get("student_hidden") or shapes.get("teacher_hidden") or "", FAMILIES["Anything"])

    @property
    def needs(self) -> list[str]:
        """What an experiment must have for it, in words."""
        return [NEEDS[name] for name in self.signature.inputs if name in NEEDS]


def as_json(found: Method) -> dict[str, Any]:
    """A method for programs."""
    return {"name": found.name, "title": found.title, "family": found.family, "needs": found.needs,
            "formula": found.formula, "about": found.about,
            "settings": {name: setting.default for name, setting in found.signature.settings.items()},
            "usage": found.usage}  # fmt: skip


def method(name: str) -> Method:
    """One method.

    Raises:
        RedistillError: there is none of that name.
    """
    known = registry.names("loss")
    if name not in known:
        raise RedistillError(f"there is no method `{name}`; {nearest(name, known)}")
    tree = ast.parse(registry.source_file("loss", name).read_text(encoding="utf-8"))
    title, _, rest = (ast.get_docstring(tree) or "").partition("\n\n")
    about, _, usage = rest.partition("Usage::")
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    formula = ast.get_docstring(function) or ""
    under_loss, beside = (textwrap.dedent(part).strip() for part in [*_BESIDE.split(usage, maxsplit=1), ""][:2])
    return Method(name, " ".join(title.split()), about.strip(), formula, under_loss, beside,
                  registry.signature("loss", name))  # fmt: skip


def methods() -> list[Method]:
    """All methods, by what they compare, then by name."""
    order = list(FAMILIES.values())
    return sorted((method(name) for name in registry.names("loss")), key=lambda m: (order.index(m.family), m.name))


def setting_in_words(setting: registry.Setting, mark: str = "") -> str:
    """Type, bounds and default of a setting, its values as a config has them, between two `mark`s."""
    kind = registry.NESTED.get(setting.annotation, setting.annotation)
    if setting.choices:
        kind = " or ".join(f"{mark}{choice}{mark}" for choice in setting.choices)
    elif setting.bounds:
        kind += " " + ", ".join(f"{_SIGNS[bound]} {limit}" for bound, limit in setting.bounds)
    if setting.required or setting.default is None:
        return f"{kind}, {'required' if setting.required else 'none'}"
    value = setting.default
    return f"{kind}, {mark}{value if isinstance(value, str) and value else json.dumps(value)}{mark}"


def in_text(found: Method) -> str:
    """All that is known of a method, as lines of text."""
    settings = [f"  {name}: {setting_in_words(said)}" for name, said in found.signature.settings.items()]
    parts = [
        f"{found.name}: {found.title}",
        found.about,
        found.formula,
        f"Compares {found.family}.",
        "\n".join(["Needs:", *(f"  {need}" for need in found.needs)]) if found.needs else "",
        "\n".join(["Settings:", *settings]) if settings else "It has no settings.",
        _indented("In a config, under `loss:`", found.usage),
        _indented("with, at the experiment's top", found.beside),
        f"In Python: from redistill.distill import losses; losses.{found.name}({', '.join(found.signature.inputs)})",
    ]
    return "\n\n".join(part for part in parts if part)


def _indented(heading: str, lines: str) -> str:
    return "\n".join([heading, *(f"  {line}" if line else "" for line in lines.splitlines())]) if lines else ""
