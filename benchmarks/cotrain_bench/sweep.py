"""A run of many cells through `concurrent.futures`: each is computed once, whatever fails, dies or runs beside it.

finished    its row is kept in a file, and never computed again
failed      its work raised, or its worker died twice: {"error": reason} in this run, tried again by the next
elsewhere   another sweep of the same folder is at it: waited for, and taken over if that one dies
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, wait
from pathlib import Path
from typing import Any, TypeAlias

from rich.progress import Progress

from .claims import claim, held
from .executors import WorkerDied
from .results import CannotContinue, Cells, Row

Work: TypeAlias = Callable[[Any, Callable[[float], None]], Mapping[str, Any]]
"""computes a cell: work(task, tick) -> row, where tick(share) says how much of it is done"""

LIVES = 2
"""workers that may die of one cell before it is given up"""

LOOK = 0.5
"""seconds between two looks at cells that are under way"""


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
        work: a function that the executor's workers can import.
        tasks: (what determines the cell, what `work` is given) for each cell.

    Raises:
        CannotContinue: when the executor takes no jobs.
    """
    run = _Run(work, tasks, cells, executor)
    bar = bars.add_task(label, total=len(tasks), completed=len(run.rows))
    while run.futures or run.elsewhere:
        run.settle()
        run.take_over()
        bars.update(bar, completed=len(run.rows) + run.under_way())
    return [run.rows[i] for i in range(len(tasks))]


class _Run:
    """Which cells are finished, with a worker of this run, or with another run."""

    def __init__(
        self, work: Work, tasks: Sequence[tuple[Mapping[str, Any], Any]], cells: Cells, executor: Executor
    ) -> None:
        self.work, self.tasks, self.cells, self.executor = work, tasks, cells, executor
        self.paths = [cells.path(cell) for cell, _ in tasks]
        self.rows = {i: row for i, (cell, _) in enumerate(tasks) if (row := cells.find(cell)) is not None}
        self.futures: dict[Future[Row | None], int] = {}
        self.elsewhere: set[int] = set()
        self.deaths: Counter[int] = Counter()
        for i in range(len(tasks)):
            if i not in self.rows:
                self._submit(i)

    def settle(self) -> None:
        """Wait a moment for answers and note them."""
        if not self.futures:
            time.sleep(LOOK)
        for future in wait(self.futures, timeout=LOOK, return_when="FIRST_COMPLETED").done:
            i = self.futures.pop(future)
            row = self._row(future, i)
            if row is None:
                self.elsewhere.add(i)
            else:
                self.rows[i] = row

    def take_over(self) -> None:
        """Submit cells that nobody holds any more; where they were finished, the worker finds the row."""
        for i in [i for i in self.elsewhere if not held(_claim(self.paths[i]))]:
            self.elsewhere.remove(i)
            self._submit(i)

    def under_way(self) -> float:
        """How many cells' worth of work is done in those that are not finished."""
        names = {self.paths[i].stem for i in (*self.futures.values(), *self.elsewhere)}
        return sum(_share(path) for path in self.cells.folder.glob("*.share") if path.stem in names)

    def _submit(self, i: int) -> None:
        cell, task = self.tasks[i]
        self.futures[self.executor.submit(finish, self.work, task, cell, str(self.cells.folder))] = i

    def _row(self, future: Future[Row | None], i: int) -> Row | None:
        try:
            return future.result()
        except WorkerDied as error:
            self.deaths[i] += 1
            return {"error": f"{LIVES} workers died of it: {error}"} if self.deaths[i] >= LIVES else None
        except CannotContinue:
            raise
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}


def finish(work: Work, task: Any, cell: Mapping[str, Any], folder: str) -> Row | None:
    """Compute one cell and keep its row, or find it finished; None where another worker is at it.  Runs in a worker."""
    cells = Cells(folder, report=lambda _: None)
    path = cells.path(cell)
    try:
        with claim(_claim(path)) as ours:
            if not ours:
                return None
            row = cells.find(cell)
            return _computed(work, task, cell, cells) if row is None else row
    except CannotContinue as error:
        return {"error": str(error)}


def _computed(work: Work, task: Any, cell: Mapping[str, Any], cells: Cells) -> Row:
    tick = _Tick(cells.path(cell).with_suffix(".share"))
    tick(0.0)
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
        return min(float(path.read_text()), 0.99)
    except (OSError, ValueError):
        return 0.0


def _claim(path: Path) -> Path:
    return path.with_suffix(".claim")
