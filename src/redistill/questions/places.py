"""Where a value of a plan stands: file and line of the config that says it."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from redistill.config import compose
from redistill.config.parse import Document, KeyPath
from redistill.errors import ConfigError
from redistill.plan import Plan
from redistill.questions.causes import Cause
from redistill.questions.state import Place

_STUDY = ("runtime",)  # of a run's config: said by the study


def of_cause(plan: Plan, cause: Cause, where: Iterable[str], cells: Iterable[Place]) -> list[str]:
    """Where today's value of a cause stands; nothing of what no file says, such as a default, code or a package."""
    if cause.kind == "seed" and not cause.path:
        return sorted(set(_seeds(plan, cells)))
    if not cause.path or not cause.new:
        return []
    documents = _in_sources if cause.kind == "data" else _documents
    return sorted({place for name in where for document in documents(plan, name, cause.path)
                   for place in _saying(document, cause)})  # fmt: skip


def of_values(plan: Plan, title: str, paths: Iterable[Sequence[str]]) -> list[str]:
    """The places of everything that a run's recipe says at these paths of its config or below them."""
    name, task = [*title.split(" · "), ""][:2]
    recipe = _recipe(plan, name, task)
    if recipe is None:
        return []
    wanted = [_key_path(path) for path in paths]
    return _in_order(
        f"{place.file}:{place.line}"
        for path, place in recipe.places.items()
        for start in wanted
        if path[: len(start)] == start
    )


def _recipe(plan: Plan, name: str, task: str) -> Document | None:
    """What a run was planned by; of several trials the first, whose config a chosen run has beside theirs."""
    recipes = plan.checked.recipes
    if (name, task) in recipes:
        return recipes[name, task].document
    rows = [row for table in plan.checked.rows.values() for row in table if row.name == name and row.recipes]
    found = [recipes.get((row.recipes[0], plan.checked.trained(task))) for row in rows]
    return next((recipe.document for recipe in found if recipe is not None), None)


def _documents(plan: Plan, name: str, path: Sequence[str]) -> Iterator[Document]:
    """The files, merged, that could say a value of an experiment, a row, a task or the study."""
    with suppress(ConfigError):
        if path[:1] == _STUDY or name == plan.checked.name:
            yield compose.read(plan.root, "studies", plan.checked.name)
            return
        tasks = {task for of, task in plan.checked.recipes if of == name}
        tasks |= {plan.checked.trained(t) for rows in plan.checked.rows.values() for r in rows if r.name == name
                  for t in r.tasks}  # fmt: skip
        for task in sorted(tasks):
            document = _recipe(plan, name, task)
            if document is not None:
                yield document
        if not tasks and name in plan.checked.tasks:
            yield compose.read(plan.root, "tasks", name)


def _in_sources(plan: Plan, name: str, _: Sequence[str]) -> Iterator[Document]:
    known = compose.load(plan.root / "configs" / "sources.yaml", "configs/sources.yaml")
    if name in known.data:
        yield known.sub(name)


def _saying(document: Document, cause: Cause) -> Iterator[str]:
    """The place of a cause's new value, unless another value stands there, which something else overrides."""
    value, new = document.data, json.loads(cause.new)
    for step in _key_path(cause.path):
        try:
            value = value[step]
        except (LookupError, TypeError):
            return
    if value == new or isinstance(value, dict | list):
        yield from _exactly(document, cause.path)


def _exactly(document: Document, path: Sequence[str]) -> Iterator[str]:
    place = document.places.get(_key_path(path))
    if place is not None:
        yield f"{place.file}:{place.line}"


def _seeds(plan: Plan, cells: Iterable[Place]) -> Iterator[str]:
    """Where the seeds of these cells are listed: in their row, else in their table."""
    document = compose.read(plan.root, "studies", plan.checked.name)
    for table, row, _ in cells:
        said = plan.checked.study.tables.get(table)
        for i, their in enumerate(said.rows if said else []):
            if row.partition("@")[0] == (their.name or their.experiment) and their.seeds:
                yield from _exactly(document, ("tables", table, "rows", str(i), "seeds"))
                break
        else:
            yield from _exactly(document, ("tables", table, "seeds"))


def _key_path(path: Sequence[str]) -> KeyPath:
    """A place in a resolved config as a file has it: settings stand beside their method, list entries are counted."""
    return tuple(int(step) if step.isdigit() else step for step in path if step != "settings")


def _in_order(places: Iterable[str]) -> list[str]:
    """Places by file and line, each once."""
    return sorted(set(places), key=lambda place: (place.rpartition(":")[0], int(place.rpartition(":")[2])))
