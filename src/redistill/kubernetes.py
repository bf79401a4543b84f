"""Jobs of a study on Kubernetes, for Snakemake's generic executor: a Job of the cluster for each, made by kubectl.

python -m redistill.kubernetes submit --image IMAGE --claim CLAIM --mount FOLDER JOBSCRIPT     prints the Job's name
python -m redistill.kubernetes status NAME                                    prints running, success or failed
python -m redistill.kubernetes run JOBSCRIPT                                  in the pod: its first process

A study's folder, with its store, is on a volume that all pods mount at the same place; Snakemake runs in a pod of the
same image. profiles/kubernetes has the commands, docs/clusters.md how to start. Imports the standard library alone.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

TOLD = "# properties = "
GRACE = 120  # seconds in which a run saves itself before its pod is gone
KEPT = 86400  # seconds that the cluster remembers a Job that has ended
SECONDS = 60  # that kubectl may take
Manifest = dict[str, Any]


def manifest(jobscript: Path, image: str, claim: str, mount: str, more: Manifest | None = None) -> Manifest:
    """The Job that runs a jobscript of Snakemake's, with the resources that the script says on its second line.

    Args:
        claim: the persistent volume claim that is mounted at `mount`; the working folder is on it.
        more: what else the pod's specification says, such as a node selector.
    """
    told = _told(jobscript)
    asked = told["resources"]
    requests = {"cpu": str(told["threads"]), "memory": f"{asked['mem_mb']}M"}
    limits = {"memory": requests["memory"]}
    if asked.get("gpu"):  # a limit that is not said is no request: GPUs are never shared
        limits[f"{asked.get('gpu_manufacturer', 'nvidia')}.com/gpu"] = str(asked["gpu"])
    user = {"runAsUser": os.getuid(), "runAsGroup": os.getgid()}  # whose the store is
    container = {
        "name": "job", "image": image, "workingDir": os.getcwd(), "securityContext": user,
        "command": [sys.executable, "-m", "redistill.kubernetes", "run", str(jobscript.absolute())],
        "env": _environment(), "resources": {"requests": {**requests, **limits}, "limits": limits},
        "volumeMounts": [{"name": "study", "mountPath": mount}, {"name": "shared-memory", "mountPath": "/dev/shm"}],
    }  # fmt: skip
    pod = {
        "restartPolicy": "Never", "terminationGracePeriodSeconds": GRACE, "containers": [container],
        "activeDeadlineSeconds": 60 * int(asked["runtime"]),
        "volumes": [
            {"name": "study", "persistentVolumeClaim": {"claimName": claim}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory"}},
        ],
    }  # fmt: skip
    labels = {"app.kubernetes.io/name": "redistill", "redistill/rule": told.get("rule") or "group"}
    return {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"generateName": "redistill-", "labels": labels},
        "spec": {
            "backoffLimit": 0,  # Snakemake tries again, with more memory and time
            # a pod that makes room for another, or whose node is drained, comes again by itself
            "podFailurePolicy": {
                "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
            },
            "ttlSecondsAfterFinished": KEPT,
            "template": {"metadata": {"labels": labels}, "spec": pod | (more or {})},
        },
    }  # fmt: skip


def state(job: Manifest) -> str:
    """What Snakemake is told of a Job, as the cluster describes it."""
    conditions = {c["type"] for c in job.get("status", {}).get("conditions") or [] if c["status"] == "True"}
    if "Complete" in conditions:
        return "success"
    return "failed" if "Failed" in conditions else "running"


def run(jobscript: Path) -> int:
    """Run a jobscript, and pass SIGTERM on to all its processes: a shell that is a pod's first process would not."""
    with subprocess.Popen(["/bin/sh", str(jobscript)], start_new_session=True) as job:

        def pass_on(number: int, _: Any) -> None:
            with suppress(ProcessLookupError):
                os.killpg(job.pid, number)

        signal.signal(signal.SIGTERM, pass_on)
        status = job.wait()
    return status if status >= 0 else 128 - status


def _told(jobscript: Path) -> dict[str, Any]:
    """What Snakemake says of a job: threads and resources, of a group the sum of its jobs'."""
    for line in jobscript.read_text(encoding="utf-8").splitlines():
        if line.startswith(TOLD):
            told: dict[str, Any] = json.loads(line.removeprefix(TOLD))
            return told
    sys.exit(f"redistill: {jobscript} is no jobscript of Snakemake's: it has no line `{TOLD.strip()} ...`")


def _environment() -> list[dict[str, str]]:
    """Variables that say what code runs and where data is; no others leave this pod, least of all secrets."""
    kept = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TZ")
    mine = {n: v for n, v in os.environ.items() if n in kept or n.endswith("_DIR") or n.startswith("REDISTILL_")}
    return [{"name": name, "value": value} for name, value in sorted({"HOME": "/tmp", **mine}.items())]


def _kubectl(*arguments: str, said: str | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["kubectl", *arguments], input=said, capture_output=True, text=True, timeout=SECONDS)
    except FileNotFoundError:
        sys.exit("redistill: there is no kubectl on PATH, by which jobs are submitted: the image needs it")
    except subprocess.TimeoutExpired:
        sys.exit(f"redistill: `kubectl {arguments[0]}` did not answer within {SECONDS} seconds")


def _submit(asked: argparse.Namespace) -> None:
    job = manifest(asked.jobscript, asked.image, asked.claim, asked.mount, asked.pod)
    done = _kubectl("create", "--filename=-", "--output=name", said=json.dumps(job))
    if done.returncode:
        sys.exit(f"redistill: the cluster refused a job: {done.stderr.strip()}")
    print(done.stdout.strip().rpartition("/")[2])


def _status(name: str) -> None:
    done = _kubectl("get", "job", name, "--ignore-not-found", "--output=json")
    if done.returncode:  # the cluster does not answer now: asked again
        print(done.stderr.strip(), file=sys.stderr)
        print("running")
    else:
        print(state(json.loads(done.stdout)) if done.stdout.strip() else "failed")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m redistill.kubernetes")
    commands = parser.add_subparsers(required=True, dest="command")
    submit, status, run_here = (commands.add_parser(name) for name in ("submit", "status", "run"))
    submit.add_argument("jobscript", type=Path)
    submit.add_argument("--image", required=True, help="the image that Snakemake runs in too")
    submit.add_argument("--claim", required=True, help="the persistent volume claim that has the study's folder")
    submit.add_argument("--mount", required=True, help="where it is mounted, here and in every pod")
    submit.add_argument("--pod", type=json.loads, help="more of the pod's specification, as JSON")
    status.add_argument("name")
    run_here.add_argument("jobscript", type=Path)
    asked = parser.parse_args()
    if asked.command == "submit":
        _submit(asked)
    elif asked.command == "status":
        _status(asked.name)
    else:
        sys.exit(run(asked.jobscript))


if __name__ == "__main__":
    main()
