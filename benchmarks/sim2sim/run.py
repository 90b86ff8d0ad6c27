"""Demonstrations first, then the cells, through one executor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..progress import progress, say
from ..results import Cells, Row
from ..sweep import processes, sweep
from .cell import Cell, compute
from .demos import Demos, Request, demonstrations


@dataclass(frozen=True)
class Runner:
    """Where cells are computed."""

    workers: int = 2
    """processes of one thread each"""


def compute_cells(cells: Sequence[Cell], out: Path, runner: Runner) -> tuple[list[Row], dict[Request, Demos]]:
    """A row for every cell, computed or found in `out`, and the demonstrations they rest on.

    Raises:
        CannotContinue: an expert below its gate, a disk that is full.
        ModuleNotFoundError: without the `bench` extra.
    """
    import metaworld  # noqa: F401  said here, before any work, when it is missing

    demos = record([request for cell in cells for request in cell.requests().values()], runner)
    with progress() as bars, processes(runner.workers) as executor:
        tasks = [(cell.key(), cell) for cell in cells]
        rows = sweep(compute, tasks, Cells(out / "cells", say), executor, bars, label="train and evaluate")
    return rows, demos


def record(requests: Sequence[Request], runner: Runner) -> dict[Request, Demos]:
    """The demonstrations asked for, from the cache or newly recorded on this machine."""
    wanted = list(dict.fromkeys(requests))
    with progress() as bars, processes(runner.workers) as executor:
        bar = bars.add_task("demonstrations", total=sum(request.count for request in wanted))
        return {r: demonstrations(r, executor, say=say, done=lambda more: bars.advance(bar, more)) for r in wanted}
