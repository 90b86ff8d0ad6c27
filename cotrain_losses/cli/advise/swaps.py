"""Which dimensions look exchanged: where the target's episodes lie, each of two dimensions read as the other.

    g_ij(episode)  =  ln t(x_i | j) - ln t(x_i | i)        x_i (first, mean, least, largest value) of dimension i
    evidence       =  sum_episodes g_ij + g_ji

t is Student's t with 8 degrees of freedom around the larger dataset's episodes, with the covariance of the four values
between them.  A mean alone says little in one episode; together with where an episode begins and how far it reaches,
it says more.  Chance is measured: the larger dataset's own episodes are asked the same, each by a model of the others.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import NamedTuple

import numpy as np

from ...datasets.fields import Array
from .episodes import Episodes
from .likelihood import drawn, some

LEVEL, LIKELIHOOD, FREEDOM, FOLDS = 0.05, 0.01, 8.0, 5
PRIOR, UNCORRELATED = 4.0, 20.0
"""episodes that the priors of a variance and of a correlation count for"""
APART = 2.0
"""deviations between episodes that the means of two dimensions differ by: nearer ones cannot be told from each other"""
NEAR = 4.0
"""deviations between episodes, at most, from the mean of a dimension to that of the other once exchanged"""
WORSE = -4.0
"""the least evidence of either dimension alone: neither may fit much worse than before"""

Pairs = list[tuple[int, int]]


class Places(NamedTuple):
    """Location (d, 4) and scale (d,) of a dataset's episodes, and (d, 4, 4) that whitens differences over scale."""

    location: Array
    scale: Array
    whitening: Array

    @classmethod
    def of(cls, episodes: Episodes) -> Places:
        """Fitted to the larger dataset; variances and correlations of few episodes lean on a prior."""
        values, within, n = places(episodes), episodes.deviation.mean(0), len(episodes)
        scale = np.sqrt(np.square(within) + episodes.mean.var(0))
        scale = np.where(scale > 0, scale, 1.0)
        location = values.mean(0)
        z = (values - location) / scale[:, None]
        squares = np.einsum("nda,ndb->dab", z, z)
        squares[:, ~np.eye(4, dtype=bool)] *= (n - 1) / (n - 1 + UNCORRELATED)
        prior = np.square(within / scale / 4) + 1e-9
        covariance = (squares + PRIOR * prior[:, None, None] * np.eye(4)) / (n - 1 + PRIOR)
        return cls(location, scale, np.linalg.inv(np.linalg.cholesky(covariance)))

    def log_density(self, values: Array, k: int) -> Array:
        """(episodes, d) of (episodes, d, 4), every dimension read as dimension k, up to one constant."""
        z = (values - self.location[k]) / self.scale[k]
        squares = np.square(z @ self.whitening[k].T).sum(-1)
        volume = 4 * np.log(self.scale[k]) - np.log(np.diagonal(self.whitening[k])).sum()
        return np.asarray(-(FREEDOM + 4) / 2 * np.log1p(squares / FREEDOM) - volume)


def places(episodes: Episodes) -> Array:
    """(episodes, d, 4): first, mean, least and largest value."""
    return np.stack([episodes.first, episodes.mean, episodes.low, episodes.high], -1)


def swapped(source: Episodes, target: Episodes, dimensions: Array) -> list[tuple[int, int]]:
    """Pairs of the dimensions given that look exchanged, the surest first, none twice."""
    reference, other = (source, target) if len(source) >= len(target) else (target, source)
    reference, other = some(reference).of(dimensions), some(other).of(dimensions)
    pairs = _candidates(reference, other)
    if not pairs:
        return []
    gains = _gains(reference, other, pairs).sum(0)
    evidence = np.where(gains.min(0) > WORSE, gains.sum(0), -np.inf)
    chance = drawn(_by_chance(reference, pairs), len(other)).max(1)
    least = max(float(np.quantile(chance, 1 - LEVEL)), min(float(len(other)), math.log(len(pairs) / LIKELIHOOD)))
    kept: list[tuple[int, int]] = []
    for k in np.argsort(-evidence):
        if evidence[k] > least and not set(pairs[k]) & {used for pair in kept for used in pair}:
            kept.append(pairs[k])
    return [(int(dimensions[i]), int(dimensions[j])) for i, j in kept]


def _candidates(reference: Episodes, other: Episodes) -> Pairs:
    """Pairs whose means are far apart in the reference, and in the other dataset near each other's."""
    squares = np.square(reference.mean - reference.mean.mean(0)).sum(0)
    prior = np.square(reference.deviation.mean(0) / 4)
    variance = (squares + PRIOR * prior) / (PRIOR + len(reference) - 1)
    means, there = reference.mean.mean(0), other.mean.mean(0)
    apart = np.square(means - means[:, None]) > APART**2 * (variance + variance[:, None]) / 2
    near = np.square(there[:, None] - means) <= NEAR**2 * variance
    return [(i, j) for i, j in combinations(range(len(means)), 2) if (apart & near & near.T)[i, j]]


def _gains(reference: Episodes, other: Episodes, pairs: Pairs) -> Array:
    """(episodes, 2, pairs): each of two dimensions read as the other instead of as itself."""
    model, values = Places.of(reference), places(other)
    crossed = np.stack([model.log_density(values, k) for k in range(values.shape[1])], 2)
    own = np.einsum("ekk->ek", crossed)
    first, second = np.array(pairs).T
    return np.stack([crossed[:, first, second] - own[:, first], crossed[:, second, first] - own[:, second]], 1)


def _by_chance(reference: Episodes, pairs: Pairs) -> Array:
    """(episodes, pairs) evidence of the reference's own episodes, each by the model of those in other folds."""
    fold = np.arange(len(reference)) % min(FOLDS, len(reference))
    parts = [(fold != k, fold == k) for k in range(fold.max() + 1)] if len(reference) > 1 else [(fold == 0, fold == 0)]
    found = np.empty((len(reference), len(pairs)))
    for rest, held in parts:
        found[held] = _gains(reference[rest], reference[held], pairs).sum(1)
    return found
