"""Images without building one: what the Containerfile takes from the lock, and jobs that run in a container."""

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path

import pytest
import yaml
from nano_study import Nano, copy_project
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from redistill import container, specification
from redistill.errors import RedistillError
from redistill.plan import make_plan
from redistill.provenance import locked
from redistill.provenance.store import sha256_file

ROOT = Path(__file__).parents[1]
ENVS = ROOT / "envs"
CONTAINERFILE = (ENVS / "Containerfile").read_text(encoding="utf-8")
FINAL = CONTAINERFILE[CONTAINERFILE.rindex("\nFROM ") :]
DIGEST = "sha256:" + "1" * 64


def spoken(text: str) -> str:
    """A Containerfile without comments and with its long lines joined."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ")


# --- the Containerfile, the lock and the definition of Apptainer -----------------------------------------------------


def part(name: str) -> list[str]:
    command = ["awk", "-v", f"part={name}", "-f", str(ENVS / "parts.awk"), str(ENVS / "requirements.lock")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def pins_and_hashes(lines: list[str]) -> list[str]:
    return [line for line in lines if line.strip() and not line.strip().startswith("#")]


def test_the_layers_together_have_every_line_of_the_lock_once() -> None:
    parts = re.findall(r"^RUN .*install\.sh (\w+)", spoken(CONTAINERFILE), re.MULTILINE)
    assert parts == ["tools", "project", "cuda", "torch", "rest"]
    lines = [line for name in parts if name != "project" for line in part(name)]
    lock = (ENVS / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert sorted(pins_and_hashes(lines)) == sorted(pins_and_hashes(lock))
    assert {line.partition("==")[0] for line in part("torch") if "==" in line} == {"torch", "torchvision"}


def test_nothing_is_installed_but_the_lock_with_its_hashes_and_the_project() -> None:
    script = (ENVS / "install.sh").read_text(encoding="utf-8").replace("\\\n", " ")
    calls = re.findall(r"^ +install (.+)$", script, re.MULTILINE)
    assert [call for call in calls if "--require-hashes" not in call] == [
        "--root /project --no-index --editable /redistill"
    ]
    assert len(calls) == 3
    assert len(re.findall(r"pip install", script)) == 1
    assert all(option in script for option in ("--no-compile", "--no-deps", "--no-cache-dir"))
    assert not re.search(r"pip install|apt|curl|wget", spoken(CONTAINERFILE))


def test_the_image_runs_as_nobody_special_and_says_what_it_was_made_from() -> None:
    said = spoken(FINAL)
    assert re.findall(r"^USER (.+)$", said, re.MULTILINE) == ["1000:1000"]
    labels = dict(re.findall(r'([\w.]+)="([^"]*)"', said[said.index("LABEL ") :]))
    assert labels["org.opencontainers.image.revision"] == "${COMMIT}"
    assert labels["org.opencontainers.image.base.name"] == "${BASE}"
    assert labels["org.opencontainers.image.base.digest"] == "${BASE_DIGEST}"
    assert labels["redistill.lock"] == "${LOCK_DIGEST}"
    for name in ("COMMIT", "BASE", "BASE_DIGEST", "LOCK_DIGEST"):
        assert re.search(rf"^ARG {name}$", said, re.MULTILINE), name
        assert f"{name}=" in (ENVS / "image.sh").read_text(encoding="utf-8")


def test_secrets_are_mounted_and_what_changes_least_comes_first() -> None:
    runs = re.findall(r"^RUN (.+)$", spoken(FINAL), re.MULTILINE)
    assert [run.split()[-1] for run in runs] == ["cuda", "torch", "rest"]
    for run in runs:
        assert "--mount=type=secret,id=pip --mount=type=secret,id=ca " in run
        assert "--mount=type=bind,from=tools," in run
    assert not re.search(r"^(ENV|ARG|COPY).*(PIP_|secret)", spoken(CONTAINERFILE), re.MULTILINE)
    assert FINAL.index("install.sh rest") < FINAL.index("/project/opt") < FINAL.index("COPY --chown=1000:1000 . ")


def test_apptainers_definition_and_the_jobs_agree_with_the_containerfile() -> None:
    definition = (ENVS / "redistill.def").read_text(encoding="utf-8")
    path = re.findall(r"PATH=(\S+)", spoken(FINAL))
    assert re.findall(r"PATH=(\S+)", definition) == path
    assert f"{path[0].split(':')[0]}/python" == container.PYTHON
    said = dict(re.findall(r"^ +(org\.opencontainers\.image\.\w+) (.+)$", definition, re.MULTILINE))
    assert said
    assert all(f'{name}="{value}"' in FINAL for name, value in said.items())
    assert not re.search(r"^%(post|files|setup)", definition, re.MULTILINE)


def test_the_scripts_can_be_read_by_their_shells() -> None:
    for shell, script in (("bash", "image.sh"), ("sh", "install.sh")):
        done = subprocess.run([shell, "-n", str(ENVS / script)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


# --- lists of files --------------------------------------------------------------------------------------------------


@pytest.fixture
def files():
    spec = importlib.util.spec_from_file_location("files", ENVS / "files.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tree(top: Path) -> Path:
    (top / "a folder").mkdir(parents=True)
    (top / "a folder" / "file").write_text("x")
    (top / "link").symlink_to("a folder/file")
    return top


def test_two_trees_that_are_the_same_give_the_same_list_whatever_their_times(files, tmp_path: Path) -> None:
    first, second = tree(tmp_path / "1"), tree(tmp_path / "2")
    os.utime(second / "a folder" / "file", (0, 0))
    assert list(files.lines(first)) == list(files.lines(second))
    assert len(list(files.lines(first))) == 3


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda top: (top / "a folder" / "file").write_text("y"), "/a folder/file"),
        (lambda top: (top / "a folder").chmod(0o700), "/a folder"),
        (lambda top: (top / "link").unlink() or (top / "link").symlink_to("b"), "/link"),
        (lambda top: (top / "new").touch(), "/new"),
    ],
    ids=["content", "mode", "target", "file"],
)
def test_what_differs_between_two_images_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files, change: Callable[[Path], object], path: str
) -> None:
    first, second = tree(tmp_path / "1"), tree(tmp_path / "2")
    change(second)
    for name, top in (("1.list", first), ("2.list", second)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in files.lines(top)))
    lists = [str(tmp_path / name) for name in ("1.list", "2.list")]
    assert files.main(["compare", *lists]) == 1
    shown = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()[:-1]]
    assert {line[2:] for line in shown} == {path}
    assert files.main(["compare", lists[0], lists[0]]) == 0
    assert files.main([]) == 2


# --- which image, and how it is called -------------------------------------------------------------------------------


def test_an_image_is_a_file_or_has_a_digest(tmp_path: Path) -> None:
    (tmp_path / "redistill.sif").write_bytes(b"image")
    assert container.image(tmp_path, None) == str(tmp_path / "redistill.sif")
    assert container.image(tmp_path, "redistill.sif") == str(tmp_path / "redistill.sif")
    pulled = f"docker://registry.example.org/redistill@{DIGEST}"
    assert container.image(tmp_path, pulled) == pulled
    assert container.digest(tmp_path, pulled) == DIGEST
    with pytest.raises(RedistillError, match="by its digest, docker://redistill:latest@sha256"):
        container.image(tmp_path, "docker://redistill:latest")
    with pytest.raises(RedistillError, match="there is no image other.sif: mend"):
        container.image(tmp_path, "other.sif")
    (tmp_path / "redistill.sif").unlink()
    with pytest.raises(RedistillError, match="there is no image redistill.sif: `make sif` makes it"):
        container.image(tmp_path, None)


def test_a_file_is_digested_once_and_again_when_it_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "redistill.sif"
    file.write_bytes(b"image")
    first = container.digest(tmp_path, str(file))
    assert first == "sha256:" + hashlib.sha256(b"image").hexdigest()
    with monkeypatch.context() as patch:
        patch.setattr(container.store, "sha256_file", lambda path: "read again")
        assert container.digest(tmp_path, str(file)) == first
    file.write_bytes(b"another image")
    assert container.digest(tmp_path, str(file)) == "sha256:" + hashlib.sha256(b"another image").hexdigest()
    (tmp_path / "store" / "work" / "image.json").write_text("[]")
    assert container.digest(tmp_path, str(file)) == "sha256:" + hashlib.sha256(b"another image").hexdigest()


def test_outside_of_a_container_jobs_are_called_as_ever(tmp_path: Path) -> None:
    assert container.python(tmp_path, None) == f"exec {sys.executable}"
    assert not list(tmp_path.iterdir())


# What stands for apptainer: runs the command where it is, with this Python in the place of the image's.
APPTAINER = f"""#!/bin/bash
if [[ $1 == --version ]]; then echo "apptainer version 1.4.5"; exit; fi
printf '%s\\n' "$*" >>"${{0%/*}}/calls"
command=${{@: -1}}
there={container.PYTHON} here={sys.executable}
exec bash -c "${{command/"$there"/"$here"}}"
"""
STUDY = """
title: contained
runtime: {portable: true}
tables:
  floor:
    title: Floor
    tasks: [nano-digits]
    seeds: [0]
    rows:
      - {experiment: image/majority}
