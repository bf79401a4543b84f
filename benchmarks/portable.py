"""The trial behind portable mode: do two processors compute the same bytes, and how fast, under which settings?

    python benchmarks/portable.py     writes benchmarks/results/portable.json

Operations of many shapes are computed natively and, where QEMU's user-mode emulator is installed, on emulated
processors. Emulation shows which kernels a library chooses for a processor and what they compute, not their speed.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from redistill import environment
from redistill.config.compose import find_root
from redistill.provenance import record, store

PINNED = environment.variables({"threads": 1, "portable": True})
MODES = {
    "nothing pinned": environment.variables({"threads": 1, "portable": False}),
    "MKL AVX2": {**PINNED, "MKL_CBWR": "AVX2"},
    "portable": PINNED,
}
EMULATED = ("Haswell", "EPYC-Rome")
SHAPES = ((800, 384, 384), (500, 1536, 384), (500, 384, 1536), (333, 384, 384), (40, 1536, 384), (7, 384, 384),
          (1536, 384, 800), (384, 1536, 1111), (100, 384, 128), (100, 30, 384), (384, 300, 17))  # fmt: skip
TIMED = (800, 1536, 384)


def compute(timed: bool) -> dict[str, Any]:
    """Digests of each operation over all shapes, and GFLOP/s of the two kinds of matrix product."""
    import numpy as np
    import torch
    from torch.nn import functional

    from redistill.models.linear import OneDnnLinear

    torch.set_num_threads(1)
    generator = np.random.Generator(np.random.PCG64(0))

    def random(*shape: int) -> torch.Tensor:
        return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))

    found: dict[str, list[str]] = {}

    def keep(name: str, tensor: torch.Tensor) -> None:
        digest = hashlib.sha256(tensor.detach().contiguous().numpy().tobytes()).hexdigest()[:12]
        found.setdefault(name, []).append(digest)

    for rows, outputs, inputs in SHAPES:
        x, weight = random(rows, inputs), random(outputs, inputs)
        layer = OneDnnLinear(inputs, outputs, bias=True)
        layer.load_state_dict({"weight": weight, "bias": random(outputs)})
        x.requires_grad_()
        y = layer(x)
        y.backward(random(rows, outputs))
        for name, tensor in (("forward", y), ("input gradient", x.grad), ("weight gradient", layer.weight.grad)):
            assert tensor is not None
            keep(f"linear layer through oneDNN, {name}", tensor)
        keep("product through MKL", x.detach() @ weight.T)
        keep("transposed product through MKL", x.detach().T.contiguous().T @ weight.T)
    heads = random(8, 12, 25, 32)
    keep("batched product through MKL", heads @ heads.transpose(-1, -2))
    for name, function in (("exp", torch.exp), ("gelu", functional.gelu), ("softmax", lambda t: t.softmax(-1))):
        keep(name, function(heads))
    for batch, channels, filters in ((32, 1, 16), (17, 16, 32), (64, 32, 64)):
        image, kernel = random(batch, channels, 8, 8), random(filters, channels, 3, 3)
        keep("convolution", functional.conv2d(image, kernel, padding=1))
    result: dict[str, Any] = {"digests": {name: "".join(parts) for name, parts in found.items()}}
    if timed:
        rows, outputs, inputs = TIMED
        x, layer = random(rows, inputs), OneDnnLinear(inputs, outputs)
        flops = 2 * rows * outputs * inputs
        result["gflops"] = {
            "linear layer through oneDNN": round(flops / _seconds(lambda: layer(x)) / 1e9, 1),
            "product through MKL": round(flops / _seconds(lambda: x @ layer.weight.T) / 1e9, 1),
        }
    return result


def _seconds(function: Any) -> float:
    """Median of 30 calls after 5."""
    times = []
    for _ in range(35):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return sorted(times[5:])[15]


def _elsewhere(variables: dict[str, str], processor: str | None) -> dict[str, Any]:
    """`compute` in a process of its own, natively or on an emulated processor."""
    python = [os.path.realpath(sys.executable), __file__, "--compute"]
    command = ["qemu-x86_64", "-cpu", processor, *python] if processor else [*python, "--timed"]
    packages = os.pathsep.join(path for path in sys.path if path)
    child = {**os.environ, **variables, "PYTHONPATH": packages}
    done = subprocess.run(command, env=child, capture_output=True, text=True, timeout=1200, check=True)
    value: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return value


def main() -> None:
    root, emulators = find_root(Path(__file__).parent), EMULATED if shutil.which("qemu-x86_64") else ()
    modes = {}
    for mode, variables in MODES.items():
        native = _elsewhere(variables, None)
        differ = {}
        for processor in emulators:
            there = _elsewhere(variables, processor)["digests"]
            differ[processor] = sorted(name for name, digest in native["digests"].items() if there[name] != digest)
            print(f"{mode}: {processor} differs in {differ[processor] or 'nothing'}", flush=True)
        modes[mode] = {"gflops": native["gflops"], "differs from this machine on": differ}
    result = {"command": "python benchmarks/portable.py", "machine": record.machine(), "modes": modes}
    store.write_atomically(root / "benchmarks" / "results" / "portable.json", store.pretty(result))


if __name__ == "__main__":
    if "--compute" in sys.argv:
        print(json.dumps(compute("--timed" in sys.argv)))
    else:
        main()
