"""Transport at squared Euclidean cost, on the CPU: the fast path.

    value     the dual objective, or <P, |x - y|^2>
    gradient  d/dx_i = 2 (r_i x_i - sum_j P_ij y_j),   d/dy_j = 2 (c_j y_j - sum_i P_ij x_i)

by the envelope theorem, r and c being the plan's own marginals.  The kernel is exp(2 <x, y> / eps), the lengths of the
rows being in the potentials; besides it nothing of size (n, m) is made, but the plan where that is smaller than the
rows.  The arithmetic is numpy's: at a policy's batch sizes a step is hundreds of small operations, and numpy's cost a
third of PyTorch's each.

Where the plan is a permutation s, d/dx_i = 2/n (x_i - y_s(i)), and s minimises -<x_i - mean x, y_s(i) - mean y>: no
other part of the cost decides.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .exact import assignable, permutation, permuted
from .matrix import coupled
from .problem import INF, Array, Problem, Solution, Start, wanted
from .settings import DOUBLE_ABOVE, Settings

SYMMETRIC_ITERATIONS = 200  # the error halves each time, so this is never reached in practice


class Moved(NamedTuple):
    """What a solved problem does to the rows."""

    value: float
    at_x: Array
    at_y: Array
    solution: Solution


def cross(
    settings: Settings,
    x: Array,
    y: Array,
    a: Array,
    b: Array,
    same: Array | None,
    *,
    linear: bool = False,
    potentials: bool = False,
) -> Moved:
    """Transport from rows x (n, d) with masses a to rows y (m, d) with masses b, within equal groups.

    Args:
        linear: whether the value is <P, C> rather than the objective.
        potentials: whether the solution has to hold them where they cost more than the plan.
    """
    if settings.eps == 0 and settings.balanced and same is None and not potentials and assignable(a, b):
        return _assigned(x, y, a, b)
    a, b = a.astype(x.dtype, copy=False), b.astype(x.dtype, copy=False)
    x, y, lengths = _centred(x, y)
    longest = math.sqrt(lengths[0].max()), math.sqrt(lengths[1].max())
    solution = coupled(
        lambda dtype: _banned(squared_matrix(x.astype(dtype, copy=False), y.astype(dtype, copy=False)), same, INF),
        sum(longest) ** 2,
        a,
        b,
        settings,
        start=lambda dtype: _start(x, y, lengths, same, settings.eps, dtype),
        spread=4.0 * longest[0] * longest[1] / settings.eps if settings.eps else INF,
        potentials=potentials,
    )
    value = _linear(x, y, *lengths, solution) if linear else solution.value()
    return Moved(value, *_pulls(x, y, solution), solution)


def _assigned(x: Array, y: Array, a: Array, b: Array) -> Moved:
    columns = permutation((x.mean(0) - x) @ (y - y.mean(0)).T)
    apart = x - y[columns]
    value = float(np.vdot(apart, apart)) / len(x)
    at_x = apart * (2.0 / len(x))
    at_y = np.empty_like(y)
    np.negative(at_x, out=apart)
    at_y[columns] = apart
    return Moved(value, at_x, at_y, permuted(columns, a, b, value))


def own(settings: Settings, x: Array, a: Array, same: Array | None) -> tuple[Array, float]:
    """Transport from rows x to themselves: half its gradient, and its value.

    The two potentials are one, and the averaged iteration u <- sqrt(u * a / (K u)) halves the error each
    time, since the Gaussian kernel is positive definite (Feydy et al., AISTATS 2019, section 3.1).
    """
    x, original = x - x.mean(0), x.dtype
    lengths = np.einsum("ij,ij->i", x, x)
    if 4 * float(lengths.max()) > DOUBLE_ABOVE * settings.eps:
        x, a, lengths = x.astype(float), a.astype(float), lengths.astype(float)
    exponent = _affine(x, x, lengths, lengths, -1.0 / settings.eps)
    np.fill_diagonal(exponent, 0.0)
    kernel = np.exp(_banned(np.minimum(exponent, 0.0, out=exponent), same, -INF), out=exponent)
    problem = Problem(a, a, a, a, settings.eps, settings.rho)
    u, error, done = _symmetric(kernel, problem, settings.tolerance)
    solution = Solution(problem, kernel, u, u, error=error, iterations=done)
    reached = kernel @ (u[:, None] * x)
    rows = u * (kernel @ u)
    return 2.0 * (rows[:, None] * x - u[:, None] * reached).astype(original, copy=False), solution.value()


def squared_matrix(x: Array, y: Array) -> Array:
    """All |x_i - y_j|^2, (n, m)."""
    matrix = _affine(x, y, np.einsum("ij,ij->i", x, x), np.einsum("ij,ij->i", y, y), 1.0)
    return np.maximum(matrix, 0.0, out=matrix)


def _affine(x: Array, y: Array, of_x: Array, of_y: Array, scale: float) -> Array:
    """scale * |x_i - y_j|^2 as one matrix product of [-2x, |x|^2, 1] and [y, 1, |y|^2]."""
    n, d = x.shape
    left, right = np.empty((n, d + 2), x.dtype), np.empty((len(y), d + 2), y.dtype)
    np.multiply(x, -2.0 * scale, out=left[:, :d])
    np.multiply(of_x, scale, out=left[:, d])
    left[:, d + 1] = scale
    right[:, :d], right[:, d], right[:, d + 1] = y, 1.0, of_y
    matrix: Array = left.dot(right.T)
    return matrix


def _banned(matrix: Array, same: Array | None, value: float) -> Array:
    if same is not None:
        matrix[~same] = value
    return matrix


def _centred(x: Array, y: Array) -> tuple[Array, Array, tuple[Array, Array]]:
    """Both sides moved by the mean of all rows, and their rows' squared lengths."""
    rows, n = np.concatenate((x, y)), len(x)
    rows -= rows.sum(0) * (1.0 / len(rows))
    squares = np.einsum("ij,ij->i", rows, rows)
    return rows[:n], rows[n:], (squares[:n], squares[n:])


