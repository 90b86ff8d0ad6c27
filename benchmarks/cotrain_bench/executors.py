"""Where cells are computed: processes of this machine or jobs of a Slurm cluster.

    with executor("local", workers=2) as pool: ...                                      two processes of one thread each
    with executor("slurm", workers=50, folder="jobs", slurm="partition=cpu") as pool:   at most 50 jobs at a time

An answer of either raises `WorkerDied` when the process or job that had it ended without an answer; the others
go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .local import Processes
from .results import CannotContinue

EXECUTORS = ("local", "slurm")


@contextmanager
def executor(name: str, workers: int, folder: str | Path = "jobs", slurm: str = "") -> Iterator[Any]:
    """An executor that ends its workers at once when the context is left by an error or by Ctrl-C.

    Args:
        name: `local` or `slurm`.
        workers: processes, or jobs that run at the same time.
        folder: where Slurm's jobs leave their logs; shared by the cluster.
        slurm: what jobs ask for, as name=value pairs (see `slurm.settings`).

    Raises:
        CannotContinue: an unknown name, or a machine from which no job can be sent to Slurm.
        ModuleNotFoundError: `slurm` without the `cluster` extra.
    """
    if name not in EXECUTORS:
        raise CannotContinue(f"cells are computed by one of {', '.join(EXECUTORS)}, got {name!r} as --executor.")
    made = Processes(workers) if name == "local" else _jobs(workers, folder, slurm)
    try:
        yield made
    except BaseException:
        made.stop()
        raise
    made.shutdown()


@contextmanager
def processes(workers: int) -> Iterator[Executor]:
    """Worker processes of one thread each; on Ctrl-C they end at once."""
    with executor("local", workers) as made:
        yield made


def _jobs(workers: int, folder: str | Path, slurm: str) -> Any:
    from .slurm import Jobs  # needs submitit

    return Jobs(workers, folder, slurm)
