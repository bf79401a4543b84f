"""How fast models answer on this machine, and how large they are: in torch, and in ONNX and int8 where exported.

What is written, store/latency/KEY.json of each run, is described in docs/latency.md. It has times, and is in no key.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redistill.card import scores
from redistill.deploy import FORMS, MODEL
from redistill.deploy.folder import is_exported, place, read, scores_in
from redistill.errors import RedistillError
from redistill.lineage import Finished, finished
from redistill.provenance import machine, store

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = 1
WARM_UP = 3  # batches before anything is measured
LEAST, MOST = 5, 10_000  # batches that are measured, whatever the seconds
EXAMPLES = 256  # of `dev`, spread over all of it, of which batches are made
COUNTED = 16  # of these, those whose operations are counted
PACKAGES = ("torch", "transformers", "onnxruntime")

Batch = dict[str, "Tensor"]


@dataclass(frozen=True)
class Asked:
    """How to measure: examples of the large batch, threads, and seconds for each measurement."""

    batch: int = 32
    threads: int = 1
    seconds: float = 1.0


@dataclass(frozen=True)
class Measured:
    """A run to be measured, and the keys of those that are of its row and task, for which its times stand too."""

    key: str
    title: str
    alike: tuple[str, ...] = ()


def measure(root: Path, run: Measured, asked: Asked) -> dict[str, Any]:
    """Measure a run, in this process, which must not have imported torch before the first.

    Returns:
        what its file in store/latency has.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(asked.threads)
    import torch

    torch.set_num_threads(asked.threads)
    here = machine.machine()
    return {
        "schema": SCHEMA, "key": run.key, "alike": list(run.alike), **_one(finished(root, run.key, run.title), asked),
        "machine": _words(here), "processor": here, "packages": _packages(), "warm_up": WARM_UP,
        "seconds": asked.seconds,
    }  # fmt: skip


def _words(here: dict[str, Any]) -> str:
    """The machine in words."""
    cores = f"{here['cores']} core{'s' if here['cores'] != 1 else ''}"
    return f"{here['processor'] or here['machine']}, {cores}, {here['system']}"


def _packages() -> dict[str, str]:
    found = dict[str, str]()
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # ONNX Runtime need not be there
            continue
    return found


def _one(run: Finished, asked: Asked) -> dict[str, Any]:
    import torch

    from redistill.deploy.graph import plain_model
    from redistill.models.load import said_of

    counted, parameters = _operations(run)
    batches, exports = _batches(run, asked), dict[str, Any]()
    model = plain_model(run, "sdpa")

    def by_torch(batch: Batch) -> None:
        with torch.inference_mode():
            said_of(model, batch)

    metrics = {name: said["value"] for name, said in scores(run).items()}
    found = _timed("torch", by_torch, batches, asked, run.folder / "model.safetensors", metrics)
    for form in FORMS:
        folder = place(run.root, run.key, form)
        if is_exported(folder):
            exports[form] = scores_in(folder)
            found += _exported(form, folder, batches, asked)
    return {
        "title": run.title, "task": run.task["type"], "input": run.task["input"], "parameters": parameters,
        "operations": counted, "shape": _shape(run), "measurements": found, "exports": exports,
    }  # fmt: skip


def _exported(form: str, folder: Path, batches: dict[int, list[Batch]], asked: Asked) -> list[dict[str, Any]]:
    """What is measured of an export in its own place."""
    from redistill.deploy.session import ask, opened

    file = read(folder).folder / MODEL
    session = opened(file, asked.threads)
    metrics = {name: both["export"] for name, both in scores_in(folder)["metrics"].items()}
    return _timed(form, lambda batch: ask(session, batch), batches, asked, file, metrics)


def _timed(
    form: str, answer: Callable[[Batch], Any], batches: dict[int, list[Batch]], asked: Asked, file: Path,
    metrics: dict[str, Any],
) -> list[dict[str, Any]]:  # fmt: skip
    """A line for each size of a batch."""
    always = {"threads": asked.threads, "bytes": file.stat().st_size, "metrics": metrics}
    return [
        {"form": form, "batch_size": size, **_times(answer, of_size, size, asked.seconds), **always}
        for size, of_size in batches.items()
    ]


