"""Who is computing a cell: a file beside its result, made by one worker, and seen to be stale when that one died.

    claimed    the file could be created, which at most one of any number of workers can
    held       its owner lives: the process, on the same machine; elsewhere a file touched lately, or a job in the queue
    stale      anything else: the next worker puts its own in its place

A claim only saves work.  Results are written whole and are the same whoever computes them, so where a file system or a
clock misleads two workers into one cell (clocks that differ by minutes, say), its time is lost and nothing else.
"""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .results import CannotContinue, unwritten

BEAT = 30.0
"""seconds between two touches of a claim by its owner"""

FRESH, STALE = 3 * BEAT, 10 * BEAT
"""seconds without a touch: up to the first the owner is taken to live; from the second, to be gone, whatever Slurm says
of its job, unless that is suspended"""


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Claims what the path names, for as long as the context lasts; False where somebody else holds it.

    Raises:
        CannotContinue: when the file cannot be written.
    """
    mine = _taken(path)
    if not mine:
        yield False
        return
    over = threading.Event()
    threading.Thread(target=_beat, args=(path, over), daemon=True).start()
    try:
        yield True
    finally:
        over.set()
        if _owner(path) == mine:
            path.unlink(missing_ok=True)


def held(path: Path) -> bool:
    """Whether a living worker holds the claim."""
    owner, here, age = _owner(path), _me(), _age(path)
    if owner.get("machine") == here["machine"] and owner.get("born") and here["born"]:
        return bool(_born(owner["pid"]) == owner["born"])
    if owner.get("job") and owner["job"] == here["job"] and owner["restart"] < here["restart"]:
        return False  # this job before it was put back into the queue
    return age < FRESH or _may_live(owner.get("job"), age)


def _may_live(job: str | None, age: float) -> bool:
    state = job_state(job) if job else None
    if state in ("", "PENDING"):  # no longer in the queue, or back in it
        return False
    return state == "SUSPENDED" or age < STALE


def job_state(job: str) -> str | None:
    """The state of a Slurm job, "" when it has left the queue, None when Slurm cannot be asked."""
    try:
        asked = subprocess.run(
            ["squeue", "--noheader", "--jobs", job, "--format=%T"], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    if asked.returncode:
        return "" if "Invalid job id" in asked.stderr else None
    return asked.stdout.strip()


def _taken(path: Path) -> dict[str, Any]:
    """The claim that was made; empty where somebody else's stands."""
    mine = _me()
    if _made(path, mine):
        return mine
    return mine if not held(path) and _inherited(path, mine) else {}


def _inherited(path: Path, mine: Mapping[str, Any]) -> bool:
    """Put a claim in the place of a stale one, in one step; False when another worker does."""
    heir = path.with_suffix(".heir")
    if not _made(heir, mine):  # one at a time; one that died here is in the way for a while
        if STALE < _age(heir) < math.inf:  # an heir that is just gone is not a dead one: the next is a living worker's
            heir.unlink(missing_ok=True)
        return False
    if held(path) or not path.exists():
        heir.unlink(missing_ok=True)
        return False
    try:
        os.replace(heir, path)
    except FileNotFoundError:  # taken for dead
        return False
    return True


def _made(path: Path, content: Mapping[str, Any]) -> bool:
    """Create a file; False when it is there already."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x") as file:
            file.write(json.dumps(content))
    except OSError as error:
        if isinstance(error, FileExistsError) and error.filename == str(path):
            return False
        with suppress(OSError):
            path.unlink()
        raise CannotContinue(unwritten(path, error)) from error
    return True


def _beat(path: Path, over: threading.Event) -> None:
    while not over.wait(BEAT):
        with suppress(OSError):
            os.utime(path)


def _age(path: Path) -> float:
    """Seconds since the last touch; infinite when there is no file."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return math.inf


def _owner(path: Path) -> Mapping[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):  # gone, or not yet written: its age decides
        return {}


def _me() -> dict[str, Any]:
    return {
        "machine": _machine(),
        "pid": os.getpid(),
        "born": _born(os.getpid()),
        "job": os.environ.get("SLURM_JOB_ID"),
        "restart": int(os.environ.get("SLURM_RESTART_COUNT", 0)),
        "name": uuid.uuid4().hex,
    }


def _machine() -> str:
    """Where process numbers mean the same: a host, or a container on it."""
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _born(pid: int) -> str | None:
    """When a living process began, in the kernel's ticks; None when it is dead or the system does not tell."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else fields[18]
