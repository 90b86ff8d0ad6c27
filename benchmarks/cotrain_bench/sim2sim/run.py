"""Demonstrations first, then the cells, through one executor."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from cotrain_losses.cli.progress import progress, say

from ..executors import executor
from ..results import CannotContinue, Cells, Row, check_folder
from ..sweep import sweep
from .cell import Cell
from .compute import compute
from .demos import Demos, Request, demonstrations
from .image_cell import ImageCell
from .policies import factory
from .rendering import check_drawing, check_simulator
from .tasks import meta_world


@dataclass(frozen=True)
class Runner:
    """Where cells are computed.  Demonstrations are always recorded on this machine: they are many short jobs."""

    workers: int = 2  # processes of one thread each, or jobs that run at the same time
    executor: str = "local"  # `local` or `slurm`
    slurm: str = ""  # what jobs ask for, as name=value pairs


def compute_cells(cells: Sequence[Cell], out: Path, runner: Runner) -> tuple[list[Row], dict[Request, Demos]]:
    """A row for every cell, computed or found in `out`, and the demonstrations they rest on.

    Raises:
        CannotContinue: before anything is computed, a folder that cannot be written, an OpenGL that does not start, a
            device that torch cannot use, a policy that cannot be imported; then an expert below its gate, a full disk,
            a cluster without jobs.
        ModuleNotFoundError: without the `bench` extra, or `slurm` without `cluster`.
    """
    check_folder(out)
    if runner.executor == "local" and (missing := unfinished(cells, out)):
        with executor("local", 1) as worker:  # not here: processes that are made later would share a driver's state
            if any(isinstance(cell, ImageCell) for cell in missing):
                worker.submit(check_drawing).result()
            for name in {cell.device for cell in missing} - {"cpu"}:
                worker.submit(check_device, name).result()
    for name in dict.fromkeys(cell.policy for cell in cells):
        factory(name)
    demos = record([request for cell in cells for request in cell.requests().values()], runner)
    with progress() as bars, executor(runner.executor, runner.workers, out / "jobs", runner.slurm) as workers:
        tasks = [(cell.key(), cell) for cell in cells]
        rows = sweep(compute, tasks, Cells(out / "cells", say), workers, bars, label="train and evaluate")
    return rows, demos


def check_device(name: str) -> None:
    """Raise CannotContinue for a device that torch cannot use here."""
    try:
        torch.ones((), device=name).item()
    except (RuntimeError, AssertionError) as error:  # a build of torch without CUDA asserts
        said = re.split(r"\.?\s*\n|\. ", str(error).strip())[0].rstrip(".")  # torch goes on for a page
        raise CannotContinue(
            f"--device names a device that torch {torch.__version__} can use here, got {name!r}: {said}. "
            "Leave it out to train on the CPU."
        ) from error


def unfinished(cells: Sequence[Cell], out: Path) -> list[Cell]:
    """The cells that have no file in `out`."""
    kept = Cells(out / "cells", say)
    return [cell for cell in cells if not kept.path(cell.key()).exists()]


def finished(cells: Sequence[Cell], out: Path) -> list[Row]:
    """The rows that `out` has, {"error": ...} where a cell is not finished; computes nothing."""
    kept = Cells(out / "cells", say)
    return [kept.find(cell.key()) or {"error": "not finished"} for cell in cells]


def record(requests: Sequence[Request], runner: Runner) -> dict[Request, Demos]:
    """The demonstrations asked for, from the cache or newly recorded."""
    wanted = list(dict.fromkeys(requests))
    if any(request.task in meta_world() for request in wanted):
        check_simulator()
    here = runner.workers if runner.executor == "local" else os.cpu_count() or 1
    with progress() as bars, executor("local", here) as workers:
        bar = bars.add_task("demonstrations", total=sum(request.count for request in wanted))
        return {r: demonstrations(r, workers, report=say, done=lambda more: bars.advance(bar, more)) for r in wanted}
