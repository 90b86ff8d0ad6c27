"""Dimensions in other units and dimensions in another order: what the episodes of one dataset say about the other's.

Both are judged by the evidence of likelihood.py against what the larger dataset's own episodes show by chance.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import NamedTuple

import numpy as np

from ...datasets.fields import Array
from .episodes import Episodes
from .likelihood import Model, drawn, features, limit, some

LEVEL, SWAP_LEVEL = 0.01, 0.05
FACTORS = (180 / math.pi, 100.0, 1000.0)
"""of the units that are asked for; others near them answer too"""
APART = 2.0
"""deviations between episodes that the means of two dimensions differ by: nearer ones cannot be told from each other"""


class Swap(NamedTuple):
    """Two dimensions whose values look exchanged."""

    first: int
    second: int
    evidence: float


def in_other_units(source: Episodes, target: Episodes) -> Array:
    """(d,) whether a dimension of the source is in other units than the target's."""
    reference, other = (source, target) if len(source) >= len(target) else (target, source)
    reference = some(reference)
    model, own, asked = Model.of(reference), features(reference), features(other)
    steps = np.array([sign * math.log(factor) for factor in FACTORS for sign in (1, -1)])
    chance = drawn(_unit_evidence(model, own, steps), len(other))
    evidence = _unit_evidence(model, asked, steps).sum(0)
    alone = evidence.max(0) > limit(chance.max(1), evidence.shape[1], LEVEL)
    together = evidence.sum(1) > limit(chance.sum(2), len(steps), LEVEL)
    joined = (evidence[together] > 0).any(0) if together.any() else np.zeros_like(alone)
    return np.asarray(alone | joined)


def swapped(source: Episodes, target: Episodes, dimensions: Array) -> list[Swap]:
    """Pairs of the dimensions given that look exchanged, the surest first, none twice."""
    reference, other = (source, target) if len(source) >= len(target) else (target, source)
    reference = some(reference)
    model, own, asked = Model.of(reference), features(reference), features(other)
    pairs = [pair for pair in combinations(dimensions.tolist(), 2) if model.apart(*pair) > APART]
    if not pairs:
        return []
    chance = drawn(_swap_evidence(model, own, pairs).sum(1), len(other))
    gains = _swap_evidence(model, asked, pairs).sum(0)
    evidence = np.where(gains.min(0) > -4.0, gains.sum(0), -np.inf)  # neither dimension may fit worse than before
    least = max(float(np.quantile(chance.max(1), 1 - SWAP_LEVEL)), min(float(len(other)), math.log(len(pairs) / LEVEL)))
    found = [Swap(*pair, float(e)) for pair, e in zip(pairs, evidence, strict=True) if e > least]
    kept: list[Swap] = []
    for swap in sorted(found, key=lambda swap: -swap.evidence):
        if not {*swap[:2]} & {k for other in kept for k in other[:2]}:
            kept.append(swap)
    return kept


def _unit_evidence(model: Model, values: Array, steps: Array) -> Array:
    """(episodes, factors, d)."""
    same = model.log_density(values)
    return np.stack([model.log_density(values, step) - same for step in steps], 1)


def _swap_evidence(model: Model, values: Array, pairs: list[tuple[int, int]]) -> Array:
    """(episodes, 2, pairs): each of two dimensions read as the other instead of as itself."""
    width = values.shape[2]
    crossed = np.stack([model.log_density(values, order=np.full(width, k)) for k in range(width)], 2)
    own = np.einsum("ekk->ek", crossed)
    first, second = np.array(pairs).T
    gains = crossed[:, first, second] - own[:, first], crossed[:, second, first] - own[:, second]
    return np.stack(gains, 1)
