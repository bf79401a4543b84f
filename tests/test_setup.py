"""Set-up: the lock covers pyproject.toml; envs/setup.sh makes, keeps and mends .venv, or says why not."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
TOOLS = """
    awk bash cat chmod comm cp df dirname find flock grep head ls mkdir mv rm sed sha256sum sleep sort tail
    touch tr wc
"""

# Stands in for Python: knows its version, makes a .venv of itself, and "installs" what a lock names.
FAKE_PYTHON = r"""#!/usr/bin/env bash
version=@VERSION@
echo "$*" >>"$CALLS"
case "$*" in
    "-c import sys"*) echo "$version ${FAKE_BASE:-$0}" ;;
    "-c import ensurepip"*) [[ -z ${FAKE_NO_VENV:-} ]] ;;
    "-m venv "*)
        mkdir -p "$3/bin" "$3/lib/python3.11/site-packages"
        touch "$3/pyvenv.cfg"
        cp "$0" "$3/bin/python"
        ;;
    *" list --format=freeze"*)
        for found in .venv/lib/python3.11/site-packages/*.dist-info; do
            name=${found##*/} && echo "${name%%-*}==1"
        done
        ;;
    *" uninstall --yes "*) rm -r ".venv/lib/python3.11/site-packages/${!#}"-*.dist-info ;;
    *" --editable "*) touch .venv/bin/redistill && chmod +x .venv/bin/redistill ;;
    *" install "*)
        if [[ -n ${FAKE_PIP_SAYS:-} ]]; then
            echo "$FAKE_PIP_SAYS"
            exit 1
        fi
        [[ -z ${FAKE_PIP_SLEEP:-} ]] || { touch installing && sleep "$FAKE_PIP_SLEEP"; }
        sed -nE 's/^([a-z]+)==([0-9.]+).*/\1-\2.dist-info/p' "${!#}" |
            while read -r package; do
                rm -rf ".venv/lib/python3.11/site-packages/${package%%-*}"-*.dist-info
                mkdir -p ".venv/lib/python3.11/site-packages/$package"
            done
        ;;
