"""One job: `python -m redistill.job make KEY` does what `redistill make KEY` does, and hardly takes time to start.

It starts with the standard library alone and asks the forge of the process that has started it (`redistill.forge`) for
a fork that has imported all the rest: hands over arguments, environment and descriptors, passes signals on, and ends
with the fork's exit status. Where no forge answers that is as this process would be, it becomes `redistill make KEY`.
"""

import json
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Any, NoReturn

from redistill import environment

FORGE = "REDISTILL_FORGE"  # names the forge's socket, for the jobs of the process that has started it
PORTABLE = {"threads": 1, "portable": True, "device": "cpu", "devices": 1}  # of what no study's runtime reaches
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
RANKS = ("RANK", "WORLD_SIZE")  # set for one of several processes that train together

ALWAYS = ("importlib.metadata", "typer", "yaml", "pydantic.fields", "pydantic.type_adapter")
_ARRAYS = ("numpy", "pyarrow.compute", "pyarrow.dataset", "pyarrow.parquet")
_METRICS = ("scipy.stats", "sklearn.metrics")
_TORCH = (*_ARRAYS, "torch", "torch._dynamo", "accelerate", "safetensors.torch", "rich.progress")
_TEXT = ("transformers.models.auto.modeling_auto", "transformers.models.bert.modeling_bert")
_IMPORTS = {
    "dataset": _ARRAYS,
    "tokens": (*_ARRAYS, "tokenizers"),
    "baseline": (*_ARRAYS, "sklearn.linear_model", "sklearn.feature_extraction.text"),
    "teacher": _TORCH,
    "student": _TORCH,
    "outputs": _TORCH,
    "choice": (*_ARRAYS, *_METRICS),
    "cell": (*_ARRAYS, *_METRICS),
    "table": (*_ARRAYS, "scipy.special"),
    "submission": _ARRAYS,
}


def imports(kind: str, config: dict[str, Any]) -> tuple[str, ...]:
    """What a job imports from others, as far as it takes time."""
    found = _IMPORTS.get(kind, ())
    text = _TEXT if found is _TORCH and config["task"]["input"] == "text" else ()
    metrics = _METRICS if config.get("evaluation", {}).get("checkpoint") == "best" else ()
    return (*ALWAYS, *found, *text, *metrics)


def place() -> list[Any]:
    """What must be the same for a fork to be as this process would be; in a container, files have other places."""
    variables = {n: v for n, v in sorted(os.environ.items()) if n.startswith(("PYTHON", "LD_", "REDISTILL_"))}
    return [sys.executable, sys.path, os.getcwd(), os.readlink("/proc/self/ns/mnt"), variables]


def do(arguments: list[str]) -> NoReturn:
    """Be `redistill ARGUMENTS`, the last of which is the key of what is to be made: in a fork, or here."""
    parent, caught = os.getppid(), list[int]()
    status = _asked(os.environ.pop(FORGE, ""), arguments, caught)
    for number in _heeded():
        signal.signal(number, signal.SIG_DFL)
    if status is not None and status >= 0:
        sys.exit(status)
    if status is None and signal.SIGTERM in caught:  # before it began
        from redistill.interruption import ASKED, EXIT

        print(f"redistill: {ASKED}", file=sys.stderr)
        sys.exit(EXIT)
    if status is not None or caught:  # whoever waits for this process sees how the fork has ended
        os.kill(os.getpid(), caught[-1] if status is None else -status)
    if os.getppid() != parent:
        sys.exit("redistill: the process that started this job is gone")
    os.execv(sys.executable, [sys.executable, "-m", "redistill", *arguments])


def _asked(path: str, arguments: list[str], caught: list[int]) -> int | None:
    """The exit status of the fork that did the job, negative if it was killed; None if there was none, or it was lost.

    `caught` gets the signals that came.
    """
    if not path or any(name in os.environ for name in RANKS):
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:

        def pass_on(number: int, _: Any) -> None:
            caught.append(number)
            with suppress(OSError):
                connection.send(b"%d" % number)

        try:
            with open(f"store/work/plans/{arguments[-1]}.json", encoding="utf-8") as file:
                told = json.load(file)
            config = told["parts"]["config"]
            runtime = config.get("runtime", PORTABLE)
            if environment.devices(runtime) > 1:
                return None
            request = {
                "place": place(), "pinned": environment.variables(runtime), "imports": imports(told["kind"], config),
                "arguments": arguments, "environment": dict(os.environ),
            }  # fmt: skip
            for number in _heeded():
                signal.signal(number, pass_on)
            connection.connect(path)
            socket.send_fds(connection, [json.dumps(request).encode()], [0, 1, 2])
            if not connection.recv(16):  # refused
                return None
            status = connection.recv(16)
            if not status:
                print(
                    "redistill: the forge is gone, and this job with it; it is done again", file=sys.stderr, flush=True
                )
            return int(status) if status else None
        except (OSError, ValueError, LookupError):
            return None


def _heeded() -> list[int]:
    """The signals that this process was not told to ignore, as it is by `nohup`."""
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


if __name__ == "__main__":
    do(sys.argv[1:])
