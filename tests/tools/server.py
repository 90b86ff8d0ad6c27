"""Runs pytest again and again in one copy of the tree, each time in a fork that has the libraries imported already.

Importing torch and the like takes several seconds, a mutant's first failing test often less.  Nothing of the project
itself is imported here: each fork reads it anew.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

LIBRARIES = ("torch._dynamo", "numpy", "scipy.optimize", "scipy.sparse.csgraph", "scipy.linalg", "ot")
BROKEN = 70
"""the status of a run that ended before pytest told one"""


class Server:
    """A process that runs tests in a copy of the tree when it is asked to."""

    def __init__(self, copy: Path) -> None:
        self.copy = copy
        paths = {"PYTHONPATH": f"{copy}{os.pathsep}{copy / 'benchmarks'}", "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.tools.server"],
            cwd=copy,
            env=os.environ | paths,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, tests: list[str], limit: float) -> tuple[int | None, str]:
        """pytest's status and what it printed; no status where it took longer than the limit, in seconds."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps({"tests": tests, "limit": limit}), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        return answer["status"], answer["said"]


def serve() -> None:
    """Answer each line of the input with a line of the output."""
    for name in LIBRARIES:
        __import__(name)
    import pytest  # noqa: F401

    for request in sys.stdin:
        print(json.dumps(_answer(**json.loads(request))), flush=True)


def _answer(tests: list[str], limit: float) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile("r") as said:
        child = os.fork()
        if child == 0:
            status = BROKEN
            try:
                status = _tested(tests, said.name)
            finally:
                os._exit(status)
        return {"status": _waited(child, limit), "said": said.read()}


def _tested(tests: list[str], said: str) -> int:
    import pytest

    os.setpgid(0, 0)
    with open(said, "w") as out, redirect_stdout(out), redirect_stderr(io.StringIO()):
        return int(pytest.main(["-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests]))


def _waited(child: int, limit: float) -> int | None:
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, 9)
    os.waitpid(child, 0)
    return None


if __name__ == "__main__":
    serve()
