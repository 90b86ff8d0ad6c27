"""`cotrain bench estimators`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def estimators(
    preset: Annotated[
        str,
        typer.Option(
            help="`smoke`: seconds. `demo`: dimensions 1 to 64, n up to 1000, minutes. `full`: n up to 10^5, hours. "
            "`headline`: 1000 x 1000 in 32 dimensions, repeated for times."
        ),
    ] = "demo",
    out: Annotated[Path, typer.Option(help="Folder for results; run again to continue.")] = Path("results/estimators"),
    peers: Annotated[str | None, typer.Option(help="Interpreter with densratio and skada; default: this one.")] = None,
) -> None:
    """Density-ratio estimators against ratios known in closed form, beside densratio and skada where installed.

    Example: `cotrain bench estimators --preset headline --peers ~/peers/bin/python`
    """
    from ..cli_errors import cli_errors
    from ..results import CannotContinue

    with cli_errors(out):
        from ..progress import show_table
        from .study import PRESETS, study, summary

        if preset not in PRESETS:
            raise CannotContinue(f"preset is one of {', '.join(PRESETS)}, got {preset!r}.")
        show_table(summary(study(preset, out, peers or sys.executable)))
        typer.echo(out / "report.html")
