"""What the grid shows: the variance of the log loss by factor, and the figures the toy has to reach."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ..results import Row
from .settings import DISTANCES

OVERLAP, ALIGNED, DISJOINT = 0.01, 1.0, 50.0  # dz of the three regimes

_GRID = (
    (11.06, 11.73, 10.38, 10.74, 10.45, 10.37, 10.90, 9.39, 6.50),
    (13.05, 7.70, 3.82, 3.69, 4.19, 3.98, 3.92, 5.11, 19.82),
    (16.82, 8.39, 7.27, 4.23, 2.20, 2.68, 3.71, 5.60, 19.99),
    (10.82, 8.12, 2.74, 3.06, 6.16, 3.24, 3.30, 10.57, 33.76),
    (14.86, 1.66, 0.91, 0.96, 3.15, 6.68, 18.93, 22.08, 23.30),
    (93.44, 33.99, 5.33, 4.01, 3.57, 27.31, 14.79, 24.90, 40.65),
    (45.27, 17.17, 16.09, 5.44, 6.92, 16.21, 8.31, 32.57, 23.21),
    (135.2, 33.52, 24.95, 11.40, 22.68, 25.68, 24.72, 24.50, 25.89),
    (4996.5, 83.64, 25.69, 18.41, 35.65, 38.56, 25.26, 31.33, 23.13),
)
PUBLISHED = dict(zip(DISTANCES, _GRID, strict=True))
"""dz -> losses at `RATIOS`: the loss grid of Lei et al. 2026, decoded from its figure"""


class Variance(NamedTuple):
    """Shares of the variance of a grid: by row, by column, and what neither explains."""

    dz: float
    ratio: float
    interaction: float


class Check(NamedTuple):
    """One figure to reach, and whether one seed reached it."""

    seed: int
    figure: str
    wanted: str
    got: str
    reached: bool


def variance(grid: Sequence[Sequence[float]]) -> Variance:
    """Two-way analysis of variance, one observation a cell: shares of the total sum of squares.

    Args:
        grid: positive losses, a row for each dz, a column for each ratio; their logarithms are analysed.

    >>> variance([[1.0, 1.0], [7.0, 7.0]])
    Variance(dz=1.0, ratio=0.0, interaction=0.0)
    """
    logs = np.log(grid) - np.log(grid).mean()
    by_row, by_column = (float((logs.mean(axis) ** 2).mean() / (logs**2).mean()) for axis in (1, 0))
    return Variance(by_row, by_column, 1.0 - by_row - by_column)


def grid(rows: Iterable[Row], seed: int, ratios: Sequence[float], value: str = "loss") -> list[list[float]]:
    """A seed's values, a row for each dz in ascending order and a column for each of the ratios."""
    cells = {(row["dz"], row["ratio"]): row[value] for row in rows if row["seed"] == seed}
    return [[cells[dz, ratio] for ratio in ratios] for dz in sorted({dz for dz, _ in cells})]


def mixed(rows: Iterable[Row]) -> list[float]:
    """The ratios of a run that mix both domains: 0 < w < 1."""
    return sorted({row["ratio"] for row in rows if 0 < row["ratio"] < 1})


def variances(rows: Sequence[Row]) -> dict[int, Variance]:
    """The analysis of each seed, over its co-trained cells."""
    return {seed: variance(grid(rows, seed, mixed(rows))) for seed in sorted({row["seed"] for row in rows})}


def checks(rows: Sequence[Row]) -> list[Check]:
    """The figures to reach, seed by seed."""
    return [check for seed, explained in variances(rows).items() for check in _checks(rows, seed, explained)]


def _checks(rows: Sequence[Row], seed: int, explained: Variance) -> list[Check]:
    cell = {(row["dz"], row["ratio"]): row for row in rows if row["seed"] == seed}
    source_only, halves = cell[OVERLAP, 0.0]["loss"], cell[OVERLAP, 0.5]
    aligned, alone, far = cell[ALIGNED, 0.1], cell[ALIGNED, 1.0], cell[DISJOINT, 0.1]
    fewest = min(halves["share_source"], halves["share_target"])
    shares = f"{explained.dz:.2f} and {explained.ratio:.2f}"
    unseen, apart = alone["loss_ood"] / aligned["loss_ood"], far["loss"] / aligned["loss"]
    return [
        Check(seed, "overlap, source only: loss", "8 to 11", f"{source_only:.2f}", 8 <= source_only <= 11),
        Check(seed, "overlap, w = .5: samples on the rarer curve", "12 % or more", f"{fewest:.1%}", fewest >= 0.12),
        Check(seed, "aligned, w = .1: loss", "below 1.5", f"{aligned['loss']:.2f}", aligned["loss"] < 1.5),
        Check(seed, "target only / aligned: loss where u > .8", "10 or more", f"{unseen:.0f}", unseen >= 10),
        Check(seed, "disjoint / aligned, w = .1: loss", "10 or more", f"{apart:.0f}", apart >= 10),
        Check(seed, "variance of the log loss: dz against w", "dz > w", shares, explained.dz > explained.ratio),
    ]
