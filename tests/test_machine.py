"""What a record says of machine, environment, energy and code: what is there, and nothing that is not."""

import ctypes
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from redistill.provenance import checkout, energy, machine, nvidia
from redistill.provenance.keys import canonical

Run = Callable[..., subprocess.CompletedProcess[str]]
IMAGE = "sha256:" + "0a" * 32


# --- environment -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (IMAGE, IMAGE),
        (f"registry.example.org/me/redistill@{IMAGE}\n", IMAGE),
        ("registry.example.org/me/redistill:latest", None),
        (IMAGE[:-1], None),
        ("", None),
    ],
)
def test_of_a_container_there_is_a_digest_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, found: str | None
) -> None:
    monkeypatch.setattr(machine, "IMAGE_FILE", tmp_path / "image")
    monkeypatch.setenv(machine.IMAGE_VARIABLE, said)
    assert machine.image() == found
    monkeypatch.delenv(machine.IMAGE_VARIABLE)
    assert machine.image() is None
    (tmp_path / "image").write_text(said)
    assert machine.image() == found


def test_what_is_installed_is_read_once_and_again_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = machine.installed(tmp_path)
    assert found["pytest"] == version("pytest")
    with monkeypatch.context() as patch:
        patch.setattr(machine, "_read_all", lambda: {"read": "again"})
        assert machine.installed(tmp_path) == found
    site = tmp_path / "site"
    for number in ("1.0", "2.0"):
        (site / f"quixote-{number}.dist-info").mkdir(parents=True)
        (site / f"quixote-{number}.dist-info" / "METADATA").write_text(
            f"Name: quixote\nVersion: {number}\n\nName: no\n"
        )
        monkeypatch.setattr(sys, "path", [str(site), *[p for p in sys.path if p != str(site)]])
        assert machine.installed(tmp_path) == {**found, "quixote": number}
        (site / f"quixote-{number}.dist-info" / "METADATA").unlink()
        (site / f"quixote-{number}.dist-info").rmdir()
    for text in ("", "[]", '{"stamp": 1}'):
        (tmp_path / "store" / "work" / "installed.json").write_text(text)
        assert machine.installed(tmp_path) == found


def test_of_two_with_a_name_the_one_that_is_imported_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, number in (("first", "1.0"), ("second", "2.0")):
        (tmp_path / folder / "quixote.dist-info").mkdir(parents=True)
        text = f"Name: quixote\nVersion: {number}\n"
        (tmp_path / folder / "quixote.dist-info" / "METADATA").write_text(text)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "first"), str(tmp_path / "second")])
    assert machine.installed(tmp_path) == {"quixote": "1.0"}


def test_libraries_for_linear_algebra_are_as_another_finds_them(python: Run) -> None:
    script = """
import json, scipy.linalg, threadpoolctl
from redistill.provenance import machine
theirs = [e for e in threadpoolctl.threadpool_info() if e["user_api"] == "blas"]
print(json.dumps([machine.blas(), theirs]))
"""
    done = python("-c", script)
    assert done.returncode == 0, done.stderr
    ours, theirs = json.loads(done.stdout)
    assert ours
    expected = [
        {"name": e["internal_api"], "version": e["version"], "kernels": e["architecture"], "threads": e["num_threads"]}
        for e in theirs
    ]
    assert ours == sorted(expected, key=lambda e: e["version"])


def test_of_libraries_that_are_not_loaded_nothing_is_said(python: Run) -> None:
    done = python("-c", "from redistill.provenance import machine; print(machine.blas())")
    assert done.stdout == "[]\n", done.stderr


