"""What a job is told: written when a study is planned, read by the job, which makes what was planned or nothing."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redistill import registry
from redistill.errors import RedistillError
from redistill.plan import Node, Plan
from redistill.provenance import store
from redistill.provenance.keys import canonical, fingerprint, versions


def specification(root: Path, key: str) -> Path:
    """The file that tells a job what to make. Written when the plan is made, so that a job makes what was planned."""
    return root / "store" / "work" / "plans" / f"{key}.json"


def write_specifications(plan: Plan, keys: Iterable[str] | None = None) -> None:
    """Write the specification of everything that is missing for these keys (the study's, if none are given)."""
    plugins = [
        {"kind": p.kind, "name": p.name, "file": p.file.relative_to(plan.root.resolve()).as_posix(), "sha256": p.sha256}
        for p in plan.checked.plugins
    ]
    for node in plan.missing(keys):
        inputs = {role: plan.nodes[key].folder(Path()).as_posix() for role, key in node.inputs.items()}
        value = {
            "kind": node.kind, "title": node.title, "parts": node.parts, "input_folders": inputs,
            "given": {name: path.resolve().as_posix() for name, path in node.given.items()},
            "plugins": plugins, "checkpoints": plan.checked.study.checkpoints.model_dump(),
            "workers": plan.checked.study.loading.workers,
            "tracking": {**plan.checked.study.tracking.model_dump(), "study": plan.checked.around or plan.checked.name},
        }  # fmt: skip
        file = specification(plan.root, node.key)
        text = canonical(value)
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            store.write_atomically(file, text, sync=False)  # what a power cut spoils, the next command writes again


def _code_now(planned: dict[str, str]) -> dict[str, str]:
    """Digests of today's code for the modules and plugins that were planned."""
    now = {m: digest[:16] for m, digest in fingerprint(m for m in planned if ":" not in m).items()}
    for name in planned.keys() - now.keys():
        outside = registry.plugin(*name.split(":")[1:]) if ":" in name else None
        now[name] = outside.sha256[:16] if outside else "gone"
    return now


@dataclass(frozen=True)
class Specification:
    """What a job is told: the node, the folders of its inputs, the files of the user's that it reads, and how often to
    save a run in progress, how many processes load its images, and where its curves are also written.
    """

    node: Node
    inputs: dict[str, Path]
    given: dict[str, Path]
    checkpoints: dict[str, Any]
    workers: int
    tracking: dict[str, Any] = field(default_factory=dict)


def read_specification(root: Path, key: str) -> Specification:
    """A planned node, as it was planned; from here on this process knows the study's plugins.

    Raises:
        RedistillError: nothing with this key was planned, the code has changed since, or what runs here has other
            versions of packages than what planned, as in a container that was made from another lock.
    """
    file = specification(root, key)
    if not file.is_file():
        raise RedistillError(f"nothing with the key {key} was planned; `redistill plan` lists the keys of a study")
    value = json.loads(file.read_text(encoding="utf-8"))
    node = Node(value["kind"], value["title"], value["parts"])
    registry.use(registry.Plugin(p["kind"], p["name"], root / p["file"], p["sha256"]) for p in value["plugins"])
    if node.key != key or _code_now(node.parts["code"]) != node.parts["code"]:
        raise RedistillError(f"{node.title}: the code has changed since {key} was planned; start again")
    planned: dict[str, str] = node.parts["packages"]
    here = versions(tuple(planned))
    other = [f"{name} {here[name]} for {version}" for name, version in planned.items() if here[name] != version]
    if other:
        raise RedistillError(
            f"{node.title}: planned with other packages than run here ({', '.join(other)}): plan and jobs need one "
            "environment; `redistill environment` says how each differs from the lock"
        )
    inputs = {role: root / folder for role, folder in value["input_folders"].items()}
    given = {name: Path(path) for name, path in value["given"].items()}
    return Specification(node, inputs, given, value["checkpoints"], value["workers"], value.get("tracking", {}))
