"""A run of the toy from its settings to its folder of results."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..progress import progress
from ..results import plain, write, write_results
from . import experiment
from .findings import checks, variances
from .pages import write_pages
from .settings import Settings


def study(preset: str, settings: Settings, out: Path, *, compare_single: bool = False) -> str:
    """Run a grid and write settings.json, then results.json, results.csv, pictures, table.md and report.html.

    Returns the finding in one sentence.

    Raises:
        CannotContinue: when the folder cannot be written (before anything is trained), or training diverged.
    """
    described = {"preset": preset, **asdict(settings)}
    write(out / "settings.json", (json.dumps(plain(described), indent=1) + "\n").encode())
    with progress() as bars:
        outcome = experiment.run(
            settings, lambda steps: bars.track(steps, description=f"{len(settings.cells)} cells as one")
        )
    timing: dict[str, Any] = {"cpu_seconds": outcome.cpu_seconds}
    if compare_single:
        timing |= experiment.one_by_one(settings.cells, settings.training)
    findings = {
        "timing": timing,
        "variance_of_log_loss": {seed: found._asdict() for seed, found in variances(outcome.rows).items()},
        "checks": [check._asdict() for check in checks(outcome.rows)],
    }
    write_results(out, {**described, **plain(findings)}, outcome.rows)
    return write_pages(out, preset, settings, outcome, timing)
