"""How likely the episodes of one dataset are under those of another, after a change of units.

    l_k(episode)  =  (ln p(ln s) + ln p(ln v)) / 2 + ln p(m)        s deviation, v step, m mean of dimension k
    evidence      =  sum_episodes l_k(episode / factor) - ln factor - l_k(episode)

p is Student's t around the reference's episodes, 4 degrees of freedom for scales and 10 for means: a joint that rests
in some of them costs little.  What evidence chance alone gives is measured: random draws of as many episodes of the
reference itself are asked the same question.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...datasets.fields import Array
from .episodes import Episodes

MOST, DRAWS, PRIOR = 1000, 400, 4.0
FREEDOM = np.array([4.0, 4.0, 10.0])[:, None]


@dataclass(frozen=True)
class Model:
    """Location and scale (3, d) of ln s, ln v and m between the reference's episodes."""

    location: Array
    scale: Array

    @classmethod
    def of(cls, reference: Episodes) -> Model:
        """Fitted to the larger dataset; variances of few episodes lean on a prior."""
        values, within = features(reference), reference.deviation.mean(0)
        prior = np.stack([np.full_like(within, 0.5)] * 2 + [within / 4])
        finite = np.isfinite(values)
        count = finite.sum(0)
        location = np.where(finite, values, 0.0).sum(0) / np.maximum(count, 1)
        squares = np.where(finite, np.square(values - location), 0.0).sum(0)
        variance = (PRIOR * prior**2 + squares) / (PRIOR + np.maximum(count - 1, 0))
        # a dimension that no episode moves has one value: any scale far below other values would do
        return cls(np.where(count > 0, location, np.nan), np.sqrt(np.where(variance > 0, variance, 1e-12)))

    def log_density(self, values: Array, log_factor: float = 0.0) -> Array:
        """(episodes, d) of episodes' features once divided by a factor."""
        logs, means = values[:, :2] - log_factor, values[:, 2:] * math.exp(-log_factor)
        shifted = np.concatenate([logs, means], 1)
        z = (shifted - self.location) / self.scale
        terms = -(FREEDOM + 1) / 2 * np.log1p(np.square(z) / FREEDOM) - np.log(self.scale)
        weight = np.array([0.5, 0.5, 1.0])[None, :, None]
        return np.asarray(np.nansum(weight * terms, axis=1) - log_factor)


def features(episodes: Episodes) -> Array:
    """(episodes, 3, d): ln s, ln v, m; NaN where an episode rests."""
    with np.errstate(divide="ignore"):
        logs = [np.log(part) for part in (episodes.deviation, episodes.step)]
    return np.stack([*(np.where(np.isfinite(x), x, np.nan) for x in logs), episodes.mean], 1)


def drawn(values: Array, count: int) -> Array:
    """(DRAWS, ...) sums of `count` random rows of (rows, ...) values: what chance alone gives."""
    picks = np.random.default_rng(0).integers(len(values), size=(DRAWS, count))
    weight = np.zeros((DRAWS, len(values)))
    np.add.at(weight, (np.arange(DRAWS)[:, None], picks), 1.0)
    return (weight @ values.reshape(len(values), -1)).reshape(DRAWS, *values.shape[1:])


def limit(chance: Array, tests: int, level: float) -> float:
    """The evidence that chance exceeds with probability `level`: of (DRAWS, tests) draws, and in theory."""
    return max(float(np.quantile(chance.reshape(len(chance), -1).max(1), 1 - level)), math.log(max(tests, 1) / level))


def some(episodes: Episodes) -> Episodes:
    """At most MOST of them, spread over the dataset."""
    return episodes if len(episodes) <= MOST else episodes[np.linspace(0, len(episodes) - 1, MOST).astype(int)]
