"""A run of many cells through an executor: each is computed once, whatever fails, dies or runs beside it.

finished    its row is kept in a file, and never computed again
failed      its work raised, or its worker died twice: {"error": reason} in this run, tried again by the next
elsewhere   another sweep of the same folder is at it: waited for, and taken over if that one dies

A cell has a lease beside its result, renewed while its owner lives.  It is held while its owner lives: the process, on
the same machine; elsewhere a lease that was renewed lately.  A lease only saves work: results are written whole and are
the same whoever computes them, so where a job is suspended for longer than LEASE, or a file system hides renewals, two
workers compute one cell, and its time is lost and nothing else.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from filelock import SoftFileLease, Timeout
from rich.progress import Progress

from .results import CannotContinue, Cells, Row, unwritten

Work: TypeAlias = Callable[[Any, Callable[[float], None]], Mapping[str, Any]]
"""computes a cell: work(task, tick) -> row, where tick(share) reports how much of it is done"""

LIVES = 2
"""workers that may die of one cell before it is given up"""

LOOK = 0.3
"""seconds between two looks at cells that are under way"""

BEAT, LEASE = 30.0, 120.0
"""seconds between two renewals of a lease, and after which one that was not renewed is free"""


class Answer(Protocol):
    """What a sweep asks of a future."""

    def done(self) -> bool: ...

    def result(self) -> Any: ...


class Workers(Protocol):
    """What a sweep asks of an executor: one of `executors`, or of `concurrent.futures`."""

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Answer: ...


class WorkerDied(CannotContinue):
    """What an answer's `result` raises when the process or job that had the call ended without one."""


def sweep(
    work: Work,
    tasks: Sequence[tuple[Mapping[str, Any], Any]],
    cells: Cells,
    workers: Workers,
    bars: Progress,
    *,
    label: str = "cells",
) -> list[Row]:
    """The row of every cell, computed or read from its file, in the order of the tasks.

    Args:
        work: a function that the executor's workers can import.
        tasks: (what determines the cell, what `work` is given) for each cell.

    Raises:
        CannotContinue: when the executor takes no jobs.
    """
    run = _Run(work, tasks, cells, workers)
    bar = bars.add_task(label, total=len(tasks), completed=len(run.rows))
    while run.futures or run.elsewhere:
        run.settle()
        run.take_over()
        bars.update(bar, completed=len(run.rows) + run.under_way())
        time.sleep(LOOK)
    return [run.rows[i] for i in range(len(tasks))]


class _Run:
    """Which cells are finished, with a worker of this run, or with another run."""

    def __init__(
        self, work: Work, tasks: Sequence[tuple[Mapping[str, Any], Any]], cells: Cells, workers: Workers
    ) -> None:
        self.work, self.tasks, self.cells, self.workers = work, tasks, cells, workers
        self.paths = [cells.path(cell) for cell, _ in tasks]
        self.rows = {i: row for i, (cell, _) in enumerate(tasks) if (row := cells.find(cell)) is not None}
        self.futures: dict[Answer, int] = {}
        self.elsewhere: dict[int, Claim] = {}
        self.deaths: Counter[int] = Counter()
        for i in range(len(tasks)):
            if i not in self.rows:
                self._submit(i)

    def settle(self) -> None:
        """Note the answers that are there."""
        for future in [future for future in self.futures if future.done()]:
            i = self.futures.pop(future)
            row = self._row(future, i)
            if row is None:
                self.elsewhere[i] = Claim(self.paths[i])
            else:
                self.rows[i] = row

    def take_over(self) -> None:
        """Submit cells that nobody holds any more; where they were finished, the worker reads the row."""
        for i in [i for i, claim in self.elsewhere.items() if not claim.held()]:
            del self.elsewhere[i]
            self._submit(i)

    def under_way(self) -> float:
        """How many cells' worth of work is done in those that are not finished."""
        names = {self.paths[i].stem for i in (*self.futures.values(), *self.elsewhere)}
        return sum(_share(path) for path in self.cells.folder.glob("*.share") if path.stem in names)

    def _submit(self, i: int) -> None:
        cell, task = self.tasks[i]
        self.futures[self.workers.submit(finish, self.work, task, cell, str(self.cells.folder))] = i

    def _row(self, future: Answer, i: int) -> Row | None:
        try:
            row: Row | None = future.result()
            return row
        except WorkerDied as error:
            self.deaths[i] += 1
            return {"error": f"{LIVES} workers died of it: {error}"} if self.deaths[i] >= LIVES else None
        except CannotContinue:
            raise
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}


def finish(work: Work, task: Any, cell: Mapping[str, Any], folder: str) -> Row | None:
    """Compute one cell and keep its row, or read it; None where another worker is at it.  Runs in a worker."""
    cells = Cells(folder, report=lambda _: None)
    try:
        with Claim(cells.path(cell)).taken() as ours:
            if not ours:
                return None
            return cells.find(cell) or _computed(work, task, cell, cells)
    except CannotContinue as error:
        return {"error": str(error)}


def _computed(work: Work, task: Any, cell: Mapping[str, Any], cells: Cells) -> Row:
    """The row, how much of it is done meanwhile in a small file beside it: that works across processes and machines."""
    path, written = cells.path(cell).with_suffix(".share"), 0.0

    def tick(share: float) -> None:
        nonlocal written
        if time.monotonic() - written >= LOOK:
            written = time.monotonic()
            with suppress(OSError):  # only the bar suffers; a full disk is reported when the result is written
                path.write_text(f"{share:.4f}\n")

    tick(0.0)
    try:
        row = dict(work(task, tick))
        cells.save(cell, row)
    finally:
        path.unlink(missing_ok=True)
    return row


def _share(path: Path) -> float:
    try:
        return min(float(path.read_text()), 0.99)
    except (OSError, ValueError):
        return 0.0


class Claim:
    """A cell's lease as one worker sees it.

    Keep it while you wait for a cell: on another machine an owner is dead when this object has seen no renewal for
    LEASE seconds.
    """

    def __init__(self, result: Path) -> None:
        self.path = result.with_suffix(".claim")
        self._lease = SoftFileLease(self.path, lease_duration=LEASE, heartbeat_interval=BEAT)

    @contextmanager
    def taken(self) -> Iterator[bool]:
        """Holds the lease for as long as the context lasts; False where somebody else holds it.

        Raises:
            CannotContinue: when the file cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lease.acquire(blocking=False)
        except Timeout:
            yield False
            return
        except OSError as error:
            raise CannotContinue(unwritten(self.path, error)) from error
        try:
            yield True
        finally:
            self._lease.release()

    def held(self) -> bool:
        """Whether another living worker holds the lease."""
        if not self.path.exists():
            return False
        with self.taken() as free:
            return not free
