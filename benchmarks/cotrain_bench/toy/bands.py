"""What an arm does in each band of distances: the share of cells solved, and its loss against plain co-training's.

    difference_s = mean over the band's cells of log10 loss - log10 plain loss        of seed s; t interval over seeds

cures    nine cells of ten are solved, and the interval lies below zero
helps    the interval lies below zero         harms    it lies above         no change shown    it has zero in it
too few seeds    fewer than three
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cotrain_losses.cli.report import Table

from ..paired import t_interval
from ..results import Row
from .arms import ARMS

BANDS = {"overlapping": (0.01, 0.1), "aligned": (0.5, 1.0, 5.0), "disjoint": (20.0, 50.0)}
"""band -> its distances dz"""
SOLVED = 1.5
CURED, LEAST = 0.9, 3


class Outcome(NamedTuple):
    """What became of a band: mean over seeds, and the 95 % t interval of the difference."""

    solved: float
    loss: float
    """geometric mean"""
    difference: float
    low: float
    high: float
    seeds: int

    @property
    def verdict(self) -> str:
        if self.seeds < LEAST:
            return "too few seeds"
        if self.low > 0 or self.high < 0:
            return "harms" if self.low > 0 else "cures" if self.solved >= CURED else "helps"
        return "no change shown"


def variants(rows: Iterable[Row]) -> list[tuple[str, float | None]]:
    """Every arm with each of its guidance scales, in the order of ARMS."""
    there = {(row["arm"], row["scale"]) for row in rows}
    return [(arm, scale) for arm in ARMS for scale in (ARMS[arm].scales or (None,)) if (arm, scale) in there]


def title(arm: str, scale: float | None) -> str:
    """What tables and figures call a variant."""
    told = f", scale {scale:g}" if scale is not None and len(ARMS[arm].scales) > 1 else ""
    return ARMS[arm].title + told


def outcome(rows: Sequence[Row], arm: str, scale: float | None, distances: Sequence[float]) -> Outcome:
    """An arm on some distances, against plain co-training of the same seeds."""
    mine, plain = (_cells(rows, *which, distances) for which in ((arm, scale), ("plain", None)))
    seeds = sorted({seed for seed, *_ in mine} & {seed for seed, *_ in plain})
    logs = [[math.log10(v) for key, v in mine.items() if key[0] == seed] for seed in seeds]
    bases = [[math.log10(v) for key, v in plain.items() if key[0] == seed] for seed in seeds]
    mean, low, high = t_interval([statistics.fmean(a) - statistics.fmean(b) for a, b in zip(logs, bases, strict=True)])
    solved = statistics.fmean(value < SOLVED for value in mine.values())
    return Outcome(solved, 10 ** statistics.fmean(map(statistics.fmean, logs)), mean, low, high, len(seeds))


def band_table(rows: Sequence[Row]) -> Table:
    """Every arm in every band."""
    lines = []
    for arm, scale in variants(rows):
        line = [title(arm, scale), len({row["seed"] for row in rows if row["arm"] == arm})]
        for distances in BANDS.values():
            of = outcome(rows, arm, scale, distances)
            said = "" if arm == "plain" else f", {_times(of)}: {of.verdict}"
            line.append(f"{of.solved:.0%} ({of.loss:.2g}){said}")
        lines.append(line)
    heads = [f"{band}, dz {', '.join(f'{dz:g}' for dz in each)}" for band, each in BANDS.items()]
    note = "Cells solved (geometric mean of the loss), the loss over plain's [95 % t interval over seeds]."
    return Table(["", "seeds", *heads], lines, note)


def feature_table(rows: Sequence[Row]) -> Table:
    """How the features of every arm lie: the probe's accuracy, and how far apart the same position is."""
    lines = []
    for arm, scale in variants(rows):
        if scale in (None, 1.0):
            mine = [row for row in rows if (row["arm"], row["scale"]) == (arm, scale)]
            bands = [[row for row in mine if row["dz"] in distances] for distances in BANDS.values()]
            means = [[statistics.fmean(r[k] for r in some) for k in ("probe_accuracy", "apart")] for some in bands]
            lines.append([title(arm, None), *[f"{probe:.2f}, {apart:.2g}" for probe, apart in means]])
    note = (
        "Held-out accuracy of a probe on z; distance of one position's z in both domains, in the source's own spread."
    )
    return Table(["", *BANDS], lines, note)


def _times(of: Outcome) -> str:
    if of.seeds < 2:
        return f"x {10**of.difference:.2g}"
    mean, low, high = (10**x for x in (of.difference, of.low, of.high))
    return f"x {mean:.2g} [{low:.2g}, {high:.2g}]"


def _cells(
    rows: Iterable[Row], arm: str, scale: float | None, distances: Sequence[float]
) -> dict[tuple[int, float, float], float]:
    """(seed, dz, ratio) -> loss."""
    some = [row for row in rows if (row["arm"], row["scale"]) == (arm, scale) and row["dz"] in distances]
    return {(row["seed"], row["dz"], row["ratio"]): row["loss"] for row in some}
