"""Jobs on Kubernetes: their manifests against the API's schemas, what is asked for, and how jobs are stopped.

There is no cluster here. `make test-slurm` also makes a study with a stand-in of kubectl, which checks every manifest
and runs its command on this machine.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import REPOSITORY, SOURCES
from nano_study import copy_project

from redistill import kubernetes

TOLD = {"type": "single", "rule": "train_student", "threads": 2, "resources": {"mem_mb": 3900, "runtime": 250}}


@pytest.fixture
def jobscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script such as Snakemake writes."""
    monkeypatch.chdir(tmp_path)
    return written(tmp_path)


def written(folder: Path, **resources: Any) -> Path:
    told = TOLD | {"resources": {**TOLD["resources"], **resources}}  # type: ignore[dict-item]
    file = folder / "snakejob.sh"
    file.write_text(f"#!/bin/sh\n# properties = {json.dumps(told)}\necho made\n")
    return file


def manifest(script: Path, **more: Any) -> dict[str, Any]:
    return kubernetes.manifest(script, "registry.example/redistill:1", "study", "/study", **more)


def pod_of(job: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = job["spec"]["template"]["spec"]
    return pod


def test_manifests_are_what_the_api_takes(jobscript: Path) -> None:
    schemas = pytest.importorskip("kubernetes_validate")
    made = [
        manifest(jobscript),
        manifest(written(jobscript.parent, gpu=2)),
        manifest(jobscript, more={"nodeSelector": {"disk": "fast"}, "serviceAccountName": "studies"}),
    ]
    for job in made:
        for version in ("1.31", schemas.latest_version()):
            schemas.validate(job, version, strict=True)
    wrong = manifest(jobscript, more={"nodeSelectors": {}})
    with pytest.raises(schemas.ValidationError):
        schemas.validate(wrong, "1.31", strict=True)


def test_a_job_asks_for_what_its_rule_says(jobscript: Path) -> None:
    pod = pod_of(manifest(jobscript))
    (container,) = pod["containers"]
    assert container["resources"] == {
        "requests": {"cpu": "2", "memory": "3900M"}, "limits": {"memory": "3900M"}
    }  # fmt: skip
    assert pod["activeDeadlineSeconds"] == 250 * 60
    assert container["workingDir"] == str(jobscript.parent)
    assert {"name": "study", "mountPath": "/study"} in container["volumeMounts"]


def test_gpus_are_limits_since_they_are_never_shared(jobscript: Path) -> None:
    for gpus, name in (({"gpu": 4}, "nvidia.com/gpu"), ({"gpu": 4, "gpu_manufacturer": "amd"}, "amd.com/gpu")):
        (container,) = pod_of(manifest(written(jobscript.parent, **gpus)))["containers"]
        assert container["resources"]["limits"][name] == container["resources"]["requests"][name] == "4"


def test_no_secret_of_the_pod_that_submits_reaches_jobs(jobscript: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not for others")
    monkeypatch.setenv("GLUE_DIR", "/study/glue")
    (container,) = pod_of(manifest(jobscript))["containers"]
    assert {"name": "GLUE_DIR", "value": "/study/glue"} in container["env"]
    assert "not for others" not in json.dumps(container)


def test_a_pod_that_makes_room_comes_again_and_one_that_fails_does_not(jobscript: Path) -> None:
    spec = manifest(jobscript)["spec"]
    assert spec["backoffLimit"] == 0
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    (rule,) = spec["podFailurePolicy"]["rules"]
    assert rule["action"] == "Ignore"
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] == kubernetes.GRACE


@pytest.mark.parametrize(
    ("conditions", "state"),
    [
        (None, "running"),
        ([{"type": "Suspended", "status": "True"}], "running"),
        ([{"type": "Complete", "status": "False"}], "running"),
        ([{"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}], "success"),
        ([{"type": "FailureTarget", "status": "True"}, {"type": "Failed", "status": "True"}], "failed"),
    ],
)
def test_what_snakemake_is_told_of_a_job(conditions: list[dict[str, str]] | None, state: str) -> None:
    assert kubernetes.state({"status": {"conditions": conditions}}) == state
    assert kubernetes.state({}) == "running"


def command(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCES), **options.pop("env", {})}
    return subprocess.Popen(
        [sys.executable, "-m", "redistill.kubernetes", *arguments], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=environment, **options,
    )  # fmt: skip


def test_sigterm_reaches_what_the_jobscript_has_started(tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text(
        "trap 'wait; exit 3' TERM\nsh -c 'trap \"echo saved; exit 75\" TERM; echo in; read _ <&3' &\nwait\n"
    )
    script.write_text(f"exec 3<>{tmp_path}/pipe\n" + script.read_text())
    os.mkfifo(tmp_path / "pipe")
    with command("run", str(script)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    assert output == "saved\n"
    assert process.returncode == 3


def test_a_jobscript_that_fails_fails_its_pod(tmp_path: Path) -> None:
    for script, status in (("exit 4", 4), ("kill -9 $$", 137)):
        (tmp_path / "job.sh").write_text(script)
        with command("run", str(tmp_path / "job.sh")) as process:
            process.communicate(timeout=30)
        assert process.returncode == status


def test_without_kubectl_and_without_properties_one_sentence_says_so(tmp_path: Path) -> None:
    script, nothing = written(tmp_path), tmp_path / "nothing.sh"
    nothing.write_text("#!/bin/sh\n")
    for file, sentence in ((script, "there is no kubectl on PATH"), (nothing, "is no jobscript of Snakemake's")):
        asked = ("submit", "--image", "i", "--claim", "c", "--mount", "/m", str(file))
        with command(*asked, env={"PATH": str(tmp_path)}) as process:
            _, errors = process.communicate(timeout=30)
        assert process.returncode == 1
        assert sentence in errors
        assert len(errors.splitlines()) == 1


def test_the_profile_says_what_the_commands_take() -> None:
    profile = yaml.safe_load((REPOSITORY / "profiles" / "kubernetes" / "config.yaml").read_text())
    submit = profile["cluster-generic-submit-cmd"].split()
    assert submit[:4] == ["python", "-m", "redistill.kubernetes", "submit"]
    assert submit[4::2] == ["--image", "--claim", "--mount"]
    assert os.access(REPOSITORY / profile["cluster-generic-cancel-cmd"], os.X_OK)


# --- a study, with a stand-in of kubectl -----------------------------------------------------------------------------

SMALL = """
title: six cells
tables:
  floor:
    title: Floor
    tasks: [d0, d1, d2, d3, d4, d5]
    seeds: [0]
    rows:
      - {experiment: image/majority}
"""


@pytest.mark.slow
def test_small_jobs_share_a_pod_which_asks_for_four_cores_and_not_for_one_each(tmp_path: Path) -> None:
    project, asked = copy_project(tmp_path / "project"), tmp_path / "asked"
    (project.root / "configs" / "studies" / "small.yaml").write_text(SMALL)
    for number in range(6):
        task = f"extends: nano-digits\nsplits: {{train: {50 + number}}}\n"
        (project.root / "configs" / "tasks" / f"d{number}.yaml").write_text(task)
    snakemake = (sys.executable, "-m", "snakemake", "--config", "study=small", "report=no")
    made = project.command(*snakemake, "--cores", "2", "--until", "fit_baseline")
    assert made.returncode == 0, made.stderr
    submit = f"echo {{rule}} {{threads}} >> {asked}; false"
    project.command(
        *snakemake, "--profile", "profiles/kubernetes", "--cluster-generic-submit-cmd", submit, "--retries", "0"
    )
    assert asked.read_text() == "GROUP 4\n"


def test_what_shares_a_submission_does_so_on_every_cluster() -> None:
    files = [REPOSITORY / "profiles" / name / "config.yaml" for name in ("kubernetes", "slurm")]
    here, there = (yaml.safe_load(file.read_text(encoding="utf-8")) for file in files)
    for key in ("groups", "group-components", "resources"):
        assert here[key] == there[key], key


KUBECTL = """#!{python}
import json, os, subprocess, sys, uuid
from pathlib import Path

jobs, (verb, *rest) = Path({jobs!r}), sys.argv[1:]
if verb == "create":
    import kubernetes_validate

    job = json.load(sys.stdin)
    kubernetes_validate.validate(job, "1.31", strict=True)
    name = job["metadata"]["generateName"] + uuid.uuid4().hex[:5]
    (jobs / f"{{name}}.json").write_text(json.dumps(job))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    ends = f"echo $? > {{jobs}}/{{name}}.end.new; mv {{jobs}}/{{name}}.end.new {{jobs}}/{{name}}.end"
    variables = {{entry["name"]: entry["value"] for entry in container["env"]}}
    with (jobs / f"{{name}}.log").open("w") as log:
        subprocess.Popen(
            ["/bin/sh", "-c", f'"$@"; {{ends}}', "job", *container["command"]], cwd=container["workingDir"],
            env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )
    print(f"job.batch/{{name}}")
elif verb == "get":
    end = jobs / f"{{rest[1]}}.end"
    done = {{"0": "Complete"}}.get(end.read_text().strip(), "Failed") if end.is_file() else "Suspended"
    print(json.dumps({{"status": {{"conditions": [{{"type": done, "status": "True"}}]}}}}))
"""


@pytest.mark.skipif("REDISTILL_SLURM" not in os.environ, reason="make test-slurm runs this")
@pytest.mark.timeout(1500)
def test_a_study_with_a_stand_in_of_the_cluster(tmp_path: Path) -> None:
    pytest.importorskip("kubernetes_validate")
    pytest.importorskip("snakemake_executor_plugin_cluster_generic")
    project = copy_project(tmp_path / "project")
    (tmp_path / "bin").mkdir()
    (tmp_path / "jobs").mkdir()
    kubectl = tmp_path / "bin" / "kubectl"
    kubectl.write_text(KUBECTL.format(python=sys.executable, jobs=str(tmp_path / "jobs")))
    kubectl.chmod(0o755)
    path = f"{project.root / 'src'}:{os.environ.get('PYTHONPATH', '')}"
    found = f"{kubectl.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--profile", "profiles/kubernetes", "--seconds-between-status-checks", "1",
         "--latency-wait", "20", "--config", "study=six", "trust_plugins=1"],
        cwd=project.root, env={**project.environment(), "PYTHONPATH": path, "PATH": found}, capture_output=True,
        text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project.root / "results" / "six" / "image.md").is_file()
    jobs = [json.loads(file.read_text()) for file in (tmp_path / "jobs").glob("*.json")]
    assert sorted(job["metadata"]["labels"]["redistill/rule"] for job in jobs) == ["group"] * 3 + ["train_student"]
    deadline = time.monotonic() + 20
    while len(list((tmp_path / "jobs").glob("*.end"))) < len(jobs):
        assert time.monotonic() < deadline
        time.sleep(0.1)
