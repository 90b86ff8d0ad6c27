"""Two datasets, dimension by dimension, against what episodes differ by anyway.

    ln factor = E_source[ln s] - E_target[ln s]            s an episode's deviation from its own mean
    shift     = (E_source[m] - E_target[m]) / sigma         m an episode's mean, sigma its deviation between episodes

A difference is certain where it exceeds the t quantile of its standard error sqrt(v (1/n + 1/m)) and lies outside what
random draws of as many episodes of the larger dataset show: deviations are far from normal where a joint rests in some
episodes.  Variances of few episodes are moderated towards a prior (Smyth 2004), ln s of deviation 1/2 with 4 degrees of
freedom.  Levels are divided by the number of tests, so that all of them together are wrong in about one case of fifty.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...datasets.fields import Array
from .episodes import Episodes
from .likelihood import drawn

LEVEL, FACTOR = 0.02, 3.0
PRIOR_FREEDOM, PRIOR_DEVIATION = 4.0, 0.5


@dataclass(frozen=True)
class Difference:
    """Of every dimension (d,): source minus target, its standard error, whether it exceeds the episodes' spread."""

    value: Array
    error: Array
    certain: Array


@dataclass(frozen=True)
class Spread:
    """How two tables of episodes differ."""

    log_factor: Difference
    """of deviations, NaN where a dimension is constant; certain only beyond a factor of FACTOR"""
    log_steps: Difference
    """the same of frame-to-frame changes"""
    shift: Difference
    """of means, in deviations between episodes; infinite between constants that differ"""


def spread(source: Episodes, target: Episodes, tests: int) -> Spread:
    """The differences of two tables of one width, `tests` in all being asked for."""
    scale = _logarithms(source.deviation, target.deviation, tests)
    steps = _logarithms(source.step, target.step, tests)
    return Spread(scale, steps, _shift(source, target, tests))


def _logarithms(source: Array, target: Array, tests: int) -> Difference:
    s, t = _logarithm(source), _logarithm(target)
    apart = _difference(s, t, tests, prior=np.full(source.shape[1], PRIOR_DEVIATION))
    large = np.abs(apart.value) > math.log(FACTOR)
    whole = [_mean((side - _mean(s)).T)[:, None] for side in (s, t)]
    together = _difference(whole[0], whole[1], tests, prior=np.array([PRIOR_DEVIATION]))
    all_of_them = together.certain[0] and abs(together.value[0]) > math.log(FACTOR)
    certain = apart.certain | (bool(all_of_them) & np.isfinite(apart.value))
    return Difference(apart.value, apart.error, large & certain)


def _logarithm(deviation: Array) -> Array:
    """ln s, NaN where an episode rests; not below a thousandth of the largest."""
    floored = np.maximum(deviation, 1e-3 * deviation.max(0))
    return np.where(deviation > 0, np.log(np.where(floored > 0, floored, 1.0)), np.nan)


def _shift(source: Episodes, target: Episodes, tests: int) -> Difference:
    within = np.concatenate([source.deviation, target.deviation]).mean(0)
    found = _difference(source.mean, target.mean, tests, prior=within)
    sigma = found.error / math.sqrt(1 / len(source) + 1 / len(target))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(found.value == 0, 0.0, found.value / sigma)
    lone = (sigma == 0) & (max(len(source), len(target)) < 2)
    return Difference(value, found.error, found.certain & ~lone)


def _difference(source: Array, target: Array, tests: int, *, prior: Array) -> Difference:
    """Means of (episodes, d), NaN left out: source minus target."""
    from scipy.special import stdtrit  # type: ignore[import-untyped]  # comes with POT

    counts = [np.isfinite(side).sum(0) for side in (source, target)]
    value = _mean(source) - _mean(target)
    freedom = np.maximum(counts[0] - 1, 0) + np.maximum(counts[1] - 1, 0)
    squares = np.sum([np.nansum(np.square(side - _mean(side)), axis=0) for side in (source, target)], 0)
    variance = (PRIOR_FREEDOM * prior**2 * (freedom < 30) + squares) / (PRIOR_FREEDOM * (freedom < 30) + freedom)
    with np.errstate(divide="ignore"):
        error = np.sqrt(variance * (1 / counts[0] + 1 / counts[1]))
    quantile = stdtrit(freedom + PRIOR_FREEDOM, 1 - LEVEL / (2 * tests))
    certain = (np.abs(value) > quantile * error) & _beyond(source, target)
    return Difference(value, error, certain)


def _beyond(source: Array, target: Array) -> Array:
    """Whether the smaller side's mean lies outside all means of as many episodes drawn from the larger side."""
    larger, smaller = (source, target) if len(source) >= len(target) else (target, source)
    present = np.isfinite(larger)
    sums = drawn(np.stack([np.where(present, larger, 0.0), present], 1), len(smaller))
    with np.errstate(divide="ignore", invalid="ignore"):
        means = sums[:, 0] / sums[:, 1]
    middle, low, high = _mean(smaller), np.nanmin(means, 0, initial=np.inf), np.nanmax(means, 0, initial=-np.inf)
    return np.asarray((middle < low) | (middle > high))


def _mean(values: Array) -> Array:
    """Over the first axis, NaN left out; NaN where nothing is left."""
    count = np.isfinite(values).sum(0)
    return np.asarray(np.where(count > 0, np.nansum(values, axis=0) / np.maximum(count, 1), np.nan))
