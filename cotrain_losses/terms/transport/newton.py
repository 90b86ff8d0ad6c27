"""Newton's method on the dual of entropic transport, where Sinkhorn's iterations are slow.

    D(f, g) = <what a and b hold> - eps sum_ij P_ij,        P = exp((f + g - C) / eps) alpha beta'
    [ diag(r + a~ eps / rho)    P                        ] [df]         [a~ - r]
    [ P'                        diag(c + b~ eps / rho)   ] [dg] = eps * [b~ - c]

r, c are the marginals of P and a~ = a exp(-f / rho) (a where it is a constraint).  D is concave.  Newton with a line
search starts where Sinkhorn's iterations stop, with marginals near those asked for, and converges quadratically at
every eps; from potentials whose plan is nearly empty it may not move.  A step costs O(n m min(n, m)).
The larger side is eliminated (Brauer, Clason, Lorenz, Wirth 2017, "A Sinkhorn-Newton method").
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .problem import Array, Problem, Solution, dual_value, exponential, wanted

TINY = 1e-140  # what is less has products below the normal numbers, on which processors are slow


class _Point(NamedTuple):
    f: Array
    g: Array
    plan: Array
    value: float


def newton(problem: Problem, cost: Array, f: Array, g: Array, tolerance: float, *, steps: int = 100) -> Solution:
    """Solve from the potentials f (n,) and g (m,), in float64."""
    if len(f) < len(g):
        return _transposed(newton(problem.transposed, np.ascontiguousarray(cost.T), g, f, tolerance, steps=steps))
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        point, error, done = _at(problem, cost, f, g), float("inf"), 0
        for done in range(steps + 1):
            ahead, error = _direction(problem, point)
            further = None if error <= tolerance or done == steps else _line_search(problem, cost, point, ahead)
            if further is None:
                break
            point = further
    kernel = exponential(point.f, point.g, cost, problem.eps)
    return Solution(
        problem, kernel, problem.alpha, problem.beta, point.f, point.g, error, done, "Sinkhorn, then Newton"
    )


def _transposed(s: Solution) -> Solution:
    return Solution(s.problem.transposed, s.kernel.T, s.v, s.u, s.g0, s.f0, s.error, s.iterations, s.solver)


def _at(problem: Problem, cost: Array, f: Array, g: Array) -> _Point:
    plan = exponential(f, g, cost, problem.eps)
    plan *= problem.alpha[:, None]
    plan *= problem.beta
    return _Point(f, g, plan, dual_value(problem, f, g, float(plan.sum())))


def _direction(problem: Problem, point: _Point) -> tuple[tuple[Array, Array, float], float]:
    """The Newton step (df, dg), the slope of D along it, and the marginals' error."""
    plan, (rho_a, rho_b), eps = point.plan, problem.rho, problem.eps
    rows, columns = plan.sum(1), plan.sum(0)
    of_rows, of_columns = wanted(point.f, problem.a, rho_a), wanted(point.g, problem.b, rho_b)
    left, right = of_rows - rows, of_columns - columns
    error = float(np.abs(left).sum() + np.abs(right).sum())
    h, k = rows + of_rows * (eps / rho_a), columns + of_columns * (eps / rho_b)
    weighted = plan / np.sqrt(h)[:, None]
    weighted[weighted < TINY] = 0.0
    schur = -(weighted.T @ weighted)  # numpy takes half the work where both are one array
    schur[np.diag_indices_from(schur)] += k * (1.0 + 1e-11 + 1e-3 * min(error, 1.0))
    dg = _solved(schur, right - (left / h) @ plan)
    df = (left - plan @ dg) / h
    return (eps * df, eps * dg, float(eps * (left @ df + right @ dg))), error


def _solved(schur: Array, right: Array) -> Array:
    """schur^-1 right, by Cholesky's decomposition unless rounding has made the matrix indefinite."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve  # type: ignore[import-untyped]  # comes with POT

    try:
        solution: Array = cho_solve(cho_factor(schur, check_finite=False), right, check_finite=False)
    except LinAlgError:
        solution = np.linalg.solve(schur, right)
    return solution


def _line_search(problem: Problem, cost: Array, point: _Point, ahead: tuple[Array, Array, float]) -> _Point | None:
    """The first of the steps 1, 1/2, 1/4 ... that raises D enough; None when rounding hides any rise."""
    df, dg, slope = ahead
    slack = 1e-14 * (abs(point.value) + float(np.abs(problem.a) @ np.abs(point.f)))
    for halvings in range(30):
        t = 0.5**halvings
        reached = _at(problem, cost, point.f + t * df, point.g + t * dg)
        if reached.value >= point.value + 1e-4 * t * slope - slack:
            return reached
    return None