esac
"""


class Checkout:
    """A miniature of the repository, with a PATH that holds only what the test puts there."""

    def __init__(self, root: Path):
        self.root = root / "a checkout"
        self.bin = root / "bin"
        self.calls = root / "calls"
        self.site = self.root / ".venv/lib/python3.11/site-packages"
        (self.root / "envs").mkdir(parents=True)
        self.bin.mkdir()
        shutil.copy(ROOT / "envs/setup.sh", self.root / "envs")
        (self.root / "pyproject.toml").write_text("[project]\nname = 'redistill'\n")
        self.lock("numpy==2.0", "rich==1.0")
        for tool in TOOLS.split():
            if found := shutil.which(tool):
                (self.bin / tool).symlink_to(found)

    def lock(self, *packages: str) -> None:
        lines = [f"{package} \\\n    --hash=sha256:{'0' * 64}\n" for package in packages]
        (self.root / "envs/requirements.lock").write_text("".join(lines))

    def python(self, name: str, version: str) -> Path:
        path = self.bin / name
        path.write_text(FAKE_PYTHON.replace("@VERSION@", version))
        path.chmod(0o755)
        return path

    def environment(self, settings: dict[str, str]) -> dict[str, str]:
        kept = {"PATH": str(self.bin), "CALLS": str(self.calls), "REDISTILL_MIN_FREE_GB": "0"}
        return kept | settings

    def setup(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "envs/setup.sh", *arguments]
        return subprocess.run(
            command,
            cwd=self.root,
            env=self.environment(settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def start(self, **settings: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "envs/setup.sh"],
            cwd=self.root,
            env=self.environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def installs(self) -> int:
        """How often pip was asked to install the lock."""
        return self.calls.read_text().count("-r envs/requirements.lock") if self.calls.exists() else 0

    def installed(self) -> set[str]:
        return {path.name.removesuffix(".dist-info") for path in self.site.glob("*.dist-info")}

    def wait_for(self, path: Path) -> None:
        deadline = time.monotonic() + 30
        while not path.exists():
            assert time.monotonic() < deadline, f"{path} did not appear"
            time.sleep(0.02)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def locked() -> dict[str, str]:
    text = (ROOT / "envs/requirements.lock").read_text()
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", text, re.MULTILINE))


def direct_dependencies() -> list[Requirement]:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = pyproject["project"]["dependencies"] + pyproject["project"]["optional-dependencies"]["dev"]
    return [Requirement(line) for line in listed + pyproject["build-system"]["requires"]]


@pytest.mark.parametrize("dependency", direct_dependencies(), ids=lambda dependency: dependency.name)
def test_lock_satisfies_pyproject(dependency: Requirement) -> None:
    version = locked().get(canonicalize_name(dependency.name))
    assert version is not None, f"{dependency.name} is not in the lock: run make lock"
    assert dependency.specifier.contains(version, prereleases=True)


def test_every_locked_package_is_pinned_and_hashed() -> None:
    text = (ROOT / "envs/requirements.lock").read_text()
    code = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(str.strip, code.splitlines()):
        assert re.fullmatch(r"[A-Za-z0-9._-]+==\S+(\s+--hash=sha256:[0-9a-f]{64})+\s*", line), line[:80]


def test_lock_and_pyproject_name_no_package_index() -> None:
    for name in ("envs/requirements.lock", "pyproject.toml", "envs/setup.sh", "envs/lock.sh", "Makefile"):
        assert not re.search(r"https?://|--(extra-)?index-url|--find-links", (ROOT / name).read_text()), name


def test_python_older_than_3_11_is_refused_in_one_sentence(checkout: Checkout) -> None:
    checkout.python("python3", "3.9.18")
    done = checkout.setup()
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1
    assert "needs Python 3.11 or newer" in done.stderr
    assert "python3 is 3.9.18" in done.stderr
    assert not (checkout.root / ".venv").exists()


def test_no_python_at_all_is_refused(checkout: Checkout) -> None:
    done = checkout.setup()
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr


def test_newer_python_is_tried_with_a_warning(checkout: Checkout) -> None:
    checkout.python("python3", "3.13.0")
    done = checkout.setup("--check-only")
    assert done.returncode == 0
    assert "Python 3.13.0; redistill is tested on 3.11 only" in done.stderr
    assert not (checkout.root / ".venv").exists()


def test_python_3_11_is_preferred_and_gives_no_warning(checkout: Checkout) -> None:
    checkout.python("python3", "3.13.0")
    expected = checkout.python("python3.11", "3.11.9")
    done = checkout.setup("--print-python")
    assert done.stdout.strip() == str(expected)
    assert checkout.setup("--check-only").stderr == ""


def test_newer_python_is_found_when_python3_is_too_old(checkout: Checkout) -> None:
    checkout.python("python3", "3.9.18")
    expected = checkout.python("python3.12", "3.12.1")
    assert checkout.setup("--print-python").stdout.strip() == str(expected)


def test_python_variable_decides_and_is_not_passed_over(checkout: Checkout) -> None:
    checkout.python("python3.11", "3.11.9")
    old = checkout.python("chosen", "3.10.1")
    done = checkout.setup("--check-only", PYTHON=str(old))
    assert done.returncode != 0
    assert "3.10.1" in done.stderr
    done = checkout.setup("--check-only", PYTHON="no-such-python")
    assert done.returncode != 0
    assert "no-such-python does not run" in done.stderr


def test_python_of_an_active_environment_is_traced_to_its_base(checkout: Checkout) -> None:
    checkout.python("python3.11", "3.11.9")
    base = "/somewhere/else with a space/python3.11"
    assert checkout.setup("--print-python", FAKE_BASE=base).stdout.strip() == base


def test_python_without_venv_names_the_missing_package(checkout: Checkout) -> None:
    checkout.python("python3.11", "3.11.2")
    done = checkout.setup(FAKE_NO_VENV="1")
    assert done.returncode != 0
    assert "python3.11-venv" in done.stderr


def test_too_little_disk_is_said_before_anything_is_installed(checkout: Checkout) -> None:
    checkout.python("python3.11", "3.11.9")
    for arguments in ([], ["--check-only"]):
        done = checkout.setup(*arguments, REDISTILL_MIN_FREE_GB="99999999")
        assert done.returncode != 0
        assert "needs 99999999 GB of free disk" in done.stderr
    assert checkout.installs() == 0


def test_setup_installs_the_lock_with_hashes_then_the_project_alone(checkout: Checkout) -> None:
    checkout.python("python3.11", "3.11.9")
    done = checkout.setup()
    assert done.returncode == 0, done.stderr
    assert checkout.installed() == {"numpy-2.0", "rich-1.0"}
    of_lock, of_project = [call for call in checkout.calls.read_text().splitlines() if " install " in call]
    assert "--require-hashes" in of_lock
    assert "--no-index --no-deps --no-build-isolation --editable ." in of_project


def test_build_tools_come_first_and_the_largest_packages_in_parts(checkout: Checkout) -> None:
    checkout.python("python3.11", "3.11.9")
    checkout.lock("numpy==2.0", "torch==2.0", "torchvision==1.0", "setuptools==84.0")
    assert checkout.setup().returncode == 0
    calls = [call for call in checkout.calls.read_text().splitlines() if " install " in call]
    of_tools, of_torch, of_lock, _ = calls
    for call in (of_tools, of_torch, of_lock):
        assert "--require-hashes" in call
    assert "requirements.lock" not in of_tools + of_torch
    assert "--no-build-isolation -r envs/requirements.lock" in of_lock
    assert checkout.installed() == {"numpy-2.0", "torch-2.0", "torchvision-1.0", "setuptools-84.0"}


def test_setup_does_nothing_when_nothing_changed(checkout: Checkout) -> None:
    checkout.python("python3.11", "3.11.9")
    checkout.setup()
    done = checkout.setup(REDISTILL_MIN_FREE_GB="99999999")
    assert done.returncode == 0
    assert done.stdout == "setup: nothing to do\n"
    assert checkout.installs() == 1


def test_changed_lock_is_installed_and_what_it_dropped_is_removed(checkout: Checkout) -> None:
    checkout.python("python3.11", "3.11.9")
    checkout.setup()
    checkout.lock("numpy==2.0", "pandas==3.0")
    done = checkout.setup(REDISTILL_MIN_FREE_GB="99999999")
    assert done.returncode == 0, done.stderr
    assert checkout.installed() == {"numpy-2.0", "pandas-3.0"}
    assert "rich" in done.stdout


def test_changed_pyproject_installs_only_the_project(checkout: Checkout) -> None:
    checkout.python("python3.11", "3.11.9")
    checkout.setup()
    (checkout.root / "pyproject.toml").write_text("[project]\nname = 'redistill'\nversion = '2'\n")
    assert "nothing to do" not in checkout.setup().stdout
    assert checkout.installs() == 1
    assert "nothing to do" in checkout.setup().stdout


def test_package_that_was_removed_or_replaced_is_put_back(checkout: Checkout) -> None:
    checkout.python("python3.11", "3.11.9")
    checkout.setup()
    (checkout.site / "rich-1.0.dist-info").rename(checkout.site / "rich-9.9.dist-info")
    assert checkout.setup().returncode == 0
    assert checkout.installs() == 2
    assert "rich-1.0" in checkout.installed()


def test_broken_interpreter_gives_a_fresh_environment(checkout: Checkout) -> None:
    checkout.python("python3.11", "3.11.9")
    checkout.setup()
    (checkout.root / ".venv/bin/python").unlink()
    (checkout.root / ".venv/left-over").touch()
    assert checkout.setup().returncode == 0
    assert not (checkout.root / ".venv/left-over").exists()
    assert checkout.setup().stdout == "setup: nothing to do\n"


def test_moved_checkout_gives_a_fresh_environment(checkout: Checkout) -> None:
    checkout.python("python3.11", "3.11.9")
    checkout.setup()
    checkout.root = checkout.root.rename(checkout.root.with_name("moved"))
    assert checkout.setup().returncode == 0
    assert checkout.installs() == 2


def test_another_python_gives_a_fresh_environment(checkout: Checkout) -> None:
    checkout.python("python3.11", "3.11.9")
    checkout.setup()
    newer = checkout.python("python3.12", "3.12.1")
    assert checkout.setup().stdout == "setup: nothing to do\n"
    assert checkout.setup(PYTHON=str(newer)).returncode == 0
    assert checkout.installs() == 2
    assert checkout.setup(PYTHON=str(newer)).stdout == "setup: nothing to do\n"


def test_folder_that_is_no_environment_is_left_alone(checkout: Checkout) -> None:
    checkout.python("python3.11", "3.11.9")
    (checkout.root / ".venv").mkdir()
    (checkout.root / ".venv/thesis.txt").write_text("years of work")
    done = checkout.setup()
    assert done.returncode != 0
    assert "move it away" in done.stderr
    assert (checkout.root / ".venv/thesis.txt").exists()


@pytest.mark.parametrize(
    ("pip_says", "sentence"),
    [
        ("Retrying after connection broken by 'NewConnectionError()'", "not reach a package index"),
        ("ERROR: No version satisfies rich==1.0 (from versions: none)", "not reach a package index"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "its hash differs"),
        ("ERROR: Could not install packages: [Errno 28] No space left on device", "the disk is full"),
        ("ERROR: something else", "all it said is in .venv/setup.log"),
        ('Traceback (most recent call last):\n  File "a.py", line 1\n    x()\nOSError: boom', "pip failed"),
    ],
)
def test_failure_of_pip_is_named_and_the_next_setup_starts_again(
    checkout: Checkout, pip_says: str, sentence: str
) -> None:
    checkout.python("python3.11", "3.11.9")
    done = checkout.setup(FAKE_PIP_SAYS=pip_says)
    assert done.returncode != 0
    assert sentence in done.stderr.splitlines()[-1]
    assert pip_says.splitlines()[-1] in done.stderr
    assert "Traceback" not in done.stderr
    assert pip_says in (checkout.root / ".venv/setup.log").read_text()
    (checkout.root / ".venv/left-over").touch()
    assert checkout.setup().returncode == 0
    assert not (checkout.root / ".venv/left-over").exists()


def test_failed_download_leaves_a_finished_environment_usable(checkout: Checkout) -> None:
    checkout.python("python3.11", "3.11.9")
    checkout.setup()
    before = (checkout.root / "envs/requirements.lock").read_text()
    checkout.lock("numpy==3.0")
    assert checkout.setup(FAKE_PIP_SAYS="Connection refused").returncode != 0
    (checkout.root / "envs/requirements.lock").write_text(before)
    assert checkout.setup().stdout == "setup: nothing to do\n"


def test_killed_setup_starts_afresh_next_time(checkout: Checkout) -> None:
    checkout.python("python3.11", "3.11.9")
    running = checkout.start(FAKE_PIP_SLEEP="60")
    checkout.wait_for(checkout.root / "installing")
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate(timeout=30)
    (checkout.root / ".venv/half-made").touch()
    assert checkout.setup().returncode == 0
    assert not (checkout.root / ".venv/half-made").exists()
    assert checkout.setup().stdout == "setup: nothing to do\n"


@pytest.mark.skipif(not shutil.which("flock"), reason="flock is not here")
def test_two_setups_at_once_install_once(checkout: Checkout) -> None:
    checkout.python("python3.11", "3.11.9")
    first = checkout.start(FAKE_PIP_SLEEP="1")
    checkout.wait_for(checkout.root / "installing")
    second = checkout.setup()
    assert first.wait(timeout=30) == 0
    first.communicate(timeout=30)
    assert second.returncode == 0, second.stderr
    assert "waiting for it" in second.stdout
    assert second.stdout.endswith("setup: nothing to do\n")
    assert checkout.installs() == 1


def test_unreachable_index_is_said_with_the_real_pip(checkout: Checkout) -> None:
    done = checkout.setup(
        PYTHON=sys.executable,
        PIP_CONFIG_FILE=os.devnull,
        PIP_INDEX_URL="http://127.0.0.1:9",
        PIP_NO_CACHE_DIR="1",
        PIP_RETRIES="0",
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "could not reach a package index" in done.stderr or sys.version_info[:2] != (3, 11)
    assert "Install one" not in done.stderr


def test_wrong_hash_is_said_with_the_real_pip(checkout: Checkout) -> None:
    wheel = checkout.bin.with_name("wheels") / "rich-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(b"not the wheel that was locked")
    checkout.lock("rich==1.0")
    done = checkout.setup(
        PYTHON=sys.executable,
        PIP_CONFIG_FILE=os.devnull,
        PIP_FIND_LINKS=str(wheel.parent),
        PIP_NO_CACHE_DIR="1",
        PIP_NO_INDEX="1",
    )
    assert done.returncode != 0
    assert "its hash differs" in done.stderr
    assert "Traceback" not in done.stderr
