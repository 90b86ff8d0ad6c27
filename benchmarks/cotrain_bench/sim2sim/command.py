"""`cotrain bench sim2sim`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from cotrain_losses.cli.report import Table

from ..executors import EXECUTORS
from ..results import CannotContinue, WrongSetting, check_one_of
from ..terminal import cli_errors, show_table
from .export import FORMATS
from .gaps import GAPS
from .methods import METHODS
from .policies import READY
from .studies.catalogue import STUDIES
from .tasks import TASKS, meta_world

if TYPE_CHECKING:
    from .run import Runner


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def sim2sim(
    preset: Annotated[
        str | None,
        Option(
            help="Of a comparison: `demo` (five minutes on two cores), `smoke` (under one; too short to mean much). "
            "Of a study: `smoke`, `standard` (under an hour on two cores), `overnight`, `paper` (a cluster)."
        ),
    ] = None,
    study: Annotated[str | None, Option(help=f"A question that many cells answer: {', '.join(STUDIES)}.")] = None,
    seed: Annotated[
        int | None, Option(help="Seed of demonstrations, first weights and evaluation episodes [0].")
    ] = None,
    out: Annotated[Path, Option(help="Folder for results, pictures and report; run again to continue.")] = Path(
        "results/sim2sim"
    ),
    task: Annotated[
        str | None,
        Option(help=f"{_quoted(meta_world())}; where robosuite is installed: {_quoted(TASKS.keys() - meta_world())}."),
    ] = None,
    gap: Annotated[
        str | None,
        Option(
            help=f"How the target differs: {_quoted(GAPS)}. `visual` is the camera, `control` the frame of commands, "
            "`physics` mass, friction, grip and lag."
        ),
    ] = None,
    methods: Annotated[str | None, Option(help=f"Comma-separated: {', '.join(METHODS)}.")] = None,
    ratio: Annotated[float | None, Option(help="Share of target samples in a batch, in [0, 1].")] = None,
    target_demos: Annotated[
        int | None, Option(help="Target demonstrations. With 10 or more this task is solved without the source.")
    ] = None,
    source_demos: Annotated[int | None, Option(help="Source demonstrations.")] = None,
    steps: Annotated[int | None, Option(help="Optimizer steps of each policy.")] = None,
    episodes: Annotated[int | None, Option(help="Evaluation episodes, the same for all methods.")] = None,
    policy: Annotated[str | None, Option(help=f"{_quoted(READY)}, or module:factory of your own.")] = None,
    device: Annotated[
        str | None, Option(help="Where policies are trained: `cpu`, `cuda`, `cuda:1`; workers step and draw.  [cpu]")
    ] = None,
    workers: Annotated[int, Option(min=1, help="Processes of one thread each, or Slurm jobs, at once.")] = 2,
    so_far: Annotated[bool, Option(help="Of a study: report the finished cells and compute none.")] = False,
    executor: Annotated[str, Option(help=f"Where cells are computed: {_quoted(EXECUTORS)}.")] = "local",
    slurm: Annotated[str, Option(help="What Slurm's jobs ask for, as name=value pairs: `partition=cpu,time=60`.")] = "",
    export: Annotated[
        str | None, Option(help=f"Write the demonstrations for another codebase and stop: {_quoted(FORMATS)}.")
    ] = None,
) -> None:
    """Co-train on demonstrations from two simulated domains and compare methods.

    A scripted expert demonstrates a Meta-World task: a few times in the *target* domain, many times in the *source*
    domain, which differs by a declared gap. Each method trains the same policy on the same demonstrations through
    `CoTrain`; all are evaluated in the target domain on the same episodes.

    An option that is left out has the preset's value. Demonstrations are cached in `$COTRAIN_CACHE`, else in
    `~/.cache/cotrain_losses`.

    `--study` answers a question of the paper with many such cells and gives a verdict on each published finding.
    Studies in one folder share their cells.

    Examples: `cotrain bench sim2sim --gap hard --methods cotraining,cfg --ratio 0.3 --out results/hard`;
    `cotrain bench sim2sim --study guidance --preset standard --out results/studies`
    """
    with cli_errors(out):
        from .run import Runner

        _check(executor, slurm, study is None and so_far)
        runner = Runner(workers, executor, slurm)
        changes: dict[str, Any] = {"seed": seed, "task": task, "gap": gap, "ratio": ratio}
        changes |= {"methods": None if methods is None else tuple(methods.split(","))}
        changes |= {"target_demos": target_demos, "source_demos": source_demos, "steps": steps, "episodes": episodes}
        if study is not None:
            only = STUDIES[study].only if study in STUDIES else None
            how = {"policy": policy or "flow", "device": device or "cpu", "so_far": so_far}
            _study(study, preset or only or "smoke", {**changes, "export": export}, out, runner, how)
        else:
            _comparison(preset or "demo", {**changes, "policy": policy, "device": device}, export, out, runner)


def _check(executor: str, slurm: str, so_far_alone: bool) -> None:
    check_one_of("an executor", executor, EXECUTORS)
    if slurm and executor != "slurm":
        raise WrongSetting(f"--slurm is what jobs of --executor slurm ask for, got {slurm!r} with {executor}.")
    if so_far_alone:
        raise WrongSetting("--so-far reports the finished cells of a study, got no study. Name one: --study methods.")


def _comparison(preset: str, changes: dict[str, Any], export: str | None, out: Path, runner: Runner) -> None:
    from .comparison import compare, export_demonstrations, settings
    from .summary import headline, success_table

    chosen = settings(preset, **changes)
    if export is not None:
        typer.echo(export_demonstrations(chosen, export, out, runner))
    else:
        rows = compare(chosen, out, runner)["rows"]
        _show(success_table(rows), headline(rows), out)


def _study(study: str, preset: str, changes: dict[str, Any], out: Path, runner: Runner, how: dict[str, Any]) -> None:
    from .studies.study import run_study

    if given := [f"--{name.replace('_', '-')}" for name, value in changes.items() if value is not None]:
        raise CannotContinue(
            f"a study's cells are fixed by its preset, so that they are fixed before results are seen, got "
            f"{', '.join(given)}. Leave them out, or compare methods without --study."
        )
    _show(*run_study(study, preset, out, runner, **how), out / study)


def _show(table: Table, headline: str, out: Path) -> None:
    show_table(table)
    typer.echo(f"\n{headline}\n{out / 'report.html'}")