def test_torch_says_which_libraries_are_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Torch:
        __version__ = "2.14.1+cu130"

        class __config__:  # noqa: N801
            @staticmethod
            def show() -> str:
                return (
                    "PyTorch built with:\n  - Intel(R) oneAPI Math Kernel Library Version 2024.2-Product Build 2024 "
                    "for Intel(R) 64 architecture applications\n  - Intel(R) MKL-DNN v3.12.0 (Git Hash 80afa7)\n"
                    "  - Build settings: CXX_COMPILER=/opt/rh/c++, BLAS_INFO=mkl\n"
                )

        class backends:  # noqa: N801
            class cpu:  # noqa: N801
                get_cpu_capability = staticmethod(lambda: "AVX2")

        get_num_threads = staticmethod(lambda: 3)

    monkeypatch.setitem(sys.modules, "torch", Torch)
    monkeypatch.setattr(machine, "MAPS", Path("/nowhere"))
    assert machine.blas() == [
        {"name": "torch", "version": "2.14.1+cu130", "kernels": "AVX2", "threads": 3},
        {"name": "torch: mkl", "version": "2024.2-Product Build 2024", "kernels": None, "threads": 3},
        {"name": "torch: onednn", "version": "3.12.0 (Git Hash 80afa7)", "kernels": None, "threads": 3},
    ]


def test_a_machine_without_cpuinfo_is_described_as_far_as_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "none")
    assert set(machine.machine()) - {"devices"} == {"system", "machine", "processor", "cores"}


# --- energy ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Counters of two processors, of a part of one, and of the whole machine."""
    for name, said in (("0", "package-0"), ("1", "package-1"), ("0:0", "dram"), ("2", "psys")):
        folder = tmp_path / f"intel-rapl:{name}"
        folder.mkdir()
        for file, text in (("name", said), ("energy_uj", 1_000_000), ("max_energy_range_uj", 65_000_000)):
            (folder / file).write_text(f"{text}\n")
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    monkeypatch.setattr(energy, "EVERY", 3600.0)
    return tmp_path


def count(powercap: Path, zone: str, microjoules: int) -> None:
    new = powercap / "new"
    new.write_text(f"{microjoules}\n")
    new.replace(powercap / f"intel-rapl:{zone}" / "energy_uj")


def test_processors_are_added_up_and_their_parts_are_not(powercap: Path) -> None:
    meter = energy.Meter()
    for zone, now in (("0", 3_500_000), ("1", 2_000_000), ("0:0", 9_000_000), ("2", 50_000_000)):
        count(powercap, zone, now)
    assert meter.joules() == {"processors": 3.5}


def test_a_counter_that_wraps_around_again_and_again_is_followed(
    powercap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = energy.Meter()
    for now in (60_000_000, 10_000_000, 5_000_000):  # 59, then 15, then 60
        count(powercap, "0", now)
        meter._look()
    assert meter.joules() == {"processors": 134.0}


def test_it_is_looked_at_in_between(powercap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "EVERY", 0.001)
    meter = energy.Meter()
    count(powercap, "0", 64_000_000)
    seen = energy.threading.Event()
    while meter._used < 63_000_000:
        seen.wait(0.001)
    count(powercap, "0", 1_000_000)
    assert meter.joules() == {"processors": 65.0}


@pytest.mark.parametrize("when", ["before", "on the way", "no range"])
def test_where_a_counter_cannot_be_read_nothing_is_made_up(powercap: Path, when: str) -> None:
    lost = powercap / "intel-rapl:1" / ("max_energy_range_uj" if when == "no range" else "energy_uj")
    if when != "on the way":
        lost.unlink()
    meter = energy.Meter()
    if when == "on the way":
        lost.write_text("")
        meter._look()
    count(powercap, "0", 5_000_000)
    count(powercap, "1", 500_000)
    assert meter.joules() is None


def test_a_machine_without_counters_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    assert energy.Meter().joules() is None


class Management:
    """NVIDIA's library as far as it is asked, with two devices, of which the second counts no energy."""

    def __init__(self) -> None:
        self.used = 5_000_000

    def nvmlSystemGetDriverVersion(self, name: Any, length: int) -> int:  # noqa: N802
        name.value = b"580.65.06"
        return 0

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:  # noqa: N802
        count._obj.value = 2
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, place: int, device: Any) -> int:  # noqa: N802
        device._obj.value = place + 1
        return 0

    def nvmlDeviceGetUUID(self, device: ctypes.c_void_p, name: Any, length: int) -> int:  # noqa: N802
        name.value = f"GPU-{device.value}".encode()
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, device: ctypes.c_void_p, used: Any) -> int:  # noqa: N802
        used._obj.value = self.used
        return 0 if device.value == 1 else 3


