"""MMD with equal masses on the CPU: value and gradient in one pass, without a graph.

    value     p' K q summed over the three blocks (source, source), (target, target), (source, target)
    gradient  d/dx_i = -2 p_i [ (G q)_i x_i - sum_j G_ij q_j y_j ],     G = -dK / d|x - y|^2

A block is worked through in tiles that fit the cache; of the symmetric ones only the upper half.  Where a
kernel's exponent is four times the one before, its exponential is that one's fourth power: one exp for all.
The arithmetic is numpy's, whose exp and small products cost half of PyTorch's on the CPU.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

Array = Any
TILE = 256


class _Tile(NamedTuple):
    """Rows i of x against rows j of y; `weight` is the signed weight of each pair."""

    i: slice
    j: slice
    squared: Array
    weight: float
    diagonal: bool


def fused(
    x: Array, y: Array, bandwidth: float | None, scales: tuple[float, ...], distinct: bool
) -> tuple[float, Array]:
    """MMD^2 of rows x (n, d) and y (m, d), and its gradient at the pooled rows (n + m, d)."""
    n, m = len(x), len(y)
    rows = np.concatenate([x, y])
    rows -= rows.mean(0)
    of_x = 1.0 / (n * (n - 1)) if distinct else 1.0 / n**2
    of_y = 1.0 / (m * (m - 1)) if distinct else 1.0 / m**2
    tiles = [*_upper(rows, 0, n, of_x), *_upper(rows, n, n + m, of_y), *_across(rows, n, -1.0 / (n * m))]
    squared = bandwidth**2 if bandwidth is not None else _median_square(tiles, rows)
    slopes = sorted(0.5 / (squared * scale**2) for scale in scales)
    value = -float(distinct) * (n * of_x + m * of_y)  # the diagonal, where K = 1
    gradient = np.zeros_like(rows)
    for tile in tiles:
        value += _add(tile, rows, slopes, gradient)
    return value, gradient


def _upper(rows: Array, start: int, stop: int, weight: float) -> list[_Tile]:
    tiles = []
    for low in range(start, stop, TILE):
        i = slice(low, min(low + TILE, stop))
        tiles.append(_Tile(i, i, _squared(rows[i], rows[i]), weight, True))
        if i.stop < stop:
            j = slice(i.stop, stop)
            tiles.append(_Tile(i, j, _squared(rows[i], rows[j]), 2.0 * weight, False))
    return tiles


def _across(rows: Array, n: int, weight: float) -> list[_Tile]:
    j = slice(n, len(rows))
    sides = (slice(low, min(low + TILE, n)) for low in range(0, n, TILE))
    return [_Tile(i, j, _squared(rows[i], rows[j]), 2.0 * weight, False) for i in sides]


def _squared(x: Array, y: Array) -> Array:
    squared = x @ y.T
    squared *= -2.0
    squared += np.einsum("ij,ij->i", x, x)[:, None]
    squared += np.einsum("ij,ij->i", y, y)
    np.maximum(squared, 0.0, out=squared)
    if x is y:
        np.fill_diagonal(squared, 0.0)
    return squared


def _add(tile: _Tile, rows: Array, slopes: list[float], gradient: Array) -> float:
    """The tile's part of the value; its part of the gradient goes into `gradient`."""
    kernel, pull = _kernels(tile.squared, slopes)
    x, y, scale = rows[tile.i], rows[tile.j], 2.0 * tile.weight / len(slopes)
    gradient[tile.i] -= scale * (pull.sum(1)[:, None] * x - pull @ y) * (2.0 if tile.diagonal else 1.0)
    if not tile.diagonal:
        gradient[tile.j] -= scale * (pull.sum(0)[:, None] * y - pull.T @ x)
    return tile.weight * float(kernel.sum(dtype=float)) / len(slopes)


def _kernels(squared: Array, slopes: list[float]) -> tuple[Array, Array]:
    """sum_k exp(-c_k D) and sum_k c_k exp(-c_k D) over the slopes c_k in rising order."""
    kernel = pull = power = None
    for k, slope in enumerate(slopes):
        if power is not None and abs(slope / slopes[k - 1] - 4.0) < 1e-12:
            power = np.square(power)
            np.square(power, out=power)
        else:
            power = squared * -slope
            np.exp(power, out=power)
        if kernel is None:
            kernel, pull = power.copy(), power * slope
        else:
            kernel += power
            pull += power * slope
    return kernel, pull


def _median_square(tiles: list[_Tile], rows: Array) -> float:
    """The lower median squared distance of distinct rows; the mean where that is zero; never zero."""
    parts = [t.squared[np.triu_indices(len(t.squared), 1)] if t.diagonal else t.squared.ravel() for t in tiles]
    distances = np.concatenate(parts)
    middle = median(distances)
    spread = middle if middle > 0 else float(distances.mean())
    return max(spread, math.sqrt(np.finfo(rows.dtype).tiny))


def median(values: Array) -> float:
    """The lower median.  Of many values: a sample brackets it, and only what lies between is sorted."""
    k = (len(values) - 1) // 2
    if len(values) > 100_000:
        sample = np.sort(values[:: len(values) // 10_000])
        low, high = sample[int(0.48 * len(sample))], sample[int(0.52 * len(sample))]
        below = np.count_nonzero(values < low)
        between = values[(values >= low) & (values <= high)]
        if below <= k < below + len(between):
            values, k = between, k - below
    return float(np.partition(values, k)[k])
