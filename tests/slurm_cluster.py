"""A Slurm of one node and two partitions, in namespaces of its own: nothing of it is seen outside, and nothing is left.

python tests/slurm_cluster.py FOLDER     is its first process, inside; with it, the kernel ends all others
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "unshare", "nsenter", "setpriv", "ip")
PACKAGES = "apt-get install --no-install-recommends slurm-wlm munge util-linux iproute2"
NODE = "node1"
CONFIGURATION = """
ClusterName=nano
SlurmctldHost={node}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=15
SlurmdTimeout=20
MinJobAge=300
NodeName={node} NodeAddr=127.0.0.1 CPUs=4 RealMemory=16000 State=UNKNOWN
PartitionName=long Nodes={node} Default=YES MaxTime=INFINITE PriorityTier=1 GraceTime=15 State=UP
PartitionName=urgent Nodes={node} MaxTime=60 PriorityTier=2 State=UP
"""


def missing() -> str:
    """What a test of it says where it cannot be: nothing if it can."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    lacking = [name for name in NEEDED if shutil.which(name, path=path) is None]
    if lacking:
        return f"no {', '.join(lacking)}: {PACKAGES}"
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        return 'no executor plugin: pip install "redistill[slurm]"'
    if os.geteuid():
        return "namespaces with daemons in them need root"
    tried = subprocess.run(["unshare", "--mount", "--pid", "--net", "--uts", "--fork", "true"], capture_output=True)
    return "namespaces cannot be made here" if tried.returncode else ""


class Cluster:
    """The cluster, seen from outside; whatever is started in it sees it as the machine's own."""

    def __init__(self, folder: Path, first: int):
        self.folder, self.first = folder, first

    def start(self, command: list[str], **options: object) -> subprocess.Popen[str]:
        inside = ["nsenter", f"--target={self.first}", "--mount", "--pid", "--net", "--uts", "--ipc"]
        folder = [f"--wd={options.pop('cwd')}"] if "cwd" in options else []
        return subprocess.Popen([*inside, *folder, *command], text=True, start_new_session=True, **options)  # type: ignore[call-overload,no-any-return]

    def run(self, *command: str, timeout: float = 60, checked: bool = True) -> str:
        with self.start(list(command), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                output, errors = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert not (checked and process.returncode), f"{command}: {output} {errors}"
        return output

    def jobs(self) -> list[list[str]]:
        """Number, state and partition of each job that is queued or runs."""
        return [line.split() for line in self.run("squeue", "--noheader", "--format=%A %T %P").splitlines()]

    def states(self) -> dict[str, str]:
        """The state of each job that the cluster remembers, by its number."""
        lines = self.run("squeue", "--noheader", "--states=all", "--format=%A %T").splitlines()
        return dict(line.split() for line in lines)

    def processes(self, *words: str) -> list[int]:
        """Processes of the cluster, zombies left out, whose command has all these words; as seen from outside."""
        return [pid for pid in inside(self.first) if all(word in command_of(pid) for word in words)]

    def kill(self, name: str) -> None:
        """Kill every process of a program, whatever it calls itself after its name."""
        for pid in self.processes(name):
            first = [*command_of(pid).split("\0")[0].split(), ""][0]
            if Path(first).name.rstrip(":") == name:
                os.kill(pid, signal.SIGKILL)

    def start_daemon(self, name: str) -> None:
        quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        assert self.start([name], **quiet).wait(30) == 0, self.said()

    def empty(self) -> None:
        """End all jobs."""
        with suppress(AssertionError, subprocess.TimeoutExpired):
            self.run("scancel", "--user=root")
        until(lambda: not self.jobs(), 60, self.said)

    def said(self) -> str:
        logs = [self.folder / f"{name}.log" for name in ("slurmctld", "slurmd")]
        return "\n".join(f"{log.name}:\n{log.read_text()[-4000:]}" for log in logs if log.is_file())


def inside(first: int) -> list[int]:
    """The processes of the namespace that a process is the first one of."""
    try:
        found, namespace = [], os.stat(f"/proc/{first}/ns/pid").st_ino
    except FileNotFoundError:
        return []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            state = (entry / "stat").read_text().rpartition(") ")[2].split()[0]
            if state != "Z" and os.stat(entry / "ns" / "pid").st_ino == namespace:
                found.append(int(entry.name))
    return found


def command_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def until(holds: Callable[[], object], seconds: float, otherwise: Callable[[], str]) -> None:
    """Wait until something holds; if it does not come to, fail with what is said of it then."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.2)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster whose daemons are up. At the end nothing of it runs, and if this process is killed, nothing either."""
    command = ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"]
    with tempfile.TemporaryDirectory(prefix="slurm-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o711)  # munged is not root
        log = folder / "first.log"
        with log.open("w") as stream:
            outer = subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", *command, sys.executable, __file__, scratch],
                stdout=stream, stderr=stream, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        children, first = Path(f"/proc/{outer.pid}/task/{outer.pid}/children"), 0
        try:
            until(lambda: children.read_text().split(), 20, lambda: f"namespaces were not made: {log.read_text()}")
            first = int(children.read_text().split()[0])
            made = Cluster(folder, first)
            until((folder / "up").exists, 60, lambda: f"daemons did not start: {log.read_text()}")
            until(lambda: "idle" in made.run("sinfo", "--noheader", "--format=%T"), 60, made.said)
            yield made
        finally:
            before = inside(first)
            outer.kill()  # the first process inside dies with it, and all others with that one
            outer.wait(20)
            until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in before), 20, lambda: f"left: {before}")


# --- inside ----------------------------------------------------------------------------------------------------------


def first_process(folder: Path) -> None:
    """Bring up the network, the node's name, the configuration and the daemons; then wait for what ends."""
    run = lambda *command: subprocess.run(command, check=True)  # noqa: E731
    run("mount", "--make-rprivate", "/")
    run("ip", "link", "set", "lo", "up")
    run("ip", "address", "add", "192.0.2.1/32", "dev", "lo")  # with 127.0.0.1 alone, names are not looked up
    run("hostname", NODE)
    for name in ("munge", "state", "spool", "etc"):
        (folder / name).mkdir()
    (folder / "hosts").write_text(f"127.0.0.1 localhost {NODE}\n")
    (folder / "etc" / "slurm.conf").write_text(CONFIGURATION.format(node=NODE, folder=folder))
    run("mount", "--bind", str(folder / "etc"), "/etc/slurm")  # where the daemons of every job look for it
    run("mount", "--bind", str(folder / "hosts"), "/etc/hosts")
    munge = folder / "munge"
    munge.chmod(0o711)
    (munge / "key").write_bytes(os.urandom(1024))
    (munge / "key").chmod(0o400)
    for file in (munge, munge / "key"):
        shutil.chown(file, "munge", "munge")
    places = [f"--{what}-file={munge / what}" for what in ("key", "pid", "log", "seed")]
    run(
        "setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", "munged", f"--socket={munge / 'socket'}", *places
    )
    run("slurmctld")
    run("slurmd")
    (folder / "up").touch()
    while True:
        try:
            os.wait()
        except ChildProcessError:
            time.sleep(0.5)


if __name__ == "__main__":
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    first_process(Path(sys.argv[1]))
