"""A comparison: demonstrations, one cell a method, results, pictures and a report in one folder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..results import CannotContinue, Row, write_results
from .demos import Demos
from .gaps import GAPS
from .run import Runner, compute_cells, record
from .settings import Settings


def compare(settings: Settings, out: str | Path, runner: Runner) -> Row:
    """Run what the settings say and write results.json, results.csv, figures and report.html into `out`.

    Cells that `out` holds already are not computed again.  Returns what results.json holds.

    Raises CannotContinue as `compute_cells` does, or for a cell that failed.
    """
    from . import figures
    from .summary import write_summary

    out, requests = Path(out), settings.cells()[0].requests()
    rows, demos = compute_cells(settings.cells(), out, runner)
    failed = {m: row["error"] for m, row in zip(settings.methods, rows, strict=True) if "error" in row}
    done = [row for row in rows if "error" not in row]
    listed = [{k: v for k, v in row.items() if k != "picture"} for row in done]
    listed += [{"method": method, "seed": settings.seed, "error": error} for method, error in failed.items()]
    of_domains = {name: demos[requests[name]] for name in ("source", "target")}
    results = write_results(out, described(settings, of_domains), listed)
    if done:
        write_summary(out, results, figures.write_figures(out, done, settings))
    if failed:
        reasons = "; ".join(f"{method}: {reason}" for method, reason in failed.items())
        raise CannotContinue(f"{len(failed)} of {len(rows)} cells failed and will be tried again next time. {reasons}")
    return results


def export_demonstrations(settings: Settings, form: str, out: str | Path, runner: Runner) -> Path:
    """Write the demonstrations of both domains in a format that policies are trained from; returns where they are."""
    from .export import check_format, export

    check_format(form)
    requests = settings.cells()[0].requests()
    demos = record([requests["source"], requests["target"]], runner)
    path = Path(out) / (form if form == "lerobot" else f"{form}.hdf5")
    return export({name: demos[requests[name]] for name in ("source", "target")}, form, path)


def described(settings: Settings, demos: dict[str, Demos]) -> dict[str, Any]:
    """The settings as results.json states them: knobs, demonstrations and the expert's success included."""
    found: dict[str, Any] = {"gap_knobs": GAPS[settings.gap].differences()}
    for name, side in demos.items():
        counts = {"demos": len(side), "frames": len(side.commands), "tried": side.tried}
        found[name] = {**counts, "expert": side.expert}
    return {**asdict(settings), **found}
