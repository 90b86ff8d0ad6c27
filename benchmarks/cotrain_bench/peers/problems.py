"""The problems that every library solves, and their converged float64 gradients.

Run by each library's own interpreter, so it imports numpy and nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

EPS, RHO = 0.1, 1.0  # entropy and price of mass left behind, for the cost |x - y|^2
LOSSES = ("balanced", "unbalanced", "divergence", "exact", "mmd")


def sides(n: int, d: int, seed: int = 0) -> tuple[Array, Array]:
    """n source and n target rows of width d, of length about one, the target moved by half a unit; float32."""
    random = np.random.default_rng([seed, n, d])
    x, y = random.standard_normal((2, n, d)) / d**0.5
    return x.astype("float32"), (y + 0.5 / d**0.5).astype("float32")


def converged(loss: str, x: Array, y: Array) -> Array | None:
    """The gradient at x of the loss, in float64 by plain log-domain iterations; None without one definition."""
    x, y = x.astype(float), y.astype(float)
    if loss == "balanced":
        return pull(x, y, plan(x, y, np.inf))
    if loss == "unbalanced":
        return pull(x, y, plan(x, y, RHO))
    if loss == "divergence":  # cost |x - y|^2 / 2 at half the eps: the same plans, half the pull
        return 0.5 * pull(x, y, plan(x, y, np.inf)) - 0.5 * pull(x, x, plan(x, x, np.inf))
    return None


def plan(x: Array, y: Array, rho: float, tolerance: float = 1e-9) -> Array:
    """The entropic plan, one log-sum-exp after the other."""
    cost = (x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T
    power = 1.0 if rho == np.inf else rho / (rho + EPS)
    f, g = np.zeros(len(x)), np.zeros(len(y))
    for _ in range(20_000):
        old = f
        if x is y:  # one potential; the averaged iteration halves the error each time
            f = g = 0.5 * (f - EPS * power * (_log_sum((f - cost) / EPS, 1) - np.log(len(y))))
            if np.abs(f - old).max() < tolerance * EPS:
                break
            continue
        f = -power * EPS * (_log_sum((g - cost) / EPS, 1) - np.log(len(y)))
        g = -power * EPS * (_log_sum((f[:, None] - cost) / EPS, 0) - np.log(len(x)))
        if np.abs(f - old).max() < tolerance * EPS:
            break
    return np.asarray(np.exp((f[:, None] + g - cost) / EPS) / (len(x) * len(y)))


def pull(x: Array, y: Array, coupling: Array) -> Array:
    """2 (r_i x_i - sum_j P_ij y_j)."""
    return np.asarray(2 * (coupling.sum(1)[:, None] * x - coupling @ y))


def _log_sum(z: Array, axis: int) -> Array:
    top = z.max(axis, keepdims=True)
    return np.asarray(np.log(np.exp(z - top).sum(axis)) + top.squeeze(axis))
