"""Entropic transport: Sinkhorn's iterations."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = Any


class Entropic(NamedTuple):
    """A solved problem: potentials, plan, and how it was reached."""

    f: Array
    g: Array
    plan: Array
    error: float
    iterations: int


def entropic(
    cost: Array,
    p: Array,
    q: Array,
    alpha: Array,
    beta: Array,
    eps: float,
    rho: tuple[float, float],
    *,
    tolerance: float,
    max_iterations: int,
) -> Entropic:
    """Solve for P = exp((f + g - C) / eps) alpha beta, with marginals alpha p and beta q."""
    damp = [1.0 if r == float("inf") else r / (r + eps) for r in rho]
    f, g = np.zeros(len(p)), np.zeros(len(q))
    levels = [eps]
    while levels[-1] < cost.max() / 30:
        levels.append(levels[-1] * 3)
    total, error = 0, float("inf")
    with np.errstate(divide="ignore"):
        log_alpha, log_beta, log_p, log_q = (np.log(x) for x in (alpha, beta, p, q))
    for level in reversed(levels):
        damp = [1.0 if r == float("inf") else r / (r + level) for r in rho]
        last = level == eps
        for _ in range(max_iterations if last else 10):
            old = f
            f = damp[0] * level * (log_p - _log_sum((g - cost) / level + log_beta, 1))
            g = damp[1] * level * (log_q - _log_sum((f[:, None] - cost) / level + log_alpha[:, None], 0))
            total += 1
            error = float((alpha * p * np.abs(np.expm1((old - f) / level / damp[0]))).sum())
            if error < tolerance:
                break
    plan = np.exp((f[:, None] + g - cost) / eps) * alpha[:, None] * beta
    return Entropic(f, g, plan, error, total)


def _log_sum(x: Array, axis: int) -> Array:
    top = x.max(axis, keepdims=True)
    return np.squeeze(top, axis) + np.log(np.exp(x - top).sum(axis))
