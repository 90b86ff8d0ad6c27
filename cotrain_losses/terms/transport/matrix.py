"""Transport between two sides whose cost is a matrix, on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .exact import exact
from .problem import INF, Array, Problem, Solution, Start
from .settings import DOUBLE_ABOVE, EXACT_ABOVE, OUT_OF_REACH, Settings
from .sinkhorn import MILD, solve
from .unbalanced import unbalanced


def coupled(
    cost: Callable[[type], Array],
    bound: float,
    a: Array,
    b: Array,
    settings: Settings,
    *,
    start: Callable[[type], Start] | None = None,
    spread: float | None = None,
    potentials: bool = False,
) -> Solution:
    """The plan by the solver and in the precision that C / eps asks for.

    Args:
        cost: the matrix C (n, m) in a precision, float32 or float64; +inf forbids a pair.
        bound: an upper bound of its finite entries.
        a, b: masses, all positive.
        start: where to start from in a precision, where that is more cheaply had than -C / eps.
        spread: an upper bound of how far apart its exponent's finite entries and zero are.
    """
    eps, reach = settings.eps, OUT_OF_REACH * (sum(settings.rho) + settings.eps)
    if bound > reach:  # what is farther is not carried, however far it is
        cost, bound, start = _capped(cost, reach), reach, None
    entropic = eps > 0 and bound <= EXACT_ABOVE * eps
    if settings.balanced and not entropic:
        return exact(cost(float), a, b, potentials=potentials)
    if bound > DOUBLE_ABOVE * eps or bound > MILD[4] * (min(settings.rho) + eps):
        a, b = a.astype(float), b.astype(float)
    alpha, beta = (np.ones_like(a), np.ones_like(b)) if settings.ones else (a, b)
    problem = Problem(a, b, alpha, beta, eps, settings.rho)
    if bound >= reach and cost(float).min() >= reach:
        return _nothing(problem)
    if not entropic:
        return unbalanced(cost(float), a, b, settings.rho)
    if spread is None:
        spread = bound / eps
    mild, first = MILD[a.dtype.itemsize], None
    if spread <= 4 * mild and bound <= mild * (min(settings.rho) + eps):
        first = start(a.dtype.type) if start else Start(cost(a.dtype.type) * (-1.0 / eps))
        if spread > mild and _spread(first.exponent) > mild:  # the bound may be loose, the matrix decides
            first = None
    return solve(problem, first, cost, tolerance=settings.tolerance, limit=settings.limit)


def _capped(cost: Callable[[type], Array], reach: float) -> Callable[[type], Array]:
    """The cost with its finite entries at most `reach`."""

    def capped(dtype: type) -> Array:
        matrix = cost(dtype)
        return np.where(np.isfinite(matrix), np.minimum(matrix, reach), matrix)

    return capped


def _spread(exponent: Array) -> float:
    """How far apart the finite entries and zero are."""
    low = exponent.min(initial=0.0)
    if low == -INF:
        low = np.min(exponent, where=exponent > -INF, initial=0.0)
    return float(exponent.max(initial=0.0) - low)


def _nothing(problem: Problem) -> Solution:
    """All mass left behind: the plan is below exp(-300), the least that is worth computing."""
    kernel = np.zeros((len(problem.a), len(problem.b)), problem.a.dtype)
    reference = float(problem.alpha.sum() * problem.beta.sum())
    value = problem.rho[0] * float(problem.a.sum()) + problem.rho[1] * float(problem.b.sum()) + problem.eps * reference
    return Solution(problem, kernel, problem.alpha, problem.beta, INF, INF, 0.0, 0, "none: out of reach", value)
