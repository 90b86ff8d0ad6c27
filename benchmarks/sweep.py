"""A run of many cells through `concurrent.futures`: finished cells are kept, a failed one does not stop the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from rich.progress import Progress

from .results import CannotContinue, Cells, Row

Work: TypeAlias = Callable[[Any, Callable[[float], None]], Mapping[str, Any]]
"""computes a cell: work(task, tick) -> row, where tick(share) says how much of it is done"""


@contextmanager
def processes(workers: int) -> Iterator[Executor]:
    """Worker processes of one thread each; on Ctrl-C they end at once."""
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")  # read by the workers when they start
    executor = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin)
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    executor.shutdown()


def sweep(
    work: Work,
    tasks: Sequence[tuple[Mapping[str, Any], Any]],
    cells: Cells,
    executor: Executor,
    bars: Progress,
    *,
    label: str = "cells",
) -> list[Row]:
    """The row of every cell, computed or found finished, in the order of the tasks.

    Args:
        work: a function that the executor's processes can import.
        tasks: (what determines the cell, what `work` is given) for each cell.

    A cell whose work raises gives the row {"error": reason}, which is not kept: the next run tries it again.

    Raises:
        CannotContinue: when results cannot be written, or a worker died.
    """
    rows: dict[int, Row] = {i: row for i, (cell, _) in enumerate(tasks) if (row := cells.find(cell)) is not None}
    bar = bars.add_task(label, total=len(tasks), completed=len(rows))
    open_cells = {
        executor.submit(finish, work, task, cell, str(cells.folder)): i
        for i, (cell, task) in enumerate(tasks)
        if i not in rows
    }
    pending = set(open_cells)
    while pending:
        done, pending = wait(pending, timeout=0.5, return_when="FIRST_COMPLETED")
        for future in done:
            rows[open_cells[future]] = _row(future)
        under_way = sum(_share(cells.path(tasks[open_cells[future]][0])) for future in pending)
        bars.update(bar, completed=len(rows) + under_way)
    return [rows[i] for i in range(len(tasks))]


def finish(work: Work, task: Any, cell: Mapping[str, Any], folder: str) -> Row:
    """Compute one cell and keep its row; runs in a worker."""
    cells = Cells(folder)
    tick = _Tick(cells.path(cell).with_suffix(".share"))
    try:
        row = dict(work(task, tick))
        cells.save(cell, row)
    finally:
        tick.path.unlink(missing_ok=True)
    return row


class _Tick:
    """Says how much of a cell is done, in a small file beside its result: it works across processes and machines."""

    def __init__(self, path: Path) -> None:
        self.path, self._said = path, 0.0

    def __call__(self, share: float) -> None:
        if time.monotonic() - self._said < 0.5:
            return
        self._said = time.monotonic()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(f"{share:.4f}\n")
        except OSError:  # only the bar suffers; a full disk is reported when the result is written
            pass


def _share(path: Path) -> float:
    try:
        return min(float(path.with_suffix(".share").read_text()), 0.99)
    except (OSError, ValueError):
        return 0.0


def _row(future: Future[Row]) -> Row:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise CannotContinue(
            "a worker process died, which is what happens when memory runs out or somebody ends it. Finished cells "
            "are kept: run the same command again, with --workers 1 if memory is short."
        ) from error
    except CannotContinue:
        raise
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _begin() -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.set_num_threads(1)
