"""Worker processes of this machine as a `concurrent.futures.Executor`.

submitit's local executor starts a process a call, which outlives the command: too slow for demonstrations, which are
many short calls, and against the promise that a killed command takes its workers along.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from .sweep import WorkerDied

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
        """End the workers now, whatever they are at."""
        with self._lock:
            self._stopped = True
        self.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()

    def _answer(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        pool = self._idle.pop()
        try:
            with self._lock:
                if self._stopped:
                    raise CancelledError
                future = pool.submit(function, *args, **kwargs)
            return future.result()
        except BrokenProcessPool as error:
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