"""


@pytest.fixture
def contained(tmp_path: Path) -> Nano:
    """A study of a baseline, an apptainer that is none, and an image."""
    project = copy_project(tmp_path / "project")
    (project.root / "configs" / "studies" / "contained.yaml").write_text(STUDY)
    (project.root / "redistill.sif").write_bytes(b"image")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "apptainer"
    program.write_text(APPTAINER)
    program.chmod(0o755)
    return project


def snakemake(project: Nano, *arguments: str, **config: str) -> subprocess.CompletedProcess[str]:
    said = [f"{name}={value}" for name, value in {"study": "contained", **config}.items()]
    path = f"{project.root.parent / 'bin'}:{os.environ['PATH']}"
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments, "--config", *said]
    environment = {**project.environment(), "PATH": path}
    return subprocess.run(command, cwd=project.root, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_jobs_run_in_the_image_and_their_records_have_its_digest(contained: Nano) -> None:
    plan = make_plan(contained.root, "contained")
    split = next(node for node in plan.nodes.values() if node.kind == "dataset")
    target = f"store/{split.area}/{split.key}/done.json"
    done = snakemake(contained, target, "--sdm", "apptainer")
    assert done.returncode == 0, done.stderr
    found = sha256_file(contained.root / "redistill.sif")
    records = [json.loads(file.read_text()) for file in (contained.root / "store" / "records").glob("*.json")]
    assert {record["what"] for record in records} == {"digits", "nano-digits"}
    assert {record["environment"]["image"] for record in records} == {f"sha256:{found}"}
    calls = (contained.root.parent / "bin" / "calls").read_text().splitlines()
    assert len(calls) == 2
    assert all(f" {contained.root}/redistill.sif bash -c " in call for call in calls)
    assert all(f"PYTHONPATH={contained.root}/src {container.PYTHON} -m redistill.job make" in call for call in calls)
    outside = snakemake(contained, target)  # the same things, so there is nothing to do
    assert "Nothing to be done" in outside.stderr, outside.stderr
    assert len((contained.root.parent / "bin" / "calls").read_text().splitlines()) == 2


@pytest.mark.slow
def test_an_image_that_is_not_there_is_named_and_only_when_one_is_wanted(contained: Nano) -> None:
    (contained.root / "redistill.sif").unlink()
    refused = snakemake(contained, "-n", "--sdm", "apptainer")
    assert refused.returncode == 2
    assert "there is no image redistill.sif: `make sif` makes it" in refused.stderr
    assert "Traceback" not in refused.stderr
    outside = snakemake(contained, "-n", image="none.sif")
    assert outside.returncode == 0, outside.stderr
    assert "ingularity" not in outside.stderr


def test_a_job_with_other_packages_than_were_planned_stops(contained: Nano, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(contained.root, "contained")
    specification.write_specifications(plan)
    key = next(node.key for node in plan.nodes.values() if node.kind == "baseline")
    assert specification.read_specification(contained.root, key).node.key == key
    monkeypatch.setattr(specification, "versions", lambda names: dict.fromkeys(names, "0.1"))
    with pytest.raises(RedistillError, match=r"planned with other packages than run here \(numpy 0\.1 for "):
        specification.read_specification(contained.root, key)


# --- the environment and the lock ------------------------------------------------------------------------------------


def test_the_environment_of_the_tests_is_the_lock() -> None:
    wanted, found = locked.locked(ROOT), locked.here()
    assert [each for each in locked.differences(wanted, found) if each.locked] == []
    assert len(wanted) > 200
    assert all(canonicalize_name(name) == name for name in (*wanted, *found))


def test_every_way_to_an_environment_takes_the_same_lock_and_python() -> None:
    conda = yaml.safe_load((ENVS / "environment.yaml").read_text(encoding="utf-8"))["dependencies"]
    assert f"python={locked.PYTHON}" in conda
    (with_pip,) = (entry["pip"] for entry in conda if isinstance(entry, dict))
    assert with_pip == ["--require-hashes", f"-r {locked.LOCK.name}"]  # relative to the file's own folder
    for file in ("lock.sh", "setup.sh", "image.sh"):
        assert f"${{REDISTILL_LOCK:-{locked.LOCK}}}" in (ENVS / file).read_text(encoding="utf-8")
    assert f"!= {locked.PYTHON} ]]" in (ENVS / "lock.sh").read_text(encoding="utf-8")
    assert f"ARG PYTHON=python{locked.PYTHON}\n" in CONTAINERFILE
    assert f"ARG LOCK={locked.LOCK}\n" in CONTAINERFILE


def test_every_locked_package_takes_the_first_python_of_its_series() -> None:
    packages = ((package.metadata["Requires-Python"], package.name) for package in distributions())
    assert [name for wanted, name in packages if wanted and f"{locked.PYTHON}.0" not in SpecifierSet(wanted)] == []


def test_what_differs_is_told_with_the_things_that_it_reaches() -> None:
    wanted = {"numpy": "2.0", "rich": "1.0", "scikit-learn": "1.5", "torch": "2.14.1"}
    found = {"numpy": "2.0", "rich": "1.1", "scikit-learn": "1.6", "torch": "2.14.1+cpu", "more": "1"}
    used = [["numpy"], ["numpy", "scikit_learn"], ["numpy", "torch"], ["torch"]]
    assert locked.differences(wanted, found, used) == [
        locked.Difference("more", None, "1", 0),
        locked.Difference("rich", "1.0", "1.1", 0),
        locked.Difference("scikit-learn", "1.5", "1.6", 1),
        locked.Difference("torch", "2.14.1", "2.14.1+cpu", 2),
    ]
    assert locked.differences(wanted, wanted) == []


def test_a_lock_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "envs").mkdir()
    with pytest.raises(RedistillError, match=r"there is no lock file envs/requirements\.lock"):
        locked.locked(tmp_path)
    (tmp_path / "envs" / "requirements.lock").write_text("# nothing\n")
    with pytest.raises(RedistillError, match="pins no package"):
        locked.locked(tmp_path)


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ({"machine": "x86_64", "vendor": "A", "family": "25", "features": ["avx2"]}, "the same bytes here"),
        ({"machine": "x86_64", "vendor": "B", "family": "6", "features": ["avx2"]}, "not among those"),
        ({"machine": "x86_64", "vendor": "A", "family": "25", "features": []}, "no AVX2: other kernels"),
        ({"machine": "aarch64"}, "unknown .aarch64. has no AVX2"),
    ],
)
def test_of_a_processor_it_is_said_what_is_known(machine: dict[str, object], said: str) -> None:
    assert re.search(said, locked.processor(machine, ["A 25"]))


@pytest.mark.slow
def test_the_command_says_what_an_environment_means_for_a_study(contained: Nano) -> None:
    as_locked = contained.redistill("environment", "contained")
    assert as_locked.returncode == 0, as_locked.stderr
    assert "packages are installed as locked" in as_locked.stdout
    lock = (contained.root / "envs" / "requirements.lock").read_text(encoding="utf-8")
    other = re.sub(r"^(numpy|rich)==\S+", r"\1==0.1", lock, flags=re.MULTILINE) + "quixote==1.0\n"
    (contained.root / "envs" / "other.lock").write_text(other, encoding="utf-8")
    differs = contained.redistill("environment", "contained", "--lock", "envs/other.lock")
    assert differs.returncode == 1
    assert re.search(r"^envs/other.lock: 3 of \d+ packages are not installed as locked$", differs.stdout, re.MULTILINE)
    assert re.search(r"numpy \S+, locked 0.1: in the keys of 4 of 6 things of contained", differs.stdout)
    assert re.search(r"rich \S+, locked 0.1: in no key of contained", differs.stdout)
    assert "quixote not installed, locked 1.0: what imports it stops" in differs.stdout
