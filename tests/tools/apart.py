"""Run a function in a process of its own, and say how it ended: a crash, a hang and memory are that process's own."""

from __future__ import annotations

import os
import resource
import signal
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class End(NamedTuple):
    """How a process ended."""

    status: int
    """that of the process; 0 is well, below 0 a signal"""
    said: str
    """what it wrote"""
    seconds: float
    """of the processor: other work on the machine does not count"""
    mebibytes: float
    """its largest memory above that of the process that forked it"""

    @property
    def hangs(self) -> bool:
        """Whether it was ended for its time."""
        return self.status in (-signal.SIGALRM, -signal.SIGPROF)


def apart(function: Callable[[], int | None], *, seconds: int = 10) -> End:
    """Fork, run, wait: the status is what the function returns; a traceback is 70, an exit its own code.

    It is ended after so many seconds of the processor, or ten times as many on the clock: waiting takes none.
    """
    with tempfile.TemporaryFile() as out:
        before = _mebibytes("VmRSS:")
        child = os.fork()
        if child == 0:
            _child(function, out.fileno(), seconds)
        _, status, used = os.wait4(child, 0)
        out.seek(0)
        said = out.read().decode(errors="replace")
        memory = used.ru_maxrss / 1024 - before
        return End(os.waitstatus_to_exitcode(status), said, used.ru_utime + used.ru_stime, memory)


def _child(function: Callable[[], int | None], out: int, seconds: int) -> None:
    status = 70
    try:
        for stream in (1, 2):
            os.dup2(out, stream)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.alarm(10 * seconds)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        status = function() or 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        with suppress(Exception):
            os.write(out, traceback.format_exc().encode(errors="replace"))
    finally:
        os._exit(status)


def _mebibytes(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(name)), 0.0)
