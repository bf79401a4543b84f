"""The machine and what runs on it, as far as it can matter to numbers and speed; no name of user, host or path."""

import ctypes
import json
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from redistill.environment import PORTABLE, THREADS
from redistill.provenance import nvidia, store

IMAGE_VARIABLE, IMAGE_FILE = "REDISTILL_IMAGE", Path(sys.prefix, "redistill-image")  # one is set by a build
PINNED = (*THREADS, *PORTABLE, "CUBLAS_WORKSPACE_CONFIG")
CPUINFO, MAPS = Path("/proc/cpuinfo"), Path("/proc/self/maps")
_METADATA = (".dist-info", ".egg-info", ".egg", ".egg-link")
_BLAS = {"libopenblas": "openblas", "libscipy_openblas": "openblas", "libmkl_rt": "mkl", "libblis": "blis",
         "libflexiblas": "flexiblas", "libarmpl": "armpl"}  # fmt: skip
_IN_TORCH = re.compile(
    r"^  - (?:Intel\(R\)(?: oneAPI)? (?P<mkl>Math Kernel Library)|Intel\(R\) (?P<onednn>MKL-DNN))"
    r" (?:Version )?v?(?P<version>.*?)(?: for Intel.*)?$",
    re.MULTILINE,
)


def machine() -> dict[str, Any]:
    """The processor and the devices."""
    found: dict[str, Any] = {"system": platform.system(), "machine": platform.machine(), "processor": ""}
    found["cores"] = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if CPUINFO.is_file():
        lines = dict(line.split(":", 1) for line in CPUINFO.read_text().split("\n\n")[0].splitlines() if ":" in line)
        entries = {key.strip(): value.strip() for key, value in lines.items()}
        found["processor"] = entries.get("model name", "")
        found["vendor"] = entries.get("vendor_id", "")
        found["family"], found["model"] = entries.get("cpu family", ""), entries.get("model", "")
        wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "fma")
        found["features"] = [flag for flag in wanted if flag in entries.get("flags", "").split()]
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["devices"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return found


def environment(root: Path, device: str = "cpu") -> dict[str, Any]:
    """Python and its C library, every installed distribution, the digests of the lock file and of the container's
    image, the pinned variables, and the libraries for linear algebra that are loaded.
    """
    lock = root / "envs" / "requirements.lock"
    return {
        "python": platform.python_version(),
        "libc": _libc(),
        "lock": store.sha256_file(lock) if lock.is_file() else None,
        "image": image(),
        "packages": installed(root),
        "pinned": {name: os.environ[name] for name in PINNED if name in os.environ},
        "blas": blas(),
        "cuda": _cuda() if device == "cuda" else None,
    }


def _libc() -> str | None:
    with suppress(OSError, ValueError, AttributeError):
        return os.confstr("CS_GNU_LIBC_VERSION")
    return None


def image() -> str | None:
    """Digest of the container's image, where its build or whoever starts it has said so: `sha256:` and 64 digits."""
    said = os.environ.get(IMAGE_VARIABLE, "")
    with suppress(OSError, UnicodeDecodeError):
        said = said or IMAGE_FILE.read_text(encoding="utf-8")
    found = re.search(r"(?:^|@)(sha256:[0-9a-f]{64})$", said.strip())  # a name before it would name a registry
    return found[1] if found else None


def installed(root: Path) -> dict[str, str]:
    """Every installed distribution's version.

    To read them takes longer than many a job, so they are noted in store/work with the folders that say so, and read
    again when one of these is another, or of another time.
    """
    note = root / "store" / "work" / "installed.json"
    stamp = sha256(repr([sys.path, sorted(_metadata())]).encode()).hexdigest()
    with suppress(OSError, ValueError, LookupError, TypeError):
        noted = json.loads(note.read_text(encoding="utf-8"))
        if noted["stamp"] == stamp:
            return dict(noted["packages"])
    found = _read_all()
    with suppress(OSError):  # a store that only some can write to
        store.write_atomically(note, json.dumps({"stamp": stamp, "packages": found}), sync=False)
    return found


def _metadata() -> Iterator[tuple[str, int]]:
    for folder in sys.path:
        with suppress(OSError), os.scandir(folder or ".") as entries:
            yield from ((e.path, e.stat().st_mtime_ns) for e in entries if e.name.endswith(_METADATA))


def _read_all() -> dict[str, str]:
    """Names and versions from the heads of the metadata: to parse all of it would take half a second."""
    found: dict[str, str] = {}
    for package in distributions():
        head = (package.read_text("METADATA") or package.read_text("PKG-INFO") or "").partition("\n\n")[0]
        said = dict(line.partition(": ")[::2] for line in head.splitlines())
        found.setdefault(said.get("Name", ""), said.get("Version", ""))  # what stands first is what is imported
    found.pop("", None)
    return dict(sorted(found.items()))


def blas() -> list[dict[str, Any]]:
    """The libraries for linear algebra in this process: name, version, the kernels that were chosen, threads."""
    try:
        loaded = {line[73:] for line in MAPS.read_bytes().splitlines() if b"/lib" in line}
    except OSError:  # a system without it
        loaded = set()
    files = [(os.path.basename(os.fsdecode(path)), os.fsdecode(path)) for path in loaded]
    found = [_library(name, path) for file, path in files for start, name in _BLAS.items() if file.startswith(start)]
    torch = sys.modules.get("torch")
    if torch is not None:
        threads = torch.get_num_threads()
        for said in _IN_TORCH.finditer(torch.__config__.show()):
            name = "mkl" if said["mkl"] else "onednn"
            found.append({"name": f"torch: {name}", "version": said["version"], "kernels": None, "threads": threads})
        found.append({"name": "torch", "version": torch.__version__, "threads": threads,
                      "kernels": torch.backends.cpu.get_cpu_capability()})  # fmt: skip
    return sorted(found, key=lambda entry: (entry["name"], entry["version"] or ""))


def _library(name: str, path: str) -> dict[str, Any]:
    """What a library that is loaded says of itself; nothing is loaded for it."""
    said: dict[str, Any] = {"name": name, "version": None, "kernels": None, "threads": None}
    with suppress(OSError):
        library = ctypes.CDLL(path, mode=os.RTLD_NOLOAD)
        for start in ("openblas", "scipy_openblas"):
            for end in ("", "64_", "_64_"):
                config = getattr(library, f"{start}_get_config{end}", None)
                if config is not None:
                    kernels = getattr(library, f"{start}_get_corename{end}")
                    config.restype = kernels.restype = ctypes.c_char_p
                    words = config().decode().split()
                    said |= {"version": words[1], "kernels": kernels().decode(),
                             "threads": getattr(library, f"{start}_get_num_threads{end}")()}  # fmt: skip
    return said


def _cuda() -> dict[str, Any] | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    cudnn = torch.backends.cudnn.version()
    return {"runtime": torch.version.cuda, "cudnn": str(cudnn) if cudnn else None, "driver": nvidia.driver()}
