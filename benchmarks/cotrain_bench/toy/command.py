"""`cotrain bench toy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def toy(
    preset: Annotated[
        str,
        typer.Option(
            help="`smoke`: 81 cells, about a minute on one core. `paper`: the published grid with w = 0 and 1, "
            "three seeds, trained three times longer; about ten minutes."
        ),
    ] = "smoke",
    seed: Annotated[list[int] | None, typer.Option(help="Decides all draws; repeat it for several grids.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for results, pictures and report.")] = Path("results/toy"),
    compare_single: Annotated[
        bool, typer.Option("--compare-single", help="Also measure what training the cells one by one would cost.")
    ] = False,
) -> None:
    """Train the paper's toy on a grid of distances and mixing ratios.

    Two spirals, one shifted, are learned by small rectified flows from 3000 source and 30 target samples whose inputs
    lie in two planes. How far apart the planes are decides what co-training does: *overlapping* planes mix the
    domains, *aligned* ones let the source teach the target what it never saw, *disjoint* ones teach nothing.

    Example: `cotrain bench toy --seed 0 --seed 1 --seed 2 --out results/toy`
    """
    from ..terminal import cli_errors

    with cli_errors(out):
        from .pages import study
        from .settings import settings

        try:
            finding = study(preset, settings(preset, seed or ()), out, compare_single=compare_single)
        except KeyboardInterrupt:
            said = "Interrupted. All cells train as one, so none is finished: the same command starts anew."
            typer.echo(said, err=True)
            raise typer.Exit(130) from None
        typer.echo(f"{finding}\n{out / 'report.html'}")
