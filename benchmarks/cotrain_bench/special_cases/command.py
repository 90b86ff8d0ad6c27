"""`cotrain bench special-cases`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def special_cases(
    out: Annotated[Path, typer.Option(help="Folder for results and pages.")] = Path("results/special-cases"),
    draws: Annotated[int, typer.Option(min=1, help="Drawn inputs per case and per edge.")] = 50,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the first draw.")] = 0,
) -> None:
    """Compare each recipe with the formula it was published as, and check which setting turns one into another.

    Writes `results.json`, `results.csv`, `special-cases.md` with its picture, and `report.html`, and ends with status 1
    if an error is above its tolerance. At 50 draws some minutes on one core.

    Example: `cotrain bench special-cases --out results/special-cases`
    """
    from ..terminal import cli_errors

    with cli_errors(out):
        from .study import run

        results = run(out, draws=draws, seed=seed)
    wrong = [row["name"] for row in results["rows"] if not row["holds"]]
    typer.echo(f"{len(results['rows']) - len(wrong)} of {len(results['rows'])} hold.\n{out / 'report.html'}")
    if wrong:
        typer.echo("Not within tolerance: " + "; ".join(wrong), err=True)
        raise typer.Exit(1)
