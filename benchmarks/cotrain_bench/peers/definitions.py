"""What every loss is by definition, in float64 and without haste: value, and gradient at x.

Run by each library's own interpreter, so it imports numpy and scipy and nothing else.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.optimize import linprog  # type: ignore[import-untyped]
from scipy.spatial.distance import cdist  # type: ignore[import-untyped]

from .problems import RHO, Array, pull

Right = tuple[float, Array]


def right(loss: str, x: Array, y: Array, eps: float) -> Right:
    """The loss of rows x (n, d) and y (m, d) with its gradient at x.

    Too few rows for a definition (none on a side, one for an unbiased estimate) are worth zero.
    """
    x, y = x.astype(float), y.astype(float)
    if min(len(x), len(y)) < (2 if loss in ("mmd", "coral") else 1):
        return 0.0, np.zeros_like(x)
    return DEFINITIONS[loss](x, y, eps)


def entropic(x: Array, y: Array, eps: float, rho: float = np.inf) -> Right:
    """<P, C> + eps KL(P | a b') + rho [KL(P 1 | a) + KL(P' 1 | b)], by Newton's method on the dual, eps halved."""
    cost = cdist(x, y, "sqeuclidean")
    n, m = cost.shape
    mass = np.r_[np.full(n, 1 / n), np.full(m, 1 / m)]
    h = np.r_[cost.min(1), np.zeros(m)]
    level = max(eps, float(cost.max()))
    while True:
        h = _newton(h, cost, mass, level, rho)
        if level == eps:
            break
        level = max(eps, level / 2)
    plan = _plan(h, cost, eps)
    value = (plan * cost).sum() + eps * _kl(plan, np.full((n, m), 1 / (n * m)))
    if rho < np.inf:
        value += rho * (_kl(plan.sum(1), mass[:n]) + _kl(plan.sum(0), mass[n:]))
    return float(value), pull(x, y, plan)


def _newton(h: Array, cost: Array, mass: Array, eps: float, rho: float) -> Array:
    n, error = len(cost), np.inf
    for _ in range(200):
        plan = _plan(h, cost, eps)
        wanted = mass * np.exp(-h / rho)
        sums = np.r_[plan.sum(1), plan.sum(0)]
        slope = wanted - sums
        error, before = np.abs(slope).sum(), error
        if error < 1e-12 or (error >= before and error < 1e-8):  # rounding leaves no more
            break
        curvature = np.diag(sums / eps + wanted / rho)
        curvature[:n, n:], curvature[n:, :n] = plan / eps, plan.T / eps
        curvature[np.diag_indices_from(curvature)] *= 1 + 1e-12  # one common shift changes nothing where rho = inf
        step = np.linalg.solve(curvature, slope)
        value, t = _dual(h, cost, mass, eps, rho), 1.0
        while t > 1e-12 and not _dual(h + t * step, cost, mass, eps, rho) >= value - 1e-15 * abs(value):
            t /= 2
        h = h + t * step
    return h


def _plan(h: Array, cost: Array, eps: float) -> Array:
    n, m = cost.shape
    with np.errstate(over="ignore"):  # a step too far overflows and is halved
        return np.asarray(np.exp((h[:n, None] + h[n:] - cost) / eps) / (n * m))


def _dual(h: Array, cost: Array, mass: Array, eps: float, rho: float) -> float:
    held = mass @ h if rho == np.inf else -rho * (mass @ np.expm1(-h / rho))
    return float(held - eps * _plan(h, cost, eps).sum())


def _kl(p: Array, q: Array) -> float:
    ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
    return float((p * np.log(ratio) - p + q).sum())


def divergence(x: Array, y: Array, eps: float) -> Right:
    """OT(a, b) - OT(a, a) / 2 - OT(b, b) / 2 at cost |x - y|^2 / 2 and half the eps."""
    (across, at_x), (of_x, own), (of_y, _) = (entropic(*s, eps) for s in ((x, y), (x, x), (y, y)))
    return 0.5 * across - 0.25 * of_x - 0.25 * of_y, 0.5 * at_x - 0.5 * own


def exact(x: Array, y: Array, eps: float) -> Right:
    """min <P, C> as the linear program that it is."""
    cost = cdist(x, y, "sqeuclidean")
    n, m = cost.shape
    sums = np.r_[np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))]
    solved = linprog(cost.ravel(), A_eq=sums, b_eq=np.r_[np.full(n, 1 / n), np.full(m, 1 / m)], method="highs")
    return float(solved.fun), pull(x, y, solved.x.reshape(n, m))


def mmd(x: Array, y: Array, eps: float) -> Right:
    """Gretton et al. 2012, eq. 3, mean over five Gaussians about the median distance."""
    n, m, rows = len(x), len(y), np.r_[x, y]
    cost = cdist(rows, rows, "sqeuclidean")
    apart = np.sort(cost[np.triu_indices(n + m, 1)])
    middle = apart[(len(apart) - 1) // 2]
    square = middle if middle > 0 else max(apart.mean(), 1e-300)
    weight = np.full((n + m, n + m), -1.0 / (n * m))
    weight[:n, :n], weight[n:, n:] = 1.0 / (n * (n - 1)), 1.0 / (m * (m - 1))
    np.fill_diagonal(weight, 0.0)
    value, slope = 0.0, np.zeros_like(cost)
    for scale in (0.25, 0.5, 1.0, 2.0, 4.0):
        kernel = weight * np.exp(-cost / (2 * square * scale**2)) / 5
        value += kernel.sum()
        slope -= kernel / (square * scale**2)
    return float(value), 2 * (slope.sum(1)[:n, None] * x - (slope @ rows)[:n])


def coral(x: Array, y: Array, eps: float) -> Right:
    """|C_x - C_y|^2 / (4 d^2), C the unbiased covariance."""
    d = x.shape[1]
    apart = np.cov(x.T).reshape(d, d) - np.cov(y.T).reshape(d, d)
    return float((apart**2).sum() / (4 * d**2)), (x - x.mean(0)) @ apart / ((len(x) - 1) * d**2)


def energy(x: Array, y: Array, eps: float) -> Right:
    """2 E|x - y| - E|x - x'| - E|y - y'|; the slope of |x - y| at x = y is zero."""

    def mean(p: Array, q: Array) -> Right:
        apart = p[:, None] - q[None]
        length = np.sqrt((apart**2).sum(2))
        along = np.divide(apart, length[..., None], out=np.zeros_like(apart), where=length[..., None] > 0)
        return float(length.mean()), along.mean(1) / len(p)

    (across, at_x), (of_x, own), (of_y, _) = mean(x, y), mean(x, x), mean(y, y)
    return 2 * across - of_x - of_y, 2 * at_x - 2 * own


DEFINITIONS = {"balanced": entropic, "divergence": divergence, "exact": exact}
DEFINITIONS |= {"unbalanced": partial(entropic, rho=RHO), "mmd": mmd, "coral": coral, "energy": energy}
