"""`cotrain bench`: every benchmark is one command that writes results.json, results.csv, figures and report.html."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ..cli import missing
from .estimators.command import estimators
from .peers.command import peers
from .report import Table
from .results import CannotContinue
from .special_cases.command import special_cases
from .toy.command import toy

bench = typer.Typer(
    name="bench",
    help="Run a benchmark: one command, one folder of results, one page to read. Interrupted, it continues.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@contextmanager
def one_sentence(out: Path) -> Iterator[None]:
    """Ends a command with one sentence where somebody can do something about it, and with a traceback elsewhere."""
    try:
        yield
    except ModuleNotFoundError as error:
        _end(missing(error), 1)
    except CannotContinue as error:
        _end(str(error), 1)
    except KeyboardInterrupt:
        _end(f"Interrupted. Finished cells are kept in {out}: the same command continues from them.", 130)


def _end(sentence: str, code: int) -> None:
    typer.echo(sentence, err=True)
    raise typer.Exit(code)


@bench.command()
def sim2sim(
    preset: Annotated[
        str, typer.Option(help="`demo` (about 4 minutes on two cores) or `smoke` (under one; too short to mean much).")
    ] = "demo",
    seed: Annotated[int, typer.Option(help="Decides demonstrations, first weights and evaluation episodes.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for results, pictures and report; run again to continue.")] = Path(
        "results/sim2sim"
    ),
    task: Annotated[str | None, typer.Option(help="Meta-World task: `pick-place`.")] = None,
    gap: Annotated[
        str | None,
        typer.Option(
            help="How the target differs: `none`, `visual` (camera), `control` (the frame of commands), `physics` "
            "(mass, friction, grip, lag), `visual-control`, `hard`."
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(help="Comma-separated: real_only, cotraining, ot, mmd, adda, tzeng, cfg, cfg_adda, probe."),
    ] = None,
    ratio: Annotated[float | None, typer.Option(help="Share of target samples in a batch, in (0, 1].")] = None,
    target_demos: Annotated[
        int | None, typer.Option(help="Target demonstrations. With 10 or more this task is solved without the source.")
    ] = None,
    source_demos: Annotated[int | None, typer.Option(help="Source demonstrations.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps of each policy.")] = None,
    episodes: Annotated[int | None, typer.Option(help="Evaluation episodes, the same for all methods.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes of one thread each.")] = 2,
) -> None:
    """Co-train on demonstrations from two simulated domains and compare methods.

    A scripted expert demonstrates a Meta-World task: a few times in the *target* domain, many times in the *source*
    domain, which differs by a declared gap. Each method trains the same policy on the same demonstrations through
    `CoTrain`; all are evaluated in the target domain on the same episodes.

    Options left out keep the preset's value. Demonstrations are cached in `$COTRAIN_CACHE`, else in
    `~/.cache/cotrain_losses`.

    Example: `cotrain bench sim2sim --gap hard --methods cotraining,cfg --ratio 0.3 --out results/hard`
    """
    with one_sentence(out):
        from .sim2sim.settings import settings
        from .sim2sim.study import run
        from .sim2sim.summary import headline, success_table

        try:
            chosen = settings(
                preset,
                seed=seed,
                task=task,
                gap=gap,
                methods=tuple(methods.split(",")) if methods is not None else None,
                ratio=ratio,
                target_demos=target_demos,
                source_demos=source_demos,
                steps=steps,
                episodes=episodes,
            )
        except ValueError as error:
            raise CannotContinue(str(error)) from error
        results = run(chosen, out, workers=workers)
        _show(success_table(results["rows"]), headline(results["rows"]), out)


for command in (toy, special_cases, peers, estimators):
    bench.command()(command)


def _show(table: Table, headline: str, out: Path) -> None:
    from .progress import show_table

    show_table(table)
    typer.echo(f"\n{headline}\n{out / 'report.html'}")
