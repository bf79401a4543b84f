"""A project with studies on tiny sets of images, in the layouts that users have; what is made is made by forks."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from engine_project import Engine, Forge, planned_in
from nano_study import copy_project
from picture_sets import put

NORMAL = "{method: normalise, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}"
OPTIMISER = "{method: sgd, learning_rate: 1.0e-3, weight_decay: 1.0e-4, decay: all, momentum: 0.9}"


def study(title: str, tables: dict[str, tuple[list[str], list[str]]], more: str = "") -> str:
    """A study; each table has tasks and rows."""
    said = f"title: {title}\nruntime: {{portable: true}}\n{more}\ntables:\n"
    for name, (tasks, rows) in tables.items():
        said += f"  {name}:\n    title: {name}\n    tasks: [{', '.join(tasks)}]\n    seeds: [0]\n    rows:\n"
        said += "".join(f"      - {{{row}}}\n" for row in rows)
    return said


@contextmanager
def vision(root: Path, configs: dict[str, str], folders: dict[str, Path], *studies: str) -> Iterator[Engine]:
    """A project with these configs, by their names without `.yaml`, in which studies are planned.

    Args:
        folders: the user's, by the variable that names each.
    """
    with pytest.MonkeyPatch.context() as patch:
        for variable, folder in folders.items():
            patch.setenv(variable, str(folder))
        nano = copy_project(root)
        sources = configs.get("sources", "")
        with (nano.root / "configs" / "sources.yaml").open("a", encoding="utf-8") as stream:
            stream.write(sources)
        put(nano.root / "configs", {f"{name}.yaml": text for name, text in configs.items() if name != "sources"})
        forge = Forge(nano.root)
        try:
            engine = Engine(nano.root, {}, forge)
            planned_in(engine, *studies)
            yield engine
        finally:
            forge.close()


def own_folder(name: str, variable: str) -> str:
    """A source of the user's images, whatever lies in the folder."""
    return (
        f"\n{name}:\n  kind: data\n  origin: {{type: folder, variable: {variable}}}\n"
        f"  layout: {{folder: {name}, splits: {{all: [./]}}}}\n  licence: mine\n  citation: Nobody 2020\n"
    )


def files_of(engine: Engine, key: str) -> dict[str, bytes]:
    """What a run left that its key decides."""
    run = engine.run(key)
    return {name: (run / name).read_bytes() for name in ("model.safetensors", "log.jsonl", "predictions.parquet")}
