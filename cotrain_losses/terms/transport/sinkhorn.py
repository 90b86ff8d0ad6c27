"""Sinkhorn's iterations in the kernel domain.

    P = u K v,   K = exp((f0 + g0 - C) / eps),   f = f0 + eps log(u / alpha),   g = g0 + eps log(v / beta)
    balanced      u <- a / (K v),   v <- b / (K' u)                          so that P 1 = a, P' 1 = b
    unbalanced    u <- alpha (a / alpha)^t exp(-f0 / (rho + eps)) / (K v)^t,   t = rho / (rho + eps)

alpha beta' is the reference measure.  One iteration is two matrix-vector products.  Near the end log v moves by steps
that shrink at one rate; the rate is read from the error every fourth iteration, and v leaps to where the steps lead
to (Aitken's extrapolation).  Where u or v grow, they are absorbed into f0 and g0 and the kernel is made anew
(Schmitzer, SIAM J. Sci. Comput. 2019, 3.1).  Where C / eps is large, eps is annealed (3.2), the potentials being
nearly linear in eps there.  Where the pace promises many more iterations than Newton's method costs, Newton finishes.
After an unbalanced iteration the best common shift f + s, g - s is taken (Sejourne, Vialard, Peyre, AISTATS 2022);
without it that shift alone converges at rate t^2.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .newton import newton
from .problem import INF, Array, Problem, Solution, Start, exponential

MILD = {4: 70.0, 8: 300.0}  # spread of exponents up to which a kernel is made once and for all, by bytes of the dtype
LOOK = 2  # iterations between two looks at the error
LEAP, FAR = 100.0, 1e5  # steps ahead at most, and the factor they may come to
FACTOR = 1.5  # between levels of annealing
FLOOR = 1e-290  # of u and v where costs far exceed the price of leaving mass behind (float64 then)


def solve(
    problem: Problem, start: Start | None, cost: Callable[[type], Array], *, tolerance: float, limit: int
) -> Solution:
    """Solve from a start within the range of exp, else from the cost.

    Args:
        cost: gives the matrix C in a precision.
        tolerance: on sum |P 1 - a|, and on sum |P' 1 - b|.
        limit: iterations at most; Newton then has 100 steps.
    """
    if start is not None:
        kernel, matrix = np.exp(start.exponent, out=start.exponent), None
        state = Solution(problem, kernel, problem.alpha, problem.beta, start.f0, start.g0)
    else:
        matrix = cost(problem.a.dtype.type)
        state = annealed(problem, matrix)
    state = iterate(state, matrix, tolerance, limit, worth=150 + 4 * min(state.kernel.shape))
    if state.error <= tolerance:
        return state
    matrix = cost(float)
    with np.errstate(divide="ignore", invalid="ignore"):  # what has left float32's range starts anew
        f, g = state.f.astype(float), state.g.astype(float)
    if not (np.isfinite(f).all() and np.isfinite(g).all()):
        f, g = _start(problem, matrix)
    finished = newton(problem.to(float), matrix, f, g, tolerance)
    finished.iterations += state.iterations
    return finished


def annealed(problem: Problem, cost: Array) -> Solution:
    """The start at this eps from solutions at larger ones, FACTOR apart, each extrapolated from the two before."""
    f0, g0 = _start(problem, cost)
    spread = float(np.max(cost, where=np.isfinite(cost), initial=0.0))
    levels, done = [problem.eps], 0
    while levels[-1] * 20 < spread:
        levels.append(levels[-1] * FACTOR)
    f, g = f0, g0
    for count, level in enumerate(reversed(levels[1:])):
        state = _started(problem.at(level), cost, f0, g0)
        state.iterations = done
        state = iterate(state, cost, 1e-2, done + 20)
        last, (f, g), done = (f, g), (state.f, state.g), state.iterations
        f0, g0 = (f + (f - last[0]) / FACTOR, g + (g - last[1]) / FACTOR) if count else (f, g)
    state = _started(problem, cost, f0, g0)
    state.iterations = done
    return state


@np.errstate(all="ignore")  # what leaves the range is floored, absorbed, or left to Newton
def iterate(state: Solution, cost: Array | None, tolerance: float, limit: int, *, worth: float = INF) -> Solution:
    """Iterate to the tolerance or the limit; give up where more than `worth` iterations are to be expected."""
    rounds = _balanced if state.problem.rho == (INF, INF) else _unbalanced
    before, last = INF, INF
    while state.iterations < limit:
        rounds(state, LOOK)
        if state.error <= tolerance or not math.isfinite(state.error):
            break
        if last == INF:
            last = state.error
        else:
            if state.iterations > 30 and _remaining(state.error, before, tolerance) > worth:
                break
            _leap(state, (state.error / last) ** (1 / LOOK))
            before, last = state.error, INF
        if cost is not None and _range(state) > 10.0:
            state = _absorbed(state, cost)
    return state


def _balanced(state: Solution, count: int) -> None:
    kernel, u, v, a, b = state.kernel, state.u, state.v, state.problem.a, state.problem.b
    for _ in range(count - 1):
        u = a / kernel.dot(v)
        v = b / u.dot(kernel)
    rows = kernel.dot(v)
    state.error = float(abs(u * rows - a).sum())
    state.u, state.old = a / rows, v
    state.v = b / state.u.dot(kernel)
    state.iterations += count


def _leap(state: Solution, rate: float) -> None:
    """To where v goes if its logarithm's steps keep shrinking at this rate: v (v / old)^(rate / (1 - rate))."""
    if rate < 1.0:
        leap = (state.v / state.old) ** min(rate / (1.0 - rate), LEAP)
        state.v = state.v * np.clip(leap, 1 / FAR, FAR)


