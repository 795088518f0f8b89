"""A stub of the Hugging Face Hub: the few requests of an upload and of a download, in memory."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubStub:
    """What it was sent, and what it hands out.

    Attributes:
        url: its address.
        repositories: files by repository and path.
        private: repositories that were made private.
        tokens: that requests came with.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.tokens: set[str] = set()


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests of one stub."""

    protocol_version = "HTTP/1.1"
    stub: HubStub

    def answer(self, status: int, content: Any = b"", **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"content_length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def do_POST(self) -> None:
        self.stub.tokens.add(self.headers.get("authorization", ""))
        body, parts = self.body(), self.path.split("?")[0].split("/")
        if parts[1:] == ["api", "validate-yaml"]:
            self.answer(200, {"errors": [], "warnings": []})
        elif parts[1:] == ["api", "repos", "create"]:
            self.create(json.loads(body))
        elif parts[5] == "preupload":
            names = [each["path"] for each in json.loads(body)["files"]]
            modes = {"uploadMode": "regular", "shouldIgnore": False}
            self.answer(200, {"files": [{"path": name, **modes} for name in names]})
        else:
            self.commit("/".join(parts[3:5]), body)

    def create(self, asked: dict[str, Any]) -> None:
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        if name.startswith("nobody/"):
            self.answer(403, {"error": "you may not write here"})
            return
        self.stub.repositories.setdefault(name, {})
        if asked.get("private") or asked.get("visibility") == "private":
            self.stub.private.add(name)
        self.answer(200, {"url": f"{self.stub.url}/{name}", "name": name})

    def commit(self, name: str, body: bytes) -> None:
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                content = base64.b64decode(line["value"]["content"])
                self.stub.repositories[name][line["value"]["path"]] = content
        url = f"{self.stub.url}/{name}/commit/{COMMIT}"
        self.answer(200, {"commitUrl": url, "commitOid": COMMIT, "success": True})

    def do_GET(self) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self.describe("/".join(parts[2:4]), is_tree="tree" in parts[4:5])
            return
        wanted = "/".join(parts[4:])
        content = self.stub.repositories.get("/".join(parts[:2]), {}).get(wanted)
        if content is None:
            self.answer(404, {"error": wanted}, x_error_code="EntryNotFound")
            return
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        self.answer(200, content, etag=etag, x_repo_commit=COMMIT)

    do_HEAD = do_GET  # noqa: N815

    def describe(self, name: str, *, is_tree: bool) -> None:
        files = self.stub.repositories.get(name)
        if files is None:
            self.answer(404, {"error": "Repository not found"}, x_error_code="RepoNotFound")
        elif is_tree:
            kind = {"type": "file", "oid": "0" * 40}
            self.answer(200, [{**kind, "path": e, "size": len(c)} for e, c in files.items()])
        else:
            siblings = [{"rfilename": each} for each in files]
            facts = {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings}
            self.answer(200, {**facts, "private": False, "tags": []})

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def hub_stub() -> Iterator[HubStub]:
    """A Hub on a port of the system's choice."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.stub = stub = HubStub(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
