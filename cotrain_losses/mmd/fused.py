"""MMD with equal masses on the CPU: value and gradient in one pass, without a graph.

    value     p' K q summed over the three blocks (source, source), (target, target), (source, target)
    gradient  d/dx_i = -2 p_i [ (G q)_i x_i - sum_j G_ij q_j y_j ],     G = -dK / d|x - y|^2

A block is worked through in tiles that fit the cache; of the symmetric ones only the upper half.  Where a
kernel's exponent is four times the one before, its exponential is that one's fourth power: one exp for all.
The arithmetic is numpy's, whose exp and small products cost half of PyTorch's on the CPU.
"""

from __future__ import annotations

import math
from functools import lru_cache
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
    sides = _Sides.of(rows)
    of_x = 1.0 / (n * (n - 1)) if distinct else 1.0 / n**2
    of_y = 1.0 / (m * (m - 1)) if distinct else 1.0 / m**2
    tiles = [*_upper(sides, 0, n, of_x), *_upper(sides, n, n + m, of_y), *_across(sides, n, n + m, -1.0 / (n * m))]
    squared = bandwidth**2 if bandwidth is not None else _median_square(tiles, rows)
    slopes = sorted(0.5 / (squared * scale**2) for scale in scales)
    value = -float(distinct) * (n * of_x + m * of_y)  # the diagonal, where K = 1
    gradient = np.zeros_like(rows)
    for tile in tiles:
        value += _add(tile, rows, sides.right, slopes, gradient)
    return value, gradient


class _Sides(NamedTuple):
    """[-2x, |x|^2, 1] and [x, 1, |x|^2] of all rows x: |x_i - x_j|^2 is one product of them."""

    left: Array
    right: Array

    @classmethod
    def of(cls, rows: Array) -> _Sides:
        lengths, one = np.einsum("ij,ij->i", rows, rows)[:, None], np.ones((len(rows), 1), rows.dtype)
        return cls(np.concatenate([-2.0 * rows, lengths, one], 1), np.concatenate([rows, one, lengths], 1))

    def squared(self, i: slice, j: slice) -> Array:
        if i == j:
            return self._own(i)
        squared = self.left[i] @ self.right[j].T
        return np.maximum(squared, 0.0, out=squared)

    def _own(self, i: slice) -> Array:
        x, lengths = self.right[i, :-2], self.right[i, -1]
        squared = x @ x.T  # numpy takes half the work where both are one array
        squared *= -2.0
        squared += lengths[:, None]
        squared += lengths
        np.fill_diagonal(squared, 0.0)
        return np.maximum(squared, 0.0, out=squared)


def _upper(sides: _Sides, start: int, stop: int, weight: float) -> list[_Tile]:
    tiles = []
    for low in range(start, stop, TILE):
        i = slice(low, min(low + TILE, stop))
        tiles.append(_Tile(i, i, sides.squared(i, i), weight, True))
        if i.stop < stop:
            j = slice(i.stop, stop)
            tiles.append(_Tile(i, j, sides.squared(i, j), 2.0 * weight, False))
    return tiles


def _across(sides: _Sides, n: int, total: int, weight: float) -> list[_Tile]:
    j = slice(n, total)
    parts = (slice(low, min(low + TILE, n)) for low in range(0, n, TILE))
    return [_Tile(i, j, sides.squared(i, j), 2.0 * weight, False) for i in parts]


def _add(tile: _Tile, rows: Array, right: Array, slopes: list[float], gradient: Array) -> float:
    """The tile's part of the value; its part of the gradient goes into `gradient`."""
    kernel, pull = _kernels(tile.squared, slopes)
    (i, j), scale = (tile.i, tile.j), 2.0 * tile.weight / len(slopes)
    _pull(pull, i, j, rows, right, scale * (2.0 if tile.diagonal else 1.0), gradient)
    if not tile.diagonal:
        _pull(pull.T, j, i, rows, right, scale, gradient)
    return tile.weight * float(kernel.sum(1).sum(dtype=float)) / len(slopes)


def _pull(pull: Array, i: slice, j: slice, rows: Array, right: Array, scale: float, gradient: Array) -> None:
    d = rows.shape[1]
    reached = pull @ right[j, : d + 1]  # sum_j G_ij x_j, and beside it sum_j G_ij
    change = reached[:, d:] * rows[i]
    change -= reached[:, :d]
    change *= scale
    gradient[i] -= change


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
    parts = [t.squared.ravel()[_above(len(t.squared))] if t.diagonal else t.squared.ravel() for t in tiles]
    distances = np.concatenate(parts)
    middle = median(distances)
    spread = middle if middle > 0 else float(distances.mean())
    return max(spread, math.sqrt(np.finfo(rows.dtype).tiny))


@lru_cache(maxsize=8)
def _above(n: int) -> Array:
    """Where an (n, n) matrix, flattened, is above its diagonal."""
    return np.flatnonzero(np.triu(np.ones((n, n), bool), 1))


def median(values: Array) -> float:
    """The lower median.  Of many values: a sample brackets it, and only what lies between is sorted."""
    k = (len(values) - 1) // 2
    if len(values) > 10_000:
        sample = values[:: len(values) // 5000]
        ranks = int(0.47 * len(sample)), int(0.53 * len(sample))
        low, high = np.partition(sample, ranks)[list(ranks)]
        below = np.count_nonzero(values < low)
        between = values[(values >= low) & (values <= high)]
        if below <= k < below + len(between):
            values, k = between, k - below
    return float(np.partition(values, k)[k])
