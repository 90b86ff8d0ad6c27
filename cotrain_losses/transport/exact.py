"""Exact transport plans: an assignment where both sides are equally many and equal, else network simplex."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any


def exact(cost: Array, a: Array, b: Array) -> tuple[Array, Array, Array, str]:
    """The plan that minimises <P, C> with marginals a and b, its potentials f and g, and the solver's name."""
    import ot  # imports jax and tensorflow where they are installed, so only here

    plan, log = ot.emd(a, b / b.sum() * a.sum(), np.ascontiguousarray(cost), numItermax=10_000_000, log=True)
    return plan, log["u"], log["v"], "network simplex (POT)"
