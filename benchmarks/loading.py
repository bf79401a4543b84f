"""What decoding and augmenting images costs a step of training: beside a step on batches that lie ready.

python benchmarks/loading.py [--steps N] [--rounds N] [--threads N] [--device D] [--out FILE]
    writes benchmarks/results/loading.json

Two kinds of images: CIFAR's size, in memory, cropped and flipped, for a ResNet-20; and photographs as JPEG files,
500 x 375 pixels, of which parts are cut and scaled to 224 x 224, for a ResNet-18. Pixels are made up; JPEGs are as dear
as real ones, as they are smooth with a little noise. The ways take turns; a number is the median over the rounds.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from redistill import environment

WAYS: dict[str, int | None] = {"ready": None, "workers 0": 0, "workers 2": 2}
WARM = 2  # steps that are not counted
RUNTIME: dict[str, Any] = {"portable": False, "precision": "float32"}
NORMAL = {"method": "normalise", "settings": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}}
FLIP = {"method": "horizontal_flip", "settings": {"p": 0.5}}
CROP = {"method": "random_crop", "settings": {"size": 32, "padding": 4}}
PART = {"method": "random_resized_crop", "settings": {"size": 224, "smallest": 0.08, "narrowest": 0.75}}
CASES: dict[str, dict[str, Any]] = {
    "CIFAR's size, ResNet-20": {
        "shape": [3, 32, 32], "batch": 64, "transforms": [CROP, FLIP, NORMAL],
        "architecture": {"method": "cifar_resnet", "settings": {"depth": 20}},
    },
    "photographs, ResNet-18": {
        "shape": [3, 224, 224], "batch": 16, "transforms": [PART, FLIP, NORMAL],
        "architecture": {"method": "torchvision", "settings": {"name": "resnet18", "options": None}},
    },
}  # fmt: skip


def measured(case: dict[str, Any], said: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Seconds of a step in each way, and what each way is over a step on batches that lie ready."""
    import torch

    from redistill.models import load

    labels = [str(i) for i in range(10)]
    task = {"type": "classification", "input": "image", "labels": labels, "image_shape": case["shape"]}
    runtime = {**RUNTIME, "threads": said.threads, "device": said.device}
    load.prepare_torch(runtime, task)
    torch.manual_seed(0)
    model = load.placed(load.architecture(case["architecture"], task), runtime).train()
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    data = examples(case, folder)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(said.rounds):
        for way, workers in WAYS.items():
            given = batches(data, case["batch"], said.steps + WARM, workers, said.device)
            seconds[way].append(step_time(model, optimiser, given, said.steps))
    found = {way: median(times) for way, times in seconds.items()}
    return {
        "seconds of a step": found,
        "over a step on ready batches": {way: found[way] / found["ready"] for way in WAYS if way != "ready"},
    }


def step_time(model: Any, optimiser: Any, given: Iterator[dict[str, Any]], steps: int) -> float:
    """Mean seconds of a step, what it waits for its batch included."""
    from torch.nn.functional import cross_entropy

    for step in range(steps + WARM):
        if step == WARM:
            begin = time.perf_counter()
        batch = next(given)
        loss = cross_entropy(model(batch["image"]), batch["labels"])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        loss.item()  # waits for a GPU
    return (time.perf_counter() - begin) / steps


def batches(data: Any, size: int, steps: int, workers: int | None, device: str) -> Iterator[dict[str, Any]]:
    """Batches as the engine makes them; with no number of workers, one that lies ready, again and again."""
    import numpy as np

    from redistill.data.ahead import ahead

    def asked() -> Iterator[tuple[Any, Any]]:
        order = np.random.default_rng(0)
        for step in range(steps):
            indices = order.choice(len(data), size, replace=False)
            yield indices, data.seeds(indices, 0, step)

    if workers is None:
        ready = data.batch(*next(asked())[:1], device, next(asked())[1])
        yield from (ready for _ in range(steps))
        return
    data.workers = workers
    with ahead(data, asked()) as source:
        for indices, seeds in asked():
            yield source.batch(indices, device, seeds)


def examples(case: dict[str, Any], folder: Path) -> Any:
    """Images of a case, as a run loads them."""
    import numpy as np
    import torch

    from redistill.data.examples import Examples
    from redistill.data.packed import Files, Joined
    from redistill.data.pictures import Pictures

    count, draw = 2 * case["batch"], np.random.default_rng(0)
    ids = [str(i) for i in range(count)]
    images: Any
    if case["shape"][1] == 32:
        images = torch.from_numpy(draw.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8))
    else:
        encoded = [photograph(draw) for _ in range(count)]
        (folder / "train.images").write_bytes(b"".join(encoded))
        np.save(folder / "train.images.starts.npy", np.cumsum([0, *map(len, encoded)]))
        images = Joined([Files.of(folder, "train", "images")])
    pictures = Pictures(ids, images, 3, case["transforms"])
    labels = torch.from_numpy(draw.integers(0, 10, count))
    return Examples(ids, ["train"] * count, labels, np.ones(count, dtype=np.int64), pictures=pictures)


def photograph(draw: Any, width: int = 500, height: int = 375) -> bytes:
    """A JPEG of smooth colours with a little noise."""
    import numpy as np
    from PIL import Image

    smooth = Image.fromarray(draw.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((width, height), 3)
    noisy = np.asarray(smooth, dtype=np.float32) + draw.normal(0, 6, (height, width, 3))
    stream = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "loading.json")
    return parser.parse_args()


def main() -> None:
    said = arguments()
    environment.pin({**RUNTIME, "threads": said.threads, "device": said.device})

    from redistill.performance.units import bounded
    from redistill.provenance import record, store

    found = {}
    for name in said.cases:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = measured(CASES[name], said, Path(folder))
    result = {
        "command": "python benchmarks/loading.py", "machine": record.machine(), "steps": said.steps,
        "rounds": said.rounds, "threads": said.threads, "device": said.device, "cases": found,
    }  # fmt: skip
    store.write_atomically(said.out, store.pretty(bounded(result)))


if __name__ == "__main__":
    main()
