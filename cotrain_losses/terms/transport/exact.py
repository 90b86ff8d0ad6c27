"""Exact transport: min <P, C> with marginals a and b.

Equally many rows of equal mass: the plan is a permutation, found by assignment (a shortest augmenting
path method: Crouse 2016; scipy).  Otherwise: network simplex (Bonneel et al. 2011; POT).  A constant added to a
row or a column of C changes no plan: assignment is several times faster with rows and columns of mean zero, less
the entropic dual of the columns where there are many.
"""

from __future__ import annotations

import numpy as np

from .problem import Array, Problem, Solution, exponential

MANY = 100  # rows from which a start from the entropic dual repays itself
TINY = 1e-30


def exact(cost: Array, a: Array, b: Array, *, potentials: bool = False) -> Solution:
    """The optimal plan, as a solution at eps = 0; +inf in the cost forbids a pair.

    Args:
        potentials: whether an assignment's dual potentials are wanted; they cost more than the plan.
    """
    finite = np.isfinite(cost)
    if not finite.all():
        cost = np.where(finite, cost, 1e4 * (np.abs(cost[finite]).max() or 1.0))
    if assignable(a, b):
        return _assignment(cost, a, b, potentials)
    plan, f, g = _simplex(cost, a, b)
    plan[~finite] = 0.0  # what rounding left there
    error = float(np.abs(plan.sum(1) - a).sum() + np.abs(plan.sum(0) - b).sum())
    one, other = np.ones_like(a), np.ones_like(b)
    value = float(np.vdot(plan, cost))
    return Solution(Problem(a, b, one, other, 0.0), plan, one, other, f, g, error, 0, "network simplex (POT)", value)


def assignable(a: Array, b: Array) -> bool:
    """Whether the optimal plan is a permutation: equally many rows of equal mass."""
    return len(a) == len(b) and bool(a.min() == a.max() and b.min() == b.max())


def permutation(cost: Array) -> Array:
    """s (n,): row i goes to column s_i.  Fastest where the rows and columns of the cost have mean zero."""
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]  # comes with POT

    columns: Array = linear_sum_assignment(cost if len(cost) < MANY else cost - _column_dual(cost))[1]
    return columns


def _column_dual(cost: Array) -> Array:
    """g (n,): ten of Sinkhorn's iterations at spread / 70 and ten at a quarter of it.  It need not be exact."""
    cost = (cost - cost.min()).astype(np.float32)
    f: Array = np.zeros(len(cost), np.float32)
    g = f
    spread = max(float(cost.max()), TINY)
    for eps in (spread / 70, spread / 280):
        kernel = exponential(f, g, cost, eps)
        v = np.ones_like(g)
        for _ in range(10):
            u = 1.0 / np.maximum(kernel @ v, TINY)
            v = 1.0 / np.maximum(u @ kernel, TINY)
        f, g = f + eps * np.log(u), g + eps * np.log(v)
    return g


def permuted(
    columns: Array, a: Array, b: Array, value: float, f: Array | float = 0.0, g: Array | float = 0.0
) -> Solution:
    """The plan of a permutation."""
    plan = np.zeros((len(a), len(b)), a.dtype)
    plan[np.arange(len(a)), columns] = a
    one, other = np.ones_like(a), np.ones_like(b)
    return Solution(Problem(a, b, one, other, 0.0), plan, one, other, f, g, 0.0, 0, "assignment (scipy)", value)


def _assignment(cost: Array, a: Array, b: Array, potentials: bool) -> Solution:
    level = cost - cost.mean(1, keepdims=True)
    columns = permutation(level - level.mean(0))
    f, g = _assignment_potentials(cost, columns) if potentials else (0.0, 0.0)
    return permuted(columns, a, b, float(cost[np.arange(len(cost)), columns] @ a), f, g)


def _assignment_potentials(cost: Array, columns: Array) -> tuple[Array, Array]:
    """Shortest paths: h_j = min_i h_i + C_i,s(j) - C_i,s(i), which ends because the assignment is optimal."""
    matched = cost[:, columns].astype(float)
    paid = matched.diagonal().copy()
    h = np.zeros(len(cost))
    for _ in range(len(cost)):
        shorter = np.minimum(h, (matched + (h - paid)[:, None]).min(0))
        if (shorter == h).all():
            break
        h = shorter
    g = np.empty_like(h)
    g[columns] = h
    return paid - h, g


def _simplex(cost: Array, a: Array, b: Array) -> tuple[Array, Array, Array]:
    import ot  # type: ignore[import-untyped]  # imports jax and tensorflow where installed, so only here

    a, b = a.astype(float), b.astype(float)
    plan, log = ot.emd(a / a.sum(), b / b.sum(), np.ascontiguousarray(cost), numItermax=10_000_000, log=True)
    return plan, log["u"], log["v"]
