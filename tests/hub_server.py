"""A stand-in for the Hugging Face hub on 127.0.0.1: repositories of files at one commit each, and its faults."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

SECONDS = 30  # after which a connection that says nothing is closed


@dataclass
class Repository:
    """Files at one commit. With a `fault`, every request is answered by that status and these headers."""

    commit: str
    files: dict[str, bytes]
    fault: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)  # the next downloads end after so many bytes


class Hub:
    """Repositories by `models/OWNER/NAME` or `datasets/OWNER/NAME`, and what was asked: method, path, range."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.url = ""

    def environment(self, home: Path) -> dict[str, str]:
        """Variables with which a process sees this hub alone, and keeps its cache in `home`."""
        nowhere = "http://127.0.0.1:9"  # what would leave this machine finds nobody there
        return {
            "HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere, "NO_PROXY": "127.0.0.1",
        }  # fmt: skip


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Let the hub answer, from a thread of its own, until the end."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join(SECONDS)
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = SECONDS
    hub: Hub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer()

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.hub.asked.append((self.command, path, self.headers.get("Range")))
        api, kind, name, rest = _parts(path)
        repository = self.hub.repositories.get(f"{kind}/{name}")
        if repository is None:
            self._refuse(404, {"X-Error-Code": "RepoNotFound"})
        elif repository.fault:
            self._refuse(repository.fault, repository.headers)
        elif rest[1:2] not in ([], [repository.commit], ["main"]):
            self._refuse(404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": f"Invalid rev id: {rest[1]}"})
        elif not api:
            self._file(repository, "/".join(rest[2:]))
        elif rest[:1] == ["tree"]:
            self._tree(repository, "/".join(rest[2:]))
        else:
            siblings = [{"rfilename": file} for file in repository.files]
            self._json({"id": name, "_id": name, "sha": repository.commit, "siblings": siblings, "private": False,
                        "tags": [], "downloads": 0, "likes": 0})  # fmt: skip

    def _tree(self, repository: Repository, folder: str) -> None:
        within = f"{folder}/" if folder else ""
        entries: dict[str, dict[str, object]] = {}
        for file, content in repository.files.items():
            if not file.startswith(within):
                continue
            parts = file.removeprefix(within).split("/")
            deep = "recursive=true" in self.path.lower()
            for depth in range(1, len(parts) if deep else min(2, len(parts))):
                path = within + "/".join(parts[:depth])
                entries[path] = {"type": "directory", "path": path, "oid": _digest(path.encode())[:40], "size": 0}
            if deep or len(parts) == 1:
                entries[file] = {"type": "file", "path": file, "oid": _digest(content)[:40], "size": len(content)}
        if folder and not entries:
            self._refuse(404, {"X-Error-Code": "EntryNotFound"})
        else:
            self._json(list(entries.values()))

    def _file(self, repository: Repository, name: str) -> None:
        content = repository.files.get(name)
        if content is None:
            self._refuse(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repository.commit})
            return
        first = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        headers = {"ETag": f'"{_digest(content)}"', "X-Repo-Commit": repository.commit, "Accept-Ranges": "bytes"}
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        cut = repository.cuts.pop(0) if self.command == "GET" and repository.cuts else None
        self._send(206 if first else 200, content[first:], headers, cut)

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, headers: dict[str, str]) -> None:
        self._send(status, b"{}", headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])
        self.close_connection = self.close_connection or cut is not None


def _parts(path: str) -> tuple[bool, str, str, list[str]]:
    """Whether a path is of the API, the kind of repository, its name, and what follows."""
    parts = path.split("/")
    api = parts[0] == "api"
    parts = parts[1:] if api else parts
    kind = parts.pop(0) if parts[0] in ("models", "datasets") else "models"
    return api, kind, "/".join(parts[:2]), parts[2:]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
