"""Commands of redistill without the time that their imports take: `python forked_commands.py SOCKET` has imported all
and forks for each; the `redistill` that `client` writes asks it, and is otherwise like the real one.
"""

import json
import os
import socket
import sys
import traceback
from pathlib import Path

from redistill.environment import variables as pinning

IMPORTS = ("torch", "transformers.models.auto.modeling_auto", "sklearn.linear_model", "pyarrow.parquet", "scipy.stats",
           "redistill.cli", "redistill.api", "redistill.tables.make", "redistill.training.run")  # fmt: skip
RUNTIME = {"threads": 1, "device": "cpu", "portable": True}
CLIENT = """#!{python} -ISs
import json, os, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asked:
    asked.connect({socket!r})
    socket.send_fds(asked, [json.dumps([sys.argv, os.getcwd(), dict(os.environ)]).encode()], [0, 1, 2])
    sys.exit(int(asked.recv(16) or 99))
"""


def client(file: Path, address: Path) -> None:
    """Write the command that asks the server."""
    file.write_text(CLIENT.format(python=sys.executable, socket=str(address)), encoding="utf-8")
    file.chmod(0o755)


def serve(address: str) -> None:
    """Answer until the process that has started this one ends."""
    from importlib import import_module

    for name in IMPORTS:
        import_module(name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(address)
        server.listen()
        print("ready", flush=True)
        while True:
            connection, _ = server.accept()
            message, descriptors, _, _ = socket.recv_fds(connection, 2**20, 3)
            child = os.fork()
            if child == 0:
                os._exit(_be(json.loads(message), descriptors))
            for descriptor in descriptors:
                os.close(descriptor)
            connection.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            connection.close()


def _be(request: list, descriptors: list[int]) -> int:
    """Be the command; its exit code."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    sys.argv[:], folder, variables = request
    os.chdir(folder)
    pinned = {name: os.environ[name] for name in pinning(RUNTIME)}
    os.environ.clear()
    os.environ.update(variables | pinned)  # numpy has been imported under these
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    try:
        from redistill.cli import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 70
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    from redistill.interruption import die_with_parent

    die_with_parent()
    serve(sys.argv[1])
