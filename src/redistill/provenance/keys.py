"""Keys: the name of a thing in the store, known before it is made.

A key is the SHA-256 of the resolved config, the keys of the inputs, the fingerprint of the code, and the versions of
the packages that the numbers depend on.
"""

import ast
import hashlib
import json
import re
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

KEY_LENGTH = 16
KEY = re.compile(f"[0-9a-f]{{{KEY_LENGTH}}}")
_PACKAGE = Path(__file__).parents[1]

# What only speaks to people or keeps books does not change a number.
NOT_COUNTED = (
    "redistill.cli",
    "redistill.provenance",
    "redistill.errors",
    "redistill.progress",
    "redistill.interruption",
)


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces; equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def key_of(parts: dict[str, Any]) -> str:
    """The key that the parts give: the first 16 hex digits of their digest."""
    return sha256_text(canonical(parts))[:KEY_LENGTH]


@cache
def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Installed versions of the packages that a stage's numbers depend on."""
    return {package: version(package) for package in packages}


def fingerprint(modules: Iterable[str]) -> dict[str, str]:
    """Digests of the code that a stage runs: each module of the package in the static import closure of `modules`.

    Comments, docstrings, layout and the `description` of a config field do not count.
    """
    waiting, digests = sorted(modules), dict[str, str]()
    while waiting:
        module = waiting.pop()
        if module in digests or any(f"{module}.".startswith(f"{name}.") for name in NOT_COUNTED):
            continue
        digests[module], imported = _module(module)
        waiting.extend(imported)
    return dict(sorted(digests.items()))


def _file(module: str) -> Path | None:
    path = _PACKAGE.joinpath(*module.split(".")[1:])
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


@cache
def _module(module: str) -> tuple[str, tuple[str, ...]]:
    """Digest of a module's code, and the modules of the package that it imports."""
    file = _file(module)
    if file is None:
        raise ModuleNotFoundError(module)
    tree = ast.parse(file.read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {a.name for a in node.names if a.name.startswith("redistill.")}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "redistill":
            inner = {f"{node.module}.{a.name}" for a in node.names}
            imported |= {name for name in inner if _file(name)} or {node.module}
    imported.discard("redistill")
    return sha256_text(ast.unparse(_bare(tree))), tuple(sorted(imported))


def _bare(tree: ast.Module) -> ast.Module:
    """The tree without what only people read."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
        elif isinstance(node, ast.Call):
            node.keywords = [k for k in node.keywords if k.arg != "description"]
    return tree
