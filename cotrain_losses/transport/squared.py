"""Transport at squared Euclidean cost, on the CPU: the fast path.

    value     the dual objective, or <P, |x - y|^2>
    gradient  d/dx_i = 2 (r_i x_i - sum_j P_ij y_j),   d/dy_j = 2 (c_j y_j - sum_i P_ij x_i)

by the envelope theorem, r and c being the plan's own marginals.  Besides the matrix -C / eps that becomes the
kernel, nothing of size (n, m) is made.  The arithmetic is numpy's: at a policy's batch sizes a step is
hundreds of small operations, and numpy's cost a third of PyTorch's each.

Where the plan is a permutation s, d/dx_i = 2/n (x_i - y_s(i)), and s minimises -<x_i - mean x, y_s(i) - mean y>: no
other part of the cost decides.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .exact import assignable, permutation, permuted
from .matrix import coupled
from .problem import INF, Array, Problem, Solution, wanted
from .settings import DOUBLE_ABOVE, Settings

SYMMETRIC_ITERATIONS = 200  # the error halves each time, so this is never reached in practice


class Moved(NamedTuple):
    """What a solved problem does to the rows."""

    value: float
    linear: float
    at_x: Array
    at_y: Array
    solution: Solution


def cross(
    settings: Settings, x: Array, y: Array, a: Array, b: Array, same: Array | None, *, potentials: bool = False
) -> Moved:
    """Transport from rows x (n, d) with masses a to rows y (m, d) with masses b, within equal groups."""
    if settings.eps == 0 and settings.balanced and same is None and not potentials and assignable(a, b):
        return _assigned(x, y, a, b)
    centre = (x.sum(0) + y.sum(0)) / (len(x) + len(y))
    x, y = x - centre, y - centre
    lengths = np.einsum("ij,ij->i", x, x), np.einsum("ij,ij->i", y, y)
    bound = float((lengths[0].max() ** 0.5 + lengths[1].max() ** 0.5) ** 2)
    solution = coupled(
        lambda dtype: _banned(squared_matrix(x.astype(dtype, copy=False), y.astype(dtype, copy=False)), same, INF),
        bound,
        a,
        b,
        settings,
        exponent=lambda: _banned(_affine(x, y, *lengths, -1.0 / settings.eps), same, -INF),
        potentials=potentials,
    )
    return _moved(x, y, *lengths, solution)


def _assigned(x: Array, y: Array, a: Array, b: Array) -> Moved:
    columns = permutation((x.mean(0) - x) @ (y - y.mean(0)).T)
    apart = x - y[columns]
    value = float(np.vdot(apart, apart)) / len(x)
    at_x = apart * (2.0 / len(x))
    at_y = np.empty_like(y)
    np.negative(at_x, out=apart)
    at_y[columns] = apart
    return Moved(value, value, at_x, at_y, permuted(columns, a, b, value))


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
    return left @ right.T


def _banned(matrix: Array, same: Array | None, value: float) -> Array:
    if same is not None:
        matrix[~same] = value
    return matrix


def _moved(x: Array, y: Array, of_x: Array, of_y: Array, solution: Solution) -> Moved:
    u, kernel, v, dtype = solution.u, solution.kernel, solution.v, x.dtype
    x, y = x.astype(kernel.dtype, copy=False), y.astype(kernel.dtype, copy=False)
    rows, columns = u * (kernel @ v), v * (u @ kernel)
    to_y, to_x = u[:, None] * (kernel @ (v[:, None] * y)), v[:, None] * (kernel.T @ (u[:, None] * x))
    linear = float(rows @ of_x + columns @ of_y - 2.0 * np.einsum("ij,ij->", x, to_y))
    at_x, at_y = 2.0 * (rows[:, None] * x - to_y), 2.0 * (columns[:, None] * y - to_x)
    return Moved(solution.value(), linear, at_x.astype(dtype, copy=False), at_y.astype(dtype, copy=False), solution)


def _symmetric(kernel: Array, problem: Problem, tolerance: float) -> tuple[Array, float, int]:
    a, rho, eps = problem.a, problem.rho[0], problem.eps
    power = 1.0 if rho == INF else rho / (rho + eps)
    u, error = a / np.sqrt(kernel @ a), INF
    for done in range(1, SYMMETRIC_ITERATIONS + 1):
        rows = kernel @ u
        error = float(np.abs(u * rows - wanted(eps * np.log(u / a), a, rho)).sum()) if done % 2 == 0 else INF
        if error <= tolerance:
            break
        u = np.sqrt(u * (a / rows if rho == INF else a / rows**power))
    return u, error, done
