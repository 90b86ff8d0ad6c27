"""Where cells are computed: processes of this machine or jobs of a Slurm cluster.

    with executor("local", workers=2) as pool: ...                                      two processes of one thread each
    with executor("slurm", workers=50, folder="jobs", slurm="partition=cpu") as pool:   at most 50 jobs at a time

An answer of either raises `WorkerDied` when the process or job that had it ended without an answer; the others
go on.  submitit's local executor starts a process a call, which outlives the command: too slow for demonstrations,
which are many short calls, and against the promise that a killed command takes its workers along.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .results import check_one_of
from .sweep import WorkerDied

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
    check_one_of("an executor", name, EXECUTORS)
    if name == "local":
        made: Any = Processes(workers)
    else:
        from .slurm import Jobs  # needs submitit

        made = Jobs(workers, folder, slurm)
    try:
        yield made
    except BaseException:
        made.stop()
        raise
    made.shutdown()


DIED = (
    "a worker process died, which is what happens when memory runs out or somebody ends it. Finished cells are kept: "
    "run the same command again, with --workers 1 if memory is short."
)


class Processes(Executor):
    """Processes of one thread each, every one in a pool of its own: one that dies takes no other job with it.

    They end with the process that made them, even if that is killed.
    """

    def __init__(self, workers: int) -> None:
        os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")  # read by the workers when they start
        self._threads = ThreadPoolExecutor(workers, "worker")
        self._idle = [_pool() for _ in range(workers)]
        self._lock, self._stopped = threading.Lock(), False

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A thread hands the job to an idle process and waits for it."""
        return self._threads.submit(self._answer, function, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        for pool in self._idle if wait else ():
            pool.shutdown()

    def stop(self) -> None:
        """End the workers now and wait for their threads, which must not outlive the command."""
        with self._lock:
            self._stopped = True
        for process in multiprocessing.active_children():
            process.terminate()
        self.shutdown(cancel_futures=True)

    def _answer(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        pool = self._idle.pop()
        try:
            with self._lock:
                if self._stopped:
                    raise CancelledError
                future = pool.submit(function, *args, **kwargs)
            return future.result()
        except BrokenProcessPool as error:
            pool.shutdown()
            pool = _pool()
            raise WorkerDied(DIED) from error
        finally:
            self._idle.append(pool)


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
