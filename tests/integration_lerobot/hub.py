"""A Hub on loopback: what huggingface_hub asks for when LeRobot downloads datasets, and nothing else.

/api/datasets/ID/refs                     branches, and the tag of LeRobot's format
/api/datasets/ID/revision/REVISION        the commit
/api/datasets/ID/tree/COMMIT              files and their sizes
/datasets/ID/resolve/COMMIT/PATH          one of them
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

from lerobot.datasets.dataset_metadata import CODEBASE_VERSION

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Datasets by their ids; `served` are the files that were sent, as ID/PATH."""

    def __init__(self, datasets: dict[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.datasets, self.served = datasets, list[str]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, path: str) -> Any:
        """What an address of the interface gives, or the file at an address; None where there is nothing."""
        kind, _, rest = path.removeprefix("/").partition("datasets/")
        name = next((name for name in self.datasets if rest.startswith(f"{name}/")), None)
        if name is None:
            return None
        what, _, more = rest.removeprefix(f"{name}/").partition("/")
        if kind == "api/":
            return getattr(self, f"_{what}")(name)
        file = self.datasets[name] / unquote(more.partition("/")[2])
        return file if what == "resolve" and file.is_file() else None

    def _refs(self, name: str) -> Any:
        def refs(kind: str, name: str) -> Any:
            return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": COMMIT}]

        return {"converts": [], "branches": refs("heads", "main"), "tags": refs("tags", CODEBASE_VERSION)}

    def _revision(self, name: str) -> Any:
        return {"id": name, "sha": COMMIT, "private": False, "downloads": 0, "likes": 0, "tags": [], "siblings": []}

    def _tree(self, name: str) -> Any:
        root = self.datasets[name]
        files = [path for path in sorted(root.rglob("*")) if path.is_file()]
        return [
            {"type": "file", "oid": tag(path), "size": path.stat().st_size, "path": str(path.relative_to(root))}
            for path in files
        ]


def tag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, body: bool = True) -> None:
        answer = self.server.answer(urlsplit(self.path).path)
        content = answer.read_bytes() if isinstance(answer, Path) else json.dumps(answer).encode()
        self.send_response(404 if answer is None else 200)
        if isinstance(answer, Path):
            self.send_header("ETag", f'"{tag(answer)}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.server.served += [str(answer)] if body else []
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Silence."""


@contextmanager
def serving(datasets: dict[str, Path]) -> Iterator[Hub]:
    """A Hub while it is needed."""
    with Hub(datasets) as hub:
        Thread(target=hub.serve_forever, daemon=True).start()
        try:
            yield hub
        finally:
            hub.shutdown()