def _start(x: Array, y: Array, lengths: tuple[Array, Array], same: Array | None, eps: float, dtype: type) -> Start:
    """f0 = |x|^2 and g0 = |y|^2, which leaves 2 <x, y> / eps: one product, nothing of single rows."""
    x, y = x.astype(dtype, copy=False), y.astype(dtype, copy=False)
    return Start(_banned(x.dot((y * (2.0 / eps)).T), same, -INF), *lengths)


def _pulls(x: Array, y: Array, solution: Solution) -> tuple[Array, Array]:
    """The gradients at x and at y; the plan is made where it is smaller than the rows."""
    u, kernel, v, dtype = 2.0 * solution.u, solution.kernel, solution.v, x.dtype
    x, y = x.astype(kernel.dtype, copy=False), y.astype(kernel.dtype, copy=False)
    at_x, at_y = (u * kernel.dot(v))[:, None] * x, (v * u.dot(kernel))[:, None] * y
    if kernel.size <= x.size + y.size:
        plan = kernel * v
        plan *= u[:, None]
        at_x -= plan.dot(y)
        at_y -= plan.T.dot(x)
    else:
        at_x -= u[:, None] * kernel.dot(v[:, None] * y)
        at_y -= v[:, None] * kernel.T.dot(u[:, None] * x)
    return at_x.astype(dtype, copy=False), at_y.astype(dtype, copy=False)


def _linear(x: Array, y: Array, of_x: Array, of_y: Array, solution: Solution) -> float:
    """<P, |x - y|^2>."""
    u, kernel, v = solution.u, solution.kernel, solution.v
    met = np.einsum("ij,ij->", x, u[:, None] * kernel.dot(v[:, None] * y))
    return float((u * kernel.dot(v)).dot(of_x) + (v * u.dot(kernel)).dot(of_y) - 2.0 * met)


def _symmetric(kernel: Array, problem: Problem, tolerance: float) -> tuple[Array, float, int]:
    a, rho, eps = problem.a, problem.rho[0], problem.eps
    power = 1.0 if rho == INF else rho / (rho + eps)
    u, error = a / np.sqrt(kernel @ a), INF
    for done in range(1, SYMMETRIC_ITERATIONS + 1):
        rows = kernel.dot(u)
        error = float(abs(u * rows - wanted(eps * np.log(u / a), a, rho)).sum()) if done % 2 == 0 else INF
        if error <= tolerance:
            break
        u = np.sqrt(u * (a / rows if rho == INF else a / rows**power))
    return u, error, done
