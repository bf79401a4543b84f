"""Pin what a processor would otherwise choose. Must run before numpy or torch is imported.

What was found by trial (docs/determinism.md): with these settings, oneDNN's AVX2 kernels, MKL's compatible ones and
torch's own AVX2 kernels give the same bytes on Intel's and AMD's processors. MKL's faster modes do not: outside
COMPATIBLE, small products and `exp` differ between the two.
"""

import ctypes
import hashlib
import os
import sys
from typing import Any

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
M_MMAP_THRESHOLD, LARGE_BLOCK = -3, 4 * 2**20  # the first as in malloc.h
KERNELS = 64  # a step of a transformer has half as many, in bfloat16; in float32, a quarter
PORTABLE = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}


def variables(runtime: dict[str, Any]) -> dict[str, str]:
    """Environment variables of a study's runtime."""
    pinned = dict.fromkeys(THREADS, str(runtime["threads"]))
    if runtime["device"] == "cuda":
        pinned["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # without it, cuBLAS has no deterministic form
    return {**pinned, **PORTABLE} if runtime["portable"] else pinned


def devices(runtime: dict[str, Any]) -> int:
    """How many devices compute one thing together. What was made before there was the word says `processes`."""
    together: int = runtime.get("devices", runtime.get("processes", 1))
    return together


def pin(runtime: dict[str, Any]) -> None:
    """Set the variables of the runtime for this process.

    Raises:
        RuntimeError: numpy or torch has been imported already, so the setting would come too late.
    """
    wanted = variables(runtime)
    late = [name for name in ("numpy", "torch") if name in sys.modules]
    if late and any(os.environ.get(name) != value for name, value in wanted.items()):
        raise RuntimeError(f"{', '.join(late)} imported before the runtime was pinned")
    os.environ.update(wanted)


def is_pinned(runtime: dict[str, Any]) -> bool:
    return all(os.environ.get(name) == value for name, value in variables(runtime).items())


def give_back_large_blocks() -> None:
    """Ask the C library to give a step's large blocks back when they are freed, so that memory stays flat.

    It keeps them otherwise, and where every step has other shapes, later blocks do not fit into the holes of earlier
    ones. Smaller blocks are kept: faulting them in again costs time. Libraries other than glibc have no such switch and
    are left as they are.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)


def keep_few_kernels() -> None:
    """Ask oneDNN to keep the kernels of about one step, where every step has other shapes; before it makes the first.

    It keeps a thousand otherwise, half a megabyte each, scattered over the memory that steps take and give back.
    """
    os.environ.update(dict.fromkeys(("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"), str(KERNELS)))


def derived_seed(seed: int, purpose: str) -> int:
    """A seed of its own for each purpose (initialisation, order, dropout), so that one does not shift another."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