def test_devices_that_count_are_asked_where_the_job_is_to_use_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Management()
    monkeypatch.setattr(nvidia, "_library", lambda: library)
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    monkeypatch.setattr(energy, "_visible", lambda: ["1", "2"])
    assert nvidia.driver() == "580.65.06"
    assert nvidia.millijoules() == {"1": 5_000_000}
    meter, idle = energy.Meter("cuda"), energy.Meter("cpu")
    library.used += 12_345
    assert meter.joules() == {"devices": 12.345}
    assert idle.joules() is None


def test_without_the_library_there_is_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(nvidia.ctypes, "CDLL", missing)
    nvidia._library.cache_clear()
    assert nvidia.driver() is None
    assert nvidia.millijoules() == {}
    nvidia._library.cache_clear()


# --- code ------------------------------------------------------------------------------------------------------------


def git(root: Path, *arguments: str) -> str:
    named = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *named, "-C", root, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project in a folder of a repository."""
    root = tmp_path / "repository" / "project"
    for name in ("src/a.py", "src/name with ü.py", "results/s/table.md"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("1\n", encoding="utf-8")
    git(root, "init", "--quiet", "..")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "x")
    return root


def test_the_code_is_as_in_the_commit_whatever_jobs_have_written(project: Path) -> None:
    clean = {"commit": git(project, "rev-parse", "HEAD"), "clean": True, "diff": None, "untracked": False}
    assert checkout.code(project) == clean
    (project / "results" / "s" / "table.md").write_text("2\n")
    (project / "results" / "s" / "new.py").write_text("2\n")
    (project / "store" / "runs").mkdir(parents=True)
    (project / "store" / "runs" / "x.py").write_text("2\n")
    assert checkout.code(project) == clean


def test_what_differs_from_the_commit_has_a_digest_that_anybody_can_make(project: Path) -> None:
    (project / "src" / "a.py").unlink()
    (project / "src" / "name with ü.py").write_text("2\n", encoding="utf-8")
    said = checkout.code(project)
    digest = hashlib.sha256(b"2\n").hexdigest()
    expected = canonical({"project/src/a.py": None, "project/src/name with ü.py": digest})
    assert (said["clean"], said["diff"]) == (False, hashlib.sha256(expected.encode()).hexdigest())
    git(project, "add", "--all")
    assert checkout.code(project) == said  # staged or not
    (project / "src" / "name with ü.py").write_text("3\n", encoding="utf-8")
    assert checkout.code(project)["diff"] != said["diff"]


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("src/new.py", True),
        ("new/deep/rules.smk", True),
        ("notes.txt", False),
        ("data/x.csv", False),
        (".x/y.py", True),
    ],
)
def test_code_that_git_does_not_know_is_seen(project: Path, name: str, counts: bool) -> None:
    (project / name).parent.mkdir(parents=True, exist_ok=True)
    (project / name).write_text("x")
    assert checkout.code(project)["untracked"] is counts
    (project.parent / ".gitignore").write_text(f"project/{name}\n")
    assert checkout.code(project)["untracked"] is False


def test_without_git_or_a_commit_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = dict.fromkeys(("commit", "clean", "diff", "untracked"))
    assert checkout.code(tmp_path) == unknown
    git(tmp_path, "init", "--quiet")
    assert checkout.code(tmp_path)["commit"] is None
    monkeypatch.setenv("PATH", "")
    assert checkout.code(tmp_path) == unknown
