"""A run: demonstrations, one cell a method, results, pictures and a report in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.progress import Progress

from ..progress import progress, say
from ..results import CannotContinue, Cells, Row, write_results
from ..sweep import processes, sweep
from .cell import Cell, Task, compute, requests
from .demos import Demos, Request, demonstrations
from .gaps import GAPS
from .settings import Settings


def run(settings: Settings, out: str | Path, *, workers: int = 2) -> Row:
    """Run what the settings say and write results.json, results.csv, figures and report.html into `out`.

    Cells that `out` holds already are not computed again.  Returns what results.json holds.

    Raises:
        CannotContinue: an expert below its gate, a disk that is full, a worker that died, a cell that failed.
        ModuleNotFoundError: without the `bench` extra.
    """
    import metaworld  # noqa: F401  said here, before any work, when it is missing

    out = Path(out)
    with progress() as bars, processes(workers) as executor:
        source, target = (_recorded(request, executor, bars) for request in requests(settings))
        cells = [Cell(method, settings) for method in settings.methods]
        tasks = [(cell.key(), Task(cell, source, target)) for cell in cells]
        rows = sweep(compute, tasks, Cells(out / "cells", say), executor, bars, label="train and evaluate")
    return _write(settings, out, rows, (source, target))


def export_demonstrations(settings: Settings, form: str, out: str | Path, *, workers: int = 2) -> Path:
    """Write the demonstrations of both domains in a format that policies are trained from; returns where they are."""
    from .export import check_format, export

    check_format(form)
    with progress() as bars, processes(workers) as executor:
        source, target = (_recorded(request, executor, bars) for request in requests(settings))
    path = Path(out) / (form if form == "lerobot" else f"{form}.hdf5")
    return export({"source": source, "target": target}, form, path)


def _recorded(request: Request, executor: Executor, bars: Progress) -> Demos:
    domain = "target" if request.gap.differences() else "source"
    bar = bars.add_task(f"{domain} demonstrations", total=request.count)
    return demonstrations(request, executor, say=say, done=lambda more: bars.advance(bar, more))


def _write(settings: Settings, out: Path, rows: Sequence[Row], demos: tuple[Demos, Demos]) -> Row:
    from . import figures
    from .summary import write_summary

    failed = {m: row["error"] for m, row in zip(settings.methods, rows, strict=True) if "error" in row}
    done = [row for row in rows if "error" not in row]
    listed = [{k: v for k, v in row.items() if k != "picture"} for row in done]
    listed += [{"method": method, "seed": settings.seed, "error": error} for method, error in failed.items()]
    results = write_results(out, described(settings, demos), listed)
    if done:
        pictures = figures.write_figures(out, done, settings)
        write_summary(out, results, pictures)
    if failed:
        reasons = "; ".join(f"{method}: {reason}" for method, reason in failed.items())
        raise CannotContinue(f"{len(failed)} of {len(rows)} cells failed and will be tried again next time. {reasons}")
    return results


def described(settings: Settings, demos: tuple[Demos, Demos]) -> dict[str, Any]:
    """The settings as results.json states them: knobs, demonstrations and the expert's success included."""
    source, target = demos
    return {
        **asdict(settings),
        "gap_knobs": GAPS[settings.gap].differences(),
        **{name: _described(side) for name, side in (("source", source), ("target", target))},
    }


def _described(demos: Demos) -> Row:
    return {"demos": len(demos), "frames": len(demos.commands), "tried": demos.tried, "expert": demos.expert}
