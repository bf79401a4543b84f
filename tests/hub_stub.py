"""A hub on this machine that takes one upload: small files in the commit, weights by git's large file storage."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = ".safetensors"


class Hub(ThreadingHTTPServer):
    """`files` are the bytes that a commit left, by path; `refuses` is the status that every answer has instead."""

    def __init__(self, refuses: int | None = None):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refuses = refuses
        self.requests: list[str] = []
        self.created: dict[str, Any] = {}
        self.stored: dict[str, bytes] = {}
        self.files: dict[str, bytes] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer({"error": "no such thing"}, 404)

    def do_PUT(self) -> None:
        self.server.stored[self.path.rpartition("/")[2]] = self._body()
        self._answer({})

    def do_POST(self) -> None:
        body = self._body()
        path = self.path.partition("?")[0]
        if self.server.refuses is not None:
            self._answer({"error": "refused"}, self.server.refuses)
        elif path.endswith("/commit/main"):
            self._commit([json.loads(line) for line in body.splitlines() if line])
        elif path == "/api/repos/create":
            self.server.created = json.loads(body)
            self._answer({"url": f"{self.server.address}/owner/name"})
        elif path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif path == "/api/models/owner/name/preupload/main":
            self._answer({"files": [self._mode(file["path"]) for file in json.loads(body)["files"]]})
        elif path == "/owner/name.git/info/lfs/objects/batch":
            self._answer({"transfer": "basic", "objects": [self._action(one) for one in json.loads(body)["objects"]]})
        else:
            self._answer({"error": "no such thing"}, 404)

    @staticmethod
    def _mode(path: str) -> dict[str, Any]:
        return {"path": path, "uploadMode": "lfs" if path.endswith(LARGE) else "regular", "shouldIgnore": False}

    def _action(self, wanted: dict[str, Any]) -> dict[str, Any]:
        return {**wanted, "actions": {"upload": {"href": f"{self.server.address}/lfs/{wanted['oid']}"}}}

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            said = line["value"]
            if line["key"] == "file":
                self.server.files[said["path"]] = base64.b64decode(said["content"])
            elif line["key"] == "lfsFile":
                self.server.files[said["path"]] = self.server.stored[said["oid"]]
        self._answer({"commitUrl": f"{self.server.address}/owner/name/commit/{COMMIT}", "commitOid": COMMIT})

    def _body(self) -> bytes:
        self.server.requests.append(f"{self.command} {self.path}")
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def hub(refuses: int | None = None) -> Iterator[Hub]:
    """A hub that listens until the end."""
    with Hub(refuses) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(timeout=10)
