"""Runs a study and writes its folder: results, verdicts, figures, one report."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cotrain_losses.cli.report import Table

from ...results import CannotContinue, WrongSetting, check_one_of, write_results
from ..cell import Cell
from ..gaps import GAPS
from ..image_cell import ImageCell
from ..run import Runner, compute_cells, finished
from .catalogue import STUDIES
from .plans import SIZES
from .tables import verdicts

SWEPT = ("task", "gap", "method", "ratio", "label", "coverage", "unlabelled", "strength", "seed")
"""what the cells of a study may differ in"""
SHARED = ("target_demos", "source_demos", "episodes", "scales", "device")
"""what the cells of most studies have in common"""


def cells_of(study: str, preset: str, *, policy: str = "flow", device: str = "cpu") -> list[Cell]:
    """The cells of a study at a preset, each once; WrongSetting for an unknown study or preset, with what there is."""
    for what, value, known in (("study", study, STUDIES), ("preset of a study", preset, SIZES)):
        check_one_of(f"a {what}", value, known)
    if (only := STUDIES[study].only) is not None and preset != only:
        raise WrongSetting(f"the study {study} has one preset, {only}, got {preset!r}.")
    size = SIZES[preset]
    cells = dict.fromkeys(STUDIES[study].cells(replace(size, base=replace(size.base, policy=policy))))
    return [replace(cell, device=device) for cell in cells]


def run_study(
    study: str,
    preset: str,
    out: Path,
    runner: Runner,
    *,
    policy: str = "flow",
    device: str = "cpu",
    so_far: bool = False,
) -> tuple[Table, str]:
    """Compute every cell of a study and write its report into `out`/study; returns the verdicts, and them in words.

    Cells are kept in `out`/cells, which studies share.  With `so_far` the report is of those that are there.

    Raises WrongSetting for an unknown study or preset, CannotContinue as `compute_cells` does or without any cell.
    """
    started = time.time()
    cells = cells_of(study, preset, policy=policy, device=device)
    rows = finished(cells, out) if so_far else compute_cells(cells, out, runner)[0]
    results = [(cell, row) for cell, row in zip(cells, rows, strict=True) if "error" not in row]
    failed = [(cell, row["error"]) for cell, row in zip(cells, rows, strict=True) if "error" in row]
    if not results:
        raise CannotContinue(_nothing(study, len(cells), failed[0][1], out, so_far))
    listed = [{**row, "learning_rate": cell.budget.learning_rate} for cell, row in results]
    for row in listed:
        row.pop("picture", None)
    listed += [{**cell.settings(), "error": error} for cell, error in failed]
    settings = described(study, preset, cells, runner, time.time() - started)
    written = write_results(out / study, settings, listed)
    findings = STUDIES[study].findings(results)
    from .films import films
    from .page import lead, write_page

    write_page(out / study, study, written, results, failed, findings, films(results))
    return verdicts(findings), lead(findings, results, settings)


def described(study: str, preset: str, cells: Sequence[Cell], runner: Runner, seconds: float) -> dict[str, Any]:
    """The settings as results.json states them: what the cells have in common, and over what they differ."""

    def values(given: Iterable[Any]) -> Any:
        """What all cells share, else every value."""
        different = list(dict.fromkeys(given))
        return different[0] if len(different) == 1 else different

    first, knobs = cells[0], [asdict(cell.budget) for cell in cells]
    sees = isinstance(first, ImageCell)
    names = (*SWEPT, *(("look",) if sees else ()))
    swept = {f"{what}s": list(dict.fromkeys(getattr(c, what) for c in cells)) for what in names}
    observations = "images" if sees else "keypoints only"
    settings: dict[str, Any] = {"study": study, "preset": preset, "command": command(study, preset, first)}
    settings |= {"observations": observations, **swept, "pairs": len(swept["seeds"])}
    settings |= {"policy": values(c.policy for c in cells)}
    settings |= {name: values(getattr(c, name) for c in cells) for name in SHARED}
    settings |= {name: values(of_cell[name] for of_cell in knobs) for name in knobs[0]}
    settings |= {"gap_knobs": {gap: GAPS[gap].differences() for gap in swept["gaps"]}, "wall_s": round(seconds, 1)}
    return settings | {"workers": runner.workers, "executor": runner.executor}


def command(study: str, preset: str, cell: Cell) -> str:
    """The command that repeats a study, whose first cell this is."""
    words = f"cotrain bench sim2sim --study {study} --preset {preset}"
    words += "" if cell.policy == "flow" or STUDIES[study].only else f" --policy {cell.policy}"
    return words if cell.device == "cpu" else f"{words} --device {cell.device}"


def _nothing(study: str, cells: int, first: str, out: Path, so_far: bool) -> str:
    """Why there is no report."""
    if so_far:
        return f"--so-far reports finished cells, got none of {study}'s {cells} in {out}. Leave it out to compute them."
    return f"none of {cells} cells could be computed. The first says: {first}"
