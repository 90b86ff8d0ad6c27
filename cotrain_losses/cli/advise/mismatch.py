"""Dimensions in other units: what the episodes of one dataset say about the other's.

They are judged by the evidence of likelihood.py against what the larger dataset's own episodes show by chance.
"""

from __future__ import annotations

import math

import numpy as np

from ...datasets.fields import Array
from .episodes import Episodes
from .likelihood import Model, drawn, features, limit, some

LEVEL = 0.01
FACTORS = (180 / math.pi, 100.0, 1000.0)
"""of the units that are asked for; others near them answer too"""


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


def _unit_evidence(model: Model, values: Array, steps: Array) -> Array:
    """(episodes, factors, d)."""
    same = model.log_density(values)
    return np.stack([model.log_density(values, step) - same for step in steps], 1)