def _times(answer: Callable[[Batch], Any], batches: list[Batch], size: int, seconds: float) -> dict[str, Any]:
    """Milliseconds a batch, and examples a second, over batches that come again and again for some seconds."""
    import numpy as np

    for i in range(WARM_UP):
        answer(batches[i % len(batches)])
    took, begun = list[float](), time.perf_counter()
    while len(took) < LEAST or (time.perf_counter() - begun < seconds and len(took) < MOST):
        batch = batches[len(took) % len(batches)]
        before = time.perf_counter()
        answer(batch)
        took.append(time.perf_counter() - before)
    return {
        "milliseconds": 1000 * float(np.median(took)), "p95_milliseconds": 1000 * float(np.quantile(took, 0.95)),
        "per_second": size * len(took) / sum(took), "repeats": len(took),
    }  # fmt: skip


def _chosen(run: Finished) -> tuple[Any, Any]:
    """The examples of `dev`, and which of them are looked at."""
    import numpy as np

    from redistill.data import examples

    parts = run.parts["inputs"]
    inputs = {role: run.root / "store" / "data" / parts[role] for role in ("dataset", "tokens") if role in parts}
    for role, folder in inputs.items():
        if not store.is_done(folder):
            raise RedistillError(
                f"{run.title}: its {role} is not there, and speed is measured on it: bring it with `redistill pull`"
            )
        store.trust(run.root, folder)
    data = examples.load(run.task, inputs, ["dev"], run.config["evaluation"]["transforms"])
    return data, np.unique(np.linspace(0, len(data) - 1, min(EXAMPLES, len(data))).astype(int))


def _batch(data: Any, indices: Any) -> Batch:
    from redistill.data.pictures import STORED
    from redistill.deploy.graph import inputs_of

    return inputs_of(data.batch(indices, seeds=data.seeds(indices, STORED, 0)))


def _batches(run: Finished, asked: Asked) -> dict[int, list[Batch]]:
    """Batches of one, and of as many as were asked for, of examples of their own lengths; always whole ones."""
    import numpy as np

    data, chosen = _chosen(run)
    chosen = np.random.default_rng(0).permutation(chosen)
    sizes = dict.fromkeys((1, asked.batch))
    return {
        size: [
            _batch(data, np.resize(chosen[i : i + size], size))
            for i in range(0, min(len(chosen), 32 * size), size)
        ]
        for size in sizes
    }  # fmt: skip


def _operations(run: Finished) -> tuple[float | None, int]:
    """Floating-point operations of an example, the mean over some of `dev`, and parameters. A product and a sum count
    two. None where torch does not count what a model does, as in detectors.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from redistill.deploy.graph import plain_model
    from redistill.models.load import said_of

    model = plain_model(run)
    parameters = sum(one.numel() for one in model.parameters())
    data, chosen = _chosen(run)
    some = chosen[:: max(len(chosen) // COUNTED, 1)][:COUNTED]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        for i in some:
            said_of(model, _batch(data, _index(i)))
    total = counter.get_total_flops()
    return (total / len(some) if total else None), parameters


def _index(i: int) -> Any:
    import numpy as np

    return np.array([i])


def _shape(run: Finished) -> dict[str, Any]:
    """What an example is to a model: tokens, as their mean and most; or an image's channels and sides."""
    data, chosen = _chosen(run)
    if run.is_text:
        lengths = data.lengths[chosen]
        return {"tokens": float(lengths.mean()), "most_tokens": int(lengths.max())}
    image = _batch(data, _index(chosen[0]))["image"]
    return {"image": list(image[0].shape)}


def in_words(one: dict[str, Any]) -> str:
    """What was found of a run, for people."""
    counted = f", {one['operations'] / 1e6:,.1f} MFLOP an example" if one["operations"] else ""
    lines = [f"{one['title']}: {one['parameters'] / 1e6:.2f} M parameters{counted}"]
    for said in one["measurements"]:
        lines.append(
            f"  {said['form']:5}  {said['bytes'] / 2**20:7.1f} MiB  batch {said['batch_size']:3}: "
            f"{said['milliseconds']:8.2f} ms (p95 {said['p95_milliseconds']:.2f}), {said['per_second']:,.0f} examples/s"
        )
    return "\n".join(lines)


def write(root: Path, found: dict[str, Any]) -> Path:
    """Write what was measured to store/latency/KEY.json. What was measured there before of other forms, batches and
    threads, on the same machine and with the same packages, stays in it.
    """
    file = root / "store" / "latency" / f"{found['key']}.json"
    lines = {_what(one): one for one in found["measurements"]}
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
        if all(before[name] == found[name] for name in ("schema", "machine", "packages")):
            lines = {_what(one): one for one in before["measurements"]} | lines
    except (OSError, ValueError, LookupError, TypeError):
        pass
    file.parent.mkdir(parents=True, exist_ok=True)
    store.write_atomically(file, store.pretty({**found, "measurements": list(lines.values())}))
    return file


def _what(one: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(one[name] for name in ("form", "batch_size", "threads"))
