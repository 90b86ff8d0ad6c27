"""A difference over pairs of several strata, each of which counts alike: its interval, and a sign-flip test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .paired import DRAWS, Array

FLIPS = 99_999
"""of signs, in a test of pairs"""


class Stratified(NamedTuple):
    """A difference over pairs of several strata, each of which counts alike."""

    mean: float
    """over strata, of the mean over their pairs"""
    low: float
    high: float
    """its 95 % bootstrap interval, stratified; too narrow with few pairs, and infinite where a stratum has one"""
    p: float
    """two-sided, by flipping the sign of each pair's difference at random"""


def stratified(differences: Mapping[str, Sequence[float]], *, tested: bool = True, seed: int = 0) -> Stratified:
    """d = mean_t mean_i d_ti, with its interval and the p of a sign-flip test (Fisher 1935).

    Under the null hypothesis the two sides of a pair could be exchanged, so d_ti and -d_ti are as likely.  The least p
    is 2 / (FLIPS + 1), or 2^(1 - n) where n pairs have at most FLIPS flips, all of which are then taken.

    Args:
        differences: stratum -> the differences of its pairs.
        tested: whether p is wanted, which takes most of the time; it is NaN where not.

    Raises:
        ValueError: a stratum without a pair.

    >>> stratified({"a": [0.25, 0.25], "b": [0.5, 0.5]})
    Stratified(mean=0.375, low=0.375, high=0.375, p=0.125)
    """
    if not all(len(values) for values in differences.values()):
        empty = [name for name, values in differences.items() if not len(values)]
        raise ValueError(f"every stratum has a pair, got none of {', '.join(empty)}. Leave it out.")
    strata, rng = [np.asarray(values, float) for values in differences.values()], np.random.default_rng(seed)
    weights = np.concatenate([np.full(len(values), 1 / len(values) / len(strata)) for values in strata])
    pairs = np.concatenate(strata)
    drawn = [rng.choice(values, (DRAWS, len(values))).mean(1) for values in strata]
    low, high = np.quantile(np.mean(drawn, axis=0), (0.025, 0.975))
    if min(map(len, strata)) == 1:
        low, high = -math.inf, math.inf

    def mean(values: Array, axis: int = -1) -> Array:
        return np.asarray(values @ weights)

    from scipy.stats import permutation_test  # type: ignore[import-untyped]  # slow to import, so only here

    flips = {"permutation_type": "samples", "n_resamples": FLIPS, "vectorized": True}
    if not tested:
        return Stratified(float(mean(pairs)), float(low), float(high), math.nan)
    p = permutation_test((pairs,), mean, **flips, rng=rng).pvalue if len(pairs) > 1 else 1.0
    return Stratified(float(mean(pairs)), float(low), float(high), float(p))
