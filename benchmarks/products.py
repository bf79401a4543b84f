"""The machine's matrix products at the sizes of a student: python benchmarks/products.py THREADS DEVICE FILE."""

import json
import os
import sys
import time
from pathlib import Path

THREADS, DEVICE = int(sys.argv[1]), sys.argv[2]
os.environ.update({name: str(THREADS) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")})

import torch  # noqa: E402 the threads are said before

from redistill.provenance import record  # noqa: E402

TOKENS, HIDDEN, INNER = 32 * 53, 384, 1536


def gflops(dtype: torch.dtype) -> float:
    """Best of 15 turns through the forward and backward products of a layer: four of hidden size, two of the inner."""
    pairs = [(HIDDEN, HIDDEN)] * 4 + [(HIDDEN, INNER), (INNER, HIDDEN)]
    given = [
        tuple(torch.randn(*shape, dtype=dtype, device=DEVICE) for shape in ((TOKENS, i), (o, i), (TOKENS, o)))
        for i, o in pairs
    ]
    best = float("inf")
    for _ in range(15):
        began = time.perf_counter()
        for x, weight, grad in given:
            _ = x @ weight.T, grad @ weight, grad.T @ x
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return sum(6 * TOKENS * i * o for i, o in pairs) / best / 1e9


def main() -> None:
    torch.set_num_threads(THREADS)
    half = DEVICE == "cuda" or {"avx512_bf16", "amx_bf16"} & set(record.machine()["features"])
    found = {"float32": gflops(torch.float32), "bfloat16": gflops(torch.bfloat16) if half else None}
    Path(sys.argv[3]).write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
