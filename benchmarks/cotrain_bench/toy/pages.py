"""A run of the toy from its settings to its folder of results, and the report of it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cotrain_losses.cli.progress import progress
from cotrain_losses.cli.report import Code, Figure, Section, Table, Text, as_markdown, as_png

from ..results import Row, plain, write, write_report, write_results
from . import curves, experiment, figures
from .experiment import BANDWIDTH, Outcome
from .findings import ALIGNED, DISJOINT, OVERLAP, PUBLISHED, Check, Variance, checks, grid, variance, variances
from .settings import Settings

SHOWN = (0.01, 0.1, 0.5, 0.9)  # ratios of the closed-form table


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
        "variance_of_log_loss": {seed: shares._asdict() for seed, shares in variances(outcome.rows).items()},
        "checks": [check._asdict() for check in checks(outcome.rows)],
    }
    write_results(out, {**described, **plain(findings)}, outcome.rows)
    return write_pages(out, preset, settings, outcome, timing)


def write_pages(out: Path, preset: str, settings: Settings, outcome: Outcome, timing: Mapping[str, Any]) -> str:
    """Write report.html, its PNG files and table.md; returns the finding in one sentence.

    Args:
        timing: `cpu_seconds` of this run, and what `experiment.one_by_one` measured, when it did.
    """
    rows, seeds = outcome.rows, settings.seeds
    finding, table = headline(checks(rows)), check_table(checks(rows))
    losses = [[statistics.median(each) for each in row] for row in _per_seed(rows, settings)]
    pictures = {
        "loss_grid": as_png(figures.loss_grids(losses, settings.distances, settings.ratios)),
        "regimes": as_png(figures.regimes(outcome.positions, outcome.samples, seeds[0])),
        "target_mass": as_png(figures.masses(mass_rows(rows, (OVERLAP, 0.1, ALIGNED, DISJOINT)))),
    }
    for name, png in pictures.items():
        write(out / f"{name}.png", png)
    write(out / "table.md", (as_markdown(table) + "\n").encode())
    over = f"median over seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else f"seed {seeds[0]}"
    read_grid = f"Squared error to the target curve per dimension, {over}. {READ_GRID}"
    generated = (
        f"What policies generate on the target plane, one policy a box, seed {seeds[0]}; axes in the toy's units."
    )
    masses = Figure(pictures["target_mass"], f"Markers are means over n = {len(seeds)} seeds, without intervals.")
    sections = [
        Section("Numbers to reach", [table]),
        Section("Loss by distance and ratio", [Figure(pictures["loss_grid"], read_grid), Text(READ_PUBLISHED)]),
        Section("Which of the two decides", [variance_table(variances(rows)), Text(READ_VARIANCE)]),
        Section("Three regimes, and the target alone", [Figure(pictures["regimes"], generated), Text(READ_REGIMES)]),
        Section("Without training: the closed form", [Text(READ_CLOSED_FORM), masses, mass_table(rows)]),
        Section("Cost", [cost_table(settings, timing)]),
        Section("Every setting", [_settings_table(preset, settings), Code(command(preset, seeds))]),
    ]
    write_report(out / "report.html", "The toy of co-training: two spirals, two planes", sections, lead=finding)
    return finding


READ_GRID = (
    "Rows: how far apart the planes of the inputs are. Columns: the share of target samples; 0 is the source alone, 1 "
    "the target alone. A policy cannot be below 0.09, the variance of the output noise."
)
READ_PUBLISHED = (
    "The published grid comes from other draws and another network, and shows one number a cell. Here the aligned band "
    "is wider and reaches lower losses, and in the overlap the loss falls with w where the published one stays near "
    "10. What is not asserted, because it changes with the seed: the best w, the best dz, and cells with dz of 3 or "
    "more and w of .01 or less."
)
READ_REGIMES = (
    "Where the planes overlap, one input gets answers from both curves. Where they are aligned, the target learns from "
    "the source what it never saw (u > .8) and keeps its own shift; the target alone leaves its curve there. Where "
    "they are disjoint the policy misses the curve even where it has target data: an input of 51 beside two in [0, 1] "
    "also makes training hard, so this loss is not missing transfer alone."
)
READ_VARIANCE = (
    "Two-way analysis of variance of the logarithm of the loss over the cells with 0 < w < 1, one observation a cell, "
    "so the interaction includes chance. The published bars do not follow from the published grid, whose own analysis "
    "is in the table. To be reproduced is the order, dz first."
)
READ_CLOSED_FORM = (
    "The optimal score of the training samples, with a Gaussian kernel of width "
    f"{BANDWIDTH:g} on the inputs, answers at a target training input with a target output with a probability that "
    "follows from a formula alone. For the trained policies the same share is counted: outputs nearer to the target's "
    "curve. The formula knows overlap (dz below the kernel's width: w decides) and disjoint (dz far above: the target "
    "alone answers, and where it has no data nobody helps). Where the trained policies transfer, it says the same as "
    "for disjoint planes: structured transfer is a property of the trained network. In the overlap the formula gives "
    "the target more than the trained policies do, because it looks at training inputs and remembers them."
)


def headline(checked: Sequence[Check]) -> str:
    """What was reached, in one sentence."""
    reached, missed = sum(check.reached for check in checked), [check for check in checked if not check.reached]
    sentence = f"{reached} of {len(checked)} figures are reached"
    if not missed:
        return sentence + ": the three regimes show, and the distance explains more than the ratio."
    return f"{sentence}. Not reached: " + "; ".join(f"{c.figure}, seed {c.seed} ({c.got})" for c in missed) + "."


def check_table(checked: Sequence[Check]) -> Table:
    """The figures to reach, one row each, a column for each seed."""
    seeds = sorted({check.seed for check in checked})
    lines = []
    for first in (check for check in checked if check.seed == seeds[0]):
        each = [check for check in checked if check.figure == first.figure]
        verdict = "reached" if all(check.reached for check in each) else "not reached"
        lines.append([first.figure, first.wanted, *[check.got for check in each], verdict])
    return Table(["figure", "wanted", *[f"seed {seed}" for seed in seeds], ""], lines)


def variance_table(of_seed: Mapping[int, Variance]) -> Table:
    """Shares of the variance: each seed, their mean and range, and the published grid."""
    lines: list[list[Any]] = [[f"seed {seed}", *shares] for seed, shares in of_seed.items()]
    if len(of_seed) > 1:
        spread = list(zip(*of_seed.values(), strict=True))
        lines.append(["mean over seeds", *[statistics.fmean(shares) for shares in spread]])
        lines.append(["range over seeds", *[f"{min(shares):.3f} to {max(shares):.3f}" for shares in spread]])
    lines.append(["published grid", *variance(list(PUBLISHED.values()))])
    lines.append(["published bars", 0.482, 0.219, 0.299])
    return Table(["log loss", "dz", "w", "interaction"], lines)


def mass_rows(rows: Sequence[Row], distances: Sequence[float]) -> list[tuple[float, float, float, float]]:
    """(dz, w, closed form, trained), means over seeds."""
    cells = sorted({(row["dz"], row["ratio"]) for row in rows if row["dz"] in distances})
    return [(dz, w, *_mean(rows, dz, w, "target_mass_closed_form", "target_mass")) for dz, w in cells]


def mass_table(rows: Sequence[Row]) -> Table:
    """The share of target outputs, closed form beside trained, overlap to disjoint."""
    ratios = sorted({row["ratio"] for row in rows} & set(SHOWN))
    lines: list[list[Any]] = []
    for dz in sorted({row["dz"] for row in rows}):
        pairs = [_mean(rows, dz, w, "target_mass_closed_form", "target_mass") for w in ratios]
        lines.append([f"{dz:g}", *[f"{closed:.3f} / {trained:.3f}" for closed, trained in pairs]])
    columns = ["dz", *[f"w = {w:g}" for w in ratios]]
    return Table(columns, lines, "Closed form / trained, at the target's training inputs, mean over seeds.")


def cost_table(settings: Settings, timing: Mapping[str, Any]) -> Table:
    """CPU seconds on one thread."""
    names = {
        "cpu_seconds": f"this run, {len(settings.cells)} cells as one ensemble",
        "ensemble_cpu_seconds": "training as one ensemble, measured in turns with single cells",
        "one_by_one_cpu_seconds": "training one by one",
        "times_less": "one by one / ensemble",
    }
    lines = [[said, round(float(timing[name]), 1)] for name, said in names.items() if name in timing]
    return Table(["CPU seconds, one thread", ""], lines)


def command(preset: str, seeds: Sequence[int]) -> str:
    """The command that repeats a run."""
    return f"cotrain bench toy --preset {preset} " + " ".join(f"--seed {seed}" for seed in seeds)


def _per_seed(rows: Sequence[Row], settings: Settings) -> list[list[tuple[float, ...]]]:
    """The loss grid with a tuple over seeds in each cell."""
    grids = [grid(rows, seed, settings.ratios) for seed in settings.seeds]
    return [list(zip(*lines, strict=True)) for lines in zip(*grids, strict=True)]


def _mean(rows: Sequence[Row], dz: float, ratio: float, *values: str) -> list[float]:
    cells = [row for row in rows if (row["dz"], row["ratio"]) == (dz, ratio)]
    return [statistics.fmean(row[value] for row in cells) for value in values]


def _settings_table(preset: str, settings: Settings) -> Table:
    lines = [
        ("preset", preset),
        ("seeds", settings.seeds),
        ("dz", settings.distances),
        ("w", settings.ratios),
        ("samples", f"{curves.N_SOURCE} source, {curves.N_TARGET} target with u < {curves.SEEN:g}"),
        ("output noise, shift of the target curve", f"{curves.NOISE:g}, {curves.SHIFT:g}"),
        ("on a curve", f"within {curves.NEAR:g} of its point for the input"),
        *asdict(settings.training).items(),
    ]
    as_text = [", ".join(f"{x:g}" for x in v) if isinstance(v, tuple) else str(v) for _, v in lines]
    return Table(["setting", "value"], list(zip((name for name, _ in lines), as_text, strict=True)))
