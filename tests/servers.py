"""An S3 server and an SFTP server for tests, on ports of this machine that are free; each ends with what started it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sysconfig
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEY, SECRET = "redistill-tests", "not-a-secret-of-anybody"
BUCKET = "things"
PORTS = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc",
         "s3.port", "s3.port.grpc")  # fmt: skip


def free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


# --- S3 --------------------------------------------------------------------------------------------------------------


@dataclass
class S3:
    """A running server with one bucket."""

    endpoint: str
    process: subprocess.Popen[bytes]

    def client(self) -> Any:
        from botocore.config import Config
        from botocore.session import Session

        return Session().create_client(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1", aws_access_key_id=KEY,
            aws_secret_access_key=SECRET, config=Config(retries={"max_attempts": 1}, connect_timeout=5),
        )  # fmt: skip

    def names(self, prefix: str) -> list[str]:
        """Names of the objects under a prefix."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [one["Key"] for page in pages for one in page.get("Contents", [])]


@contextmanager
def s3_server(folder: Path) -> Iterator[S3]:
    """A SeaweedFS server whose data is in `folder`; killed afterwards, with all that it may have started."""
    allowed = {"name": "tests", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}
    (folder / "keys.json").write_text(json.dumps({"identities": [allowed]}), encoding="utf-8")
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    command = [
        f"{sysconfig.get_path('scripts')}/weed", "server", "-dir", str(folder), "-ip", "127.0.0.1",
        "-ip.bind", "127.0.0.1", "-s3", "-s3.config", str(folder / "keys.json"), "-volume.max", "50",
        "-master.volumeSizeLimitMB", "64", "-master.telemetry=false", "-s3.port.iceberg", "0", "-s3.port.lance", "0",
        "-filer.localSocket", str(folder / "f"), "-s3.localSocket", str(folder / "s"),
        *(part for name, port in ports.items() for part in (f"-{name}", str(port))),
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, start_new_session=True, preexec_fn=_die_with(os.getpid())
        )
    try:
        server = S3(f"http://127.0.0.1:{ports['s3.port']}", process)
        _make_bucket(server, folder / "log")
        yield server
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _die_with(parent: int) -> Any:
    def begin() -> None:
        from redistill.interruption import die_with_parent

        die_with_parent(parent)

    return begin


def _make_bucket(server: S3, log: Path) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    deadline = time.monotonic() + 90
    while True:
        try:
            server.client().create_bucket(Bucket=BUCKET)
            server.client().put_object(Bucket=BUCKET, Key="probe", Body=b"x")
            return
        except (BotoCoreError, ClientError):
            assert server.process.poll() is None, log.read_text(errors="replace")[-3000:]
            assert time.monotonic() < deadline, log.read_text(errors="replace")[-3000:]
            time.sleep(0.5)


# --- SFTP ------------------------------------------------------------------------------------------------------------


@dataclass
class SFTP:
    """A running server. `wait` is how long it takes for each piece of a file that it is sent, in seconds."""

    folder: Path
    key: Path
    port: int = 0
    wait: float = 0.0


@contextmanager
def sftp_server(folder: Path) -> Iterator[SFTP]:
    """A server that shows a new folder in `folder` as `/` to whoever has the key beside it."""
    import asyncssh

    shown = SFTP(folder / "shown", folder / "client")
    shown.folder.mkdir()
    host, client = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    client.write_private_key(str(shown.key))
    shown.key.chmod(0o600)
    allowed = asyncssh.import_authorized_keys(client.export_public_key().decode())

    class Server(asyncssh.SFTPServer):
        async def write(self, file_obj: Any, offset: int, data: bytes) -> int:
            await asyncio.sleep(shown.wait)
            written: int = super().write(file_obj, offset, data)  # type: ignore[assignment]
            return written

    async def start() -> Any:
        return await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[host], authorized_client_keys=allowed,
            sftp_factory=lambda channel: Server(channel, chroot=str(shown.folder).encode()),
        )  # fmt: skip

    loop = asyncio.new_event_loop()
    listening = loop.run_until_complete(start())
    shown.port = listening.get_port()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield shown
    finally:
        asyncio.run_coroutine_threadsafe(_closed(listening), loop).result(timeout=30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=30)
        loop.close()


async def _closed(listening: Any) -> None:
    listening.close()
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0.1)  # in which transports close
