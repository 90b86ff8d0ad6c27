"""Statistics of success rates, over episodes and over pairs.

A pair is one draw of demonstrations with one training seed, shared by all methods.

    contrast_p = sum_k c_k success_pk        of pair p; its mean is tested against zero (Student's t, n - 1)
    detectable = the true mean that this test finds in 80 of 100 studies of the same size

Pairs, not episodes, are what another laboratory would draw anew, so intervals are over pairs.  Pairs that agree by
chance, all at zero or all at one, would give an interval of no width: the deviation of a contrast is therefore not
taken to be less than what the episodes give it, sqrt(sum_k c_k^2 q_k (1 - q_k) / episodes), q = (x + 1) / (n + 2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .results import Row

Array = NDArray[np.float64]

DRAWS = 10_000
"""resamples of a bootstrap"""


class Interval(NamedTuple):
    """A range that holds the success rate with 95 % confidence."""

    low: float
    high: float

    def overlaps(self, other: Interval) -> bool:
        """Whether two intervals share a point."""
        return self.low <= other.high and other.low <= self.high


def wilson(successes: int, episodes: int) -> Interval:
    """Wilson's 95 % score interval (Wilson 1927); never leaves [0, 1], also at 0 and at all successes.

    It speaks of the episodes of ONE trained policy, and leaves out what another training seed or another draw of
    demonstrations would give, which is often more.

    >>> [round(x, 3) for x in wilson(55, 100)]
    [0.452, 0.644]
    """
    interval = _stats().binomtest(successes, episodes).proportion_ci(0.95, method="wilson")
    return Interval(float(interval.low), float(interval.high))


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> tuple[int, int, float]:
    """Paired outcomes: episodes only the first solves, only the second solves, exact two-sided p of no difference.

    McNemar's exact test: given the episodes on which the two differ, each is as likely to win (McNemar 1947).

    >>> mcnemar([True, True, False], [False, True, False])
    (1, 0, 1.0)
    """
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    differing = only_first + only_second
    p = _stats().binomtest(only_first, differing).pvalue if differing else 1.0
    return only_first, only_second, float(p)


class Contrast(NamedTuple):
    """A weighted difference of success rates over pairs."""

    mean: float
    low: float
    high: float
    """its 95 % interval, not corrected for the number of contrasts"""
    p: float
    """two-sided"""
    pairs: int
    detectable: float
    """at the level .05 / family, power .8"""


Weighted = Sequence[tuple[float, Row]]
"""coefficients and rows of one pair"""


def contrast(pairs: Sequence[Weighted], *, family: int = 1, margin: float | None = None) -> Contrast:
    """The mean of sum_k c_k success_k over pairs, with its interval, p and what the test would have found.

    Args:
        pairs: for each pair its coefficients and rows.
        family: how many contrasts the study tests.
        margin: asks whether the mean is above -margin: p is one-sided, of a mean of -margin or less; low and high are
            one-sided 95 % bounds; detectable is the margin that a mean of zero would exclude with power .8.

    Raises:
        ValueError: fewer than two pairs: nothing is known of how they vary.
    """
    mean, error, n = _mean(pairs)
    t = _stats().t(n - 1)
    half = float(t.ppf(0.975 if margin is None else 0.95)) * error
    p = 2 * t.sf(abs(mean) / error) if margin is None else t.sf((mean + margin) / error)
    least = detectable(n, error, 0.05 / family if margin is None else 0.1)
    return Contrast(mean, mean - half, mean + half, float(p), n, least)


def _mean(pairs: Sequence[Weighted]) -> tuple[float, float, int]:
    """The mean over pairs, its standard error, and their number."""
    if len(pairs) < 2:
        raise ValueError(f"a contrast needs two pairs to tell how pairs vary, got {len(pairs)}. Run more seeds.")
    values = np.array([sum(c * row["success"] for c, row in pair) for pair in pairs])
    deviation = max(float(values.std(ddof=1)), math.sqrt(np.mean([_episode_variance(pair) for pair in pairs])))
    return float(values.mean()), deviation / len(values) ** 0.5, len(values)


def _episode_variance(pair: Weighted) -> float:
    rates = [(c, (row["successes"] + 1) / (row["episodes"] + 2), row["episodes"]) for c, row in pair]
    return float(sum(c**2 * q * (1 - q) / n for c, q, n in rates))


def detectable(pairs: int, error: float, level: float) -> float:
    """The true mean that a two-sided t test at `level` finds with power .8, given the standard error of the mean.

    >>> round(detectable(1000, 1.0, 0.05), 2)  # the normal limit: 1.96 + 0.84
    2.8
    """
    from statsmodels.stats.power import TTestPower

    effect = TTestPower().solve_power(nobs=pairs, alpha=level / 2, power=0.8, alternative="larger")
    return error * math.sqrt(pairs) * float(effect)


def holm(ps: Sequence[float]) -> list[float]:
    """p'_(i) = min(1, max_j<=i (n - j + 1) p_(j)) of p_(1) <= ... <= p_(n): Holm's adjusted p values (Holm 1979).

    They are in the order given.  statsmodels has the same; each of its calls collects the garbage of the whole process.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order, found = np.argsort(ps), np.empty(len(ps))
    steps = np.asarray(ps, float)[order] * np.arange(len(ps), 0, -1)
    found[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [round(float(p), 15) for p in found]


def mean_interval(values: Sequence[float], *, seed: int = 0) -> Interval:
    """The 95 % percentile bootstrap interval of a mean over pairs (Efron 1979); with few pairs it is too narrow.

    >>> mean_interval([0.5, 0.5, 0.5])
    Interval(low=0.5, high=0.5)
    """
    draws = np.random.default_rng(seed).integers(len(values), size=(DRAWS, len(values)))
    low, high = np.quantile(np.asarray(values)[draws].mean(1), (0.025, 0.975))
    return Interval(float(low), float(high))


def t_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean of values and its 95 % t interval; of one value that is the whole line.

    >>> t_interval([1.0])
    (1.0, -inf, inf)
    """
    if len(values) == 1:
        return values[0], -math.inf, math.inf
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / len(values) ** 0.5
    half = float(_stats().t(len(values) - 1).ppf(0.975)) * error
    return mean, mean - half, mean + half


class Correlation(NamedTuple):
    """A correlation over cells, with its interval over pairs."""

    r: float
    low: float
    high: float
    cells: int


def correlation(
    x: Sequence[float], y: Sequence[float], pair: Sequence[int], *, ranks: bool = False, seed: int = 0
) -> Correlation | None:
    """Pearson's (or, of ranks, Spearman's) correlation; whole pairs are drawn anew for the 95 % interval.

    None where it does not exist: fewer than three cells, or one side constant.
    """
    sides = [np.asarray(side, float) for side in (x, y)]
    names, which = np.unique(np.asarray(pair), return_inverse=True)
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), DRAWS // 5)
    if len(which) < 3 or math.isnan(r := float(_weighted(sides, np.ones((1, len(which))), ranks)[0])):
        return None
    low, high = np.nanquantile(_weighted(sides, drawn[:, which].astype(float), ranks), (0.025, 0.975))
    return Correlation(r, float(low), float(high), len(which))


def _stats() -> Any:
    from scipy import stats  # type: ignore[import-untyped]  # slow to import, so only here

    return stats


def _weighted(sides: Sequence[Array], counts: Array, ranks: bool) -> Array:
    """(draws,) correlations of rows that occur `counts` (draws, n) times each; NaN where a side is constant."""
    a, b = (_ranks(side, counts) if ranks else np.broadcast_to(side, counts.shape) for side in sides)
    total = counts.sum(1, keepdims=True)
    a, b = (side - (counts * side).sum(1, keepdims=True) / total for side in (a, b))
    spread = np.sqrt((counts * a**2).sum(1) * (counts * b**2).sum(1))
    return np.where(spread > 1e-12, (counts * a * b).sum(1) / np.maximum(spread, 1e-12), np.nan)


def _ranks(x: Array, counts: Array) -> Array:
    """(draws, n) mean ranks of values (n,) that occur `counts` (draws, n) times each."""
    below = (x[None] < x[:, None]) + 0.5 * (x[None] == x[:, None])
    return np.asarray(counts @ below.T + 0.5)
