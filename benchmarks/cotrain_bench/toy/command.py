"""`cotrain bench toy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def toy(
    preset: Annotated[
        str | None,
        typer.Option(
            help="`smoke`, the default: 81 cells, about a minute on one core. `paper`: the published grid with w = 0 "
            "and 1, three seeds, trained three times longer; about ten minutes."
        ),
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Seed of all draws; repeat for several grids.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for results, pictures and report.")] = Path("results/toy"),
    compare_single: Annotated[
        bool, typer.Option("--compare-single", help="Also measure what training the cells one by one would cost.")
    ] = False,
    study: Annotated[
        str | None,
        typer.Option(
            help="`grid`: thirteen methods in each regime; half an hour on one core. `strengths`: the runs from "
            "which the strengths of its terms were chosen. Interrupted, the same command continues."
        ),
    ] = None,
    so_far: Annotated[bool, typer.Option(help="Of a study: report the finished cells and compute none.")] = False,
) -> None:
    """Train the paper's toy on a grid of distances and mixing ratios.

    Two spirals, one shifted, are learned by small rectified flows from 3000 source and 30 target samples whose inputs
    lie in two planes. How far apart the planes are decides what co-training does: *overlapping* planes mix the
    domains, *aligned* ones let the source teach the target what it never saw, *disjoint* ones teach nothing.

    A study has cells of its own, so it takes no preset and no seed.

    Examples: `cotrain bench toy --study grid --out results/toy-grid`; `cotrain bench toy --seed 0 --seed 1`
    """
    from ..terminal import cli_errors

    with cli_errors(out):
        if study is not None:
            given = {"preset": preset, "seed": seed, "compare-single": compare_single or None}
            typer.echo(f"{_studied(study, out, so_far, given)}\n{out / 'report.html'}")
            return
        from .pages import study as run
        from .settings import settings

        preset = preset or "smoke"
        try:
            finding = run(preset, settings(preset, seed or ()), out, compare_single=compare_single)
        except KeyboardInterrupt:
            said = "Interrupted. All cells train as one, so none is finished: the same command starts anew."
            typer.echo(said, err=True)
            raise typer.Exit(130) from None
        typer.echo(f"{finding}\n{out / 'report.html'}")


def _studied(study: str, out: Path, so_far: bool, others: dict[str, Any]) -> str:
    from ..results import WrongSetting
    from .grid_page import grid_study

    if given := [f"--{name}" for name, value in others.items() if value is not None]:
        raise WrongSetting(f"a study has cells of its own, got {', '.join(given)} too. Leave out one or the other.")
    return grid_study(study, out, so_far=so_far)