def _unbalanced(state: Solution, count: int) -> None:
    problem, kernel, u, v = state.problem, state.kernel, state.u, state.v
    (rho_a, rho_b), eps = problem.rho, problem.eps
    p, s = _rule(problem.a, problem.alpha, state.f0, rho_a, eps)
    q, t = _rule(problem.b, problem.beta, state.g0, rho_b, eps)
    common = 0.0 if INF in problem.rho else rho_a * rho_b / (rho_a + rho_b) / eps
    hard = kernel.itemsize == 8
    for _ in range(count):
        rows, old, state.old = _floored(kernel.dot(v), hard), u, v
        u = _floored(p / rows**s, hard)
        columns = _floored(u.dot(kernel), hard)
        v = _floored(q / columns**t, hard)
        if common:
            shift = _shift(float(u.dot(rows)), float(v.dot(columns)), common)
            u, v = u * shift, v / shift
    state.u, state.v = u, v
    state.error = float(np.abs((old - u) * rows).sum())
    state.iterations += count


def _floored(x: Array, hard: bool) -> Array:
    return np.clip(x, FLOOR, 1.0 / FLOOR, out=x) if hard else x


def _shift(held_a: float, held_b: float, common: float) -> float:
    """(held_a / held_b)^common, no further from one than is safe; absorbing makes room for the rest."""
    if not (0.0 < held_a < INF and 0.0 < held_b < INF):
        return 1.0
    return math.exp(min(max(common * math.log(held_a / held_b), -30.0), 30.0))


def _rule(a: Array, alpha: Array, f0: Array | float, rho: float, eps: float) -> tuple[Array, float]:
    """u <- first / (K v)^second."""
    if rho == INF:
        return a, 1.0
    power = rho / (rho + eps)
    offset = np.asarray(f0, a.dtype)  # a bare number would widen all that follows to float64
    return alpha * (a / alpha) ** power * np.exp(offset / -(rho + eps)), power


def _start(problem: Problem, cost: Array) -> tuple[Array, Array]:
    """Potentials with f + g <= C, tight in every row and column, and with the best common shift f + s, g - s."""
    f = cost.min(1)
    g = (cost - f[:, None]).min(0)
    rho_a, rho_b = problem.rho
    if INF in problem.rho:
        return f, g
    low_f, low_g = f.min(), g.min()  # log of <a, exp(-f / rho)>, safely
    held_a = np.log(problem.a @ np.exp((low_f - f) / rho_a)) - low_f / rho_a
    held_b = np.log(problem.b @ np.exp((low_g - g) / rho_b)) - low_g / rho_b
    shift = (held_a - held_b) * rho_a * rho_b / (rho_a + rho_b)
    return f + shift, g - shift


def _remaining(error: float, before: float, tolerance: float) -> float:
    """Iterations to go at the pace between two leaps."""
    return 2 * LOOK * math.log(error / tolerance) / math.log(before / error) if error < before else INF


def _range(state: Solution) -> float:
    logs = np.log(state.u / state.problem.alpha), np.log(state.v / state.problem.beta)
    return float(max(np.abs(x).max() for x in logs))


def _started(problem: Problem, cost: Array, f0: Array, g0: Array) -> Solution:
    return Solution(problem, exponential(f0, g0, cost, problem.eps), problem.alpha, problem.beta, f0, g0)


def _absorbed(state: Solution, cost: Array) -> Solution:
    fresh = _started(state.problem, cost, state.f, state.g)
    fresh.iterations, fresh.error = state.iterations, state.error
    return fresh
