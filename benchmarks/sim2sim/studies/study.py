"""Runs a study and writes its folder: results, verdicts, figures, one report."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ...report import Table
from ...results import CannotContinue, Row, write_results
from ..cell import Cell
from ..gaps import GAPS
from ..run import Runner, compute_cells
from .findings import findings
from .plans import CELLS, SIZES, unique
from .tables import verdicts


def cells_of(study: str, preset: str, *, policy: str = "flow") -> list[Cell]:
    """The cells of a study at a preset, each once.

    Raises:
        ValueError: an unknown study or preset, with what there is.
    """
    for what, value, known in (("study", study, CELLS), ("preset of a study", preset, SIZES)):
        if value not in known:
            raise ValueError(f"a {what} is one of {', '.join(known)}, got {value!r}.")
    size = SIZES[preset]
    return list(unique(CELLS[study](replace(size, base=replace(size.base, policy=policy)))))


def run_study(study: str, preset: str, out: Path, runner: Runner, *, policy: str = "flow") -> tuple[Table, str]:
    """Compute every cell of a study and write its report into `out`/study; returns the verdicts, and them in words.

    Cells are kept in `out`/cells, which studies share.

    Raises:
        ValueError: an unknown study or preset.
        CannotContinue: an expert below its gate, a full disk, or no cell that could be computed.
    """
    started = time.time()
    cells = cells_of(study, preset, policy=policy)
    rows, _ = compute_cells(cells, out, runner)
    results = [(cell, row) for cell, row in zip(cells, rows, strict=True) if "error" not in row]
    failed = [(cell, row["error"]) for cell, row in zip(cells, rows, strict=True) if "error" in row]
    if not results:
        raise CannotContinue(f"none of {len(cells)} cells could be computed. The first says: {failed[0][1]}")
    listed = [{k: v for k, v in row.items() if k != "picture"} for _, row in results]
    listed += [{**_asked(cell), "error": error} for cell, error in failed]
    settings = described(study, preset, policy, runner, time.time() - started)
    written = write_results(out / study, settings, listed)
    found = findings(study, results)
    from .films import films
    from .page import lead, write_page

    write_page(out / study, study, written, results, failed, found, films(results))
    return verdicts(found), lead(found, results)


def described(study: str, preset: str, policy: str, runner: Runner, seconds: float) -> dict[str, Any]:
    """The settings as results.json states them."""
    size = SIZES[preset]
    gaps = {name: GAPS[name].differences() for name in dict.fromkeys(c.gap for c in CELLS[study](size))}
    return {
        "study": study,
        "preset": preset,
        "policy": policy,
        "command": command(study, preset, policy),
        **asdict(size),
        "gap_knobs": gaps,
        "wall_s": round(seconds, 1),
        "workers": runner.workers,
    }


def command(study: str, preset: str, policy: str) -> str:
    """The command that repeats a study."""
    words = f"cotrain bench sim2sim --study {study} --preset {preset}"
    return words if policy == "flow" else f"{words} --policy {policy}"


def _asked(cell: Cell) -> Row:
    return {name: value for name, value in vars(cell).items() if name not in ("budget", "scales")}
