"""A finished run and all that it came from, read from the store and its records. Imports no torch."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redistill.config import compose, schema
from redistill.errors import ConfigError, RedistillError
from redistill.provenance import record, store
from redistill.provenance.parts import Parts

if TYPE_CHECKING:
    from torch.nn import Module

UNKNOWN = "not in configs/sources.yaml any more"


@dataclass(frozen=True)
class Origin:
    """A source that a run came from, and what configs/sources.yaml says of it; the hub's repository if it has one."""

    name: str
    key: str
    kind: str
    repository: str | None
    licence: str
    citation: str


@dataclass(frozen=True)
class Finished:
    """A run in the store. `upstream` are the parts of everything that it was made of, by key; `noted` is its record."""

    root: Path
    key: str
    title: str
    manifest: store.Manifest
    upstream: dict[str, Parts]
    origins: list[Origin]
    noted: dict[str, Any] | None

    @property
    def folder(self) -> Path:
        return self.root / "store" / "runs" / self.key

    @property
    def parts(self) -> Parts:
        parts: Parts = self.manifest["key_parts"]
        return parts

    @property
    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = self.parts["config"]
        return config

    @property
    def task(self) -> dict[str, Any]:
        task: dict[str, Any] = self.config["task"]
        return task

    @property
    def is_text(self) -> bool:
        return bool(self.task["input"] == "text")

    @property
    def max_length(self) -> int:
        """Tokens that a text was cut at."""
        return int(self.upstream[self.parts["inputs"]["tokens"]]["config"]["max_length"])

    def model(self) -> "Module":
        """Its model with trained weights, in eval mode, on the CPU in float32."""
        from redistill.models.load import load_run

        return load_run(self.folder, {**self.config["runtime"], "device": "cpu", "portable": False})

    @property
    def task_title(self) -> str:
        """The task's heading, or its name where no file has it any more."""
        names = self.title.split(" · ")
        if len(names) < 2:
            return self.parts["inputs"]["dataset"]
        with suppress(ConfigError):
            return str(compose.read(self.root, "tasks", names[1]).data.get("title", names[1]))
        return names[1]

    @property
    def teachers(self) -> list[str]:
        """Keys of the runs and pretrained models that it learnt from."""
        found = []
        for role, key in self.parts["inputs"].items():
            if role.startswith("outputs "):
                found.append(self.upstream[key]["inputs"]["teacher"])
            elif role.startswith("teacher "):
                found.append(key)
        return list(dict.fromkeys(found))

    def data(self) -> list[Origin]:
        """The sources of its task's examples; not those that its teachers or its start saw."""
        reached = dict(_upstream(self.upstream.__getitem__, [self.parts["inputs"]["dataset"]]))
        return [origin for origin in self.origins if origin.key in reached]

    def base(self) -> Origin | None:
        """The pretrained model whose weights it began with, maybe by way of other runs; None if they were random."""
        parts = self.parts
        while parts["kind"] == "run":
            student, role = _last_student(parts["config"])
            if role not in parts["inputs"] or student["start"] is None or student["start"]["random"]:
                return None
            key = parts["inputs"][role]
            parts = self.upstream[key]
        return next(origin for origin in self.origins if origin.key == key)


def _last_student(config: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The student that a run ends with, and the role of what it started from."""
    found = config["student"], "start"
    for index, stage in enumerate(config["stages"]):
        if stage["rebuild"]:
            found = stage["rebuild"]["student"], f"start of stage {index}"
    return found


def finished(root: Path, key: str, title: str = "") -> Finished:
    """The run with this key, verified, and its lineage.

    Args:
        title: what it is called where no record says so.

    Raises:
        RedistillError: no finished run has the key, it has no weights or no predictions, or a thing that it came from
            is neither in the store nor on record.
        IntegrityError: it is not what its manifest says.
    """
    folder = root / "store" / "runs" / key
    if not store.is_done(folder):
        raise RedistillError(f"no finished run here has the key {key}: {_what_it_is(root, key)}")
    store.trust(root, folder)
    manifest = store.read_manifest(folder)
    record_file = record.place(root, key)
    noted = record.read(record_file) if record_file.is_file() else None
    title = noted["what"] if noted else title or key
    _refuse_without_model(title, manifest)
    found = dict(_upstream(lambda other: _parts(root, other, title), list(manifest["key_parts"]["inputs"].values())))
    return Finished(root, key, title, manifest, found, list(_origins(root, found)), noted)


def _what_it_is(root: Path, key: str) -> str:
    for folder in sorted((root / "store").glob(f"*/{key}")):
        if store.is_done(folder):
            return f"it is of the kind `{store.read_manifest(folder)['key_parts']['kind']}`; give the key of a run"
    return "`redistill plan` lists keys, `redistill run` makes a run, `redistill pull` brings those of the remote"


def _refuse_without_model(title: str, manifest: store.Manifest) -> None:
    if "model.safetensors" not in manifest["files"]:
        raise RedistillError(f"{title} is a baseline: it has no weights; give a run that was trained")
    if "predictions.parquet" not in manifest["files"]:
        raise RedistillError(
            f"{title} has no predictions, as its task has no labels: there is no number to report and nothing to "
            "verify it by; give a run that starts from it"
        )


def _upstream(parts_of: Callable[[str], Parts], keys: list[str]) -> Iterator[tuple[str, Parts]]:
    """Key and parts of these things and of all that they are made of, each once."""
    seen, waiting = set[str](), list(reversed(keys))
    while waiting:
        key = waiting.pop()
        if key not in seen:
            seen.add(key)
            parts: Parts = parts_of(key)
            yield key, parts
            waiting.extend(reversed(parts["inputs"].values()))


def _parts(root: Path, key: str, title: str) -> Parts:
    """What a key is made of, from the thing's manifest, or from its record where the thing is not there."""
    for file in [*sorted((root / "store").glob(f"*/{key}/manifest.json")), record.place(root, key)]:
        with suppress(OSError, ValueError, KeyError):
            parts: Parts = json.loads(file.read_text(encoding="utf-8"))["key_parts"]
            return parts
    raise RedistillError(
        f"{title}: of {key}, which it came from, there is neither a manifest nor a record, so nobody can say under "
        "which licences: `redistill pull` brings it, or make it again"
    )


def _origins(root: Path, upstream: dict[str, Parts]) -> Iterator[Origin]:
    """The sources among these things, data first, as configs/sources.yaml has them today."""
    known = compose.load(root / "configs" / "sources.yaml", "configs/sources.yaml")
    said = {name: compose.validate(schema.Source, known.sub(name), name) for name in known.data}
    for key, parts in sorted(upstream.items(), key=lambda pair: (pair[1]["kind"], pair[0])):
        if parts["kind"] not in ("data", "model"):
            continue
        origin = parts["config"]["origin"]
        names = [n for n, source in said.items() if source.is_fetched_by(parts["config"])]
        source = said[names[0]] if names else None
        yield Origin(
            names[0] if names else key, key, parts["kind"],
            origin["repository"] if origin["type"] == "hub" else None,
            source.licence if source else UNKNOWN, source.citation if source else UNKNOWN,
        )  # fmt: skip
