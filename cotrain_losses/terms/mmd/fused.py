"""MMD with equal masses on the CPU: value and gradient in one pass, without a graph.

    value     p' K q summed over the three blocks (source, source), (target, target), (source, target)
    gradient  d/dx_i = 2 p_i sum_j G_ij q_j (y_j - x_i),     G = -dK / d|x - y|^2

A block is worked through in tiles, a tile in strips that fit the cache; of the symmetric ones only the upper half.
The distances of a tile are overwritten by its part of G.  Where a kernel's exponent is four times the one before, its
exponential is that one's fourth power: one exp for all.  The arithmetic is numpy's, whose exp and small products cost
half of PyTorch's on the CPU.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
TILE = 256  # rows
STRIP = 32_768  # entries


class _Tile(NamedTuple):
    """Rows i against rows j, with half of their squared distances; `weight` is the signed weight of each pair."""

    i: slice
    j: slice
    half: Array
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
    tiles = _tiles(rows, n, of_x, of_y)
    squared = bandwidth**2 if bandwidth is not None else _median_square(tiles)
    slopes = sorted([1.0 / (squared * scale**2) for scale in scales])
    fourfold = all(abs(high / low - 4.0) < 1e-12 for low, high in pairwise(slopes))
    value = -float(distinct) * (n * of_x + m * of_y)  # the diagonal, where K = 1
    gradient, sums = np.zeros_like(rows), np.zeros(n + m, rows.dtype)
    for tile in tiles:
        value += _kernel_sum(tile, slopes, fourfold)
    _pull(tiles, rows, gradient, sums)
    gradient -= sums[:, None] * rows
    return value, gradient


def _tiles(rows: Array, n: int, of_x: float, of_y: float) -> list[_Tile]:
    total, lengths = len(rows), 0.5 * np.einsum("ij,ij->i", rows, rows)
    tiles = []
    for start, stop, weight in ((0, n, of_x), (n, total, of_y)):
        for low in range(start, stop, TILE):
            i = slice(low, min(low + TILE, stop))
            tiles.append(_Tile(i, i, _half(rows, lengths, i, i), weight, True))
            if i.stop < stop:
                j = slice(i.stop, stop)
                tiles.append(_Tile(i, j, _half(rows, lengths, i, j), 2.0 * weight, False))
    for low in range(0, n, TILE):
        i, j = slice(low, min(low + TILE, n)), slice(n, total)
        tiles.append(_Tile(i, j, _half(rows, lengths, i, j), -2.0 / (n * (total - n)), False))
    return tiles


def _half(rows: Array, lengths: Array, i: slice, j: slice) -> Array:
    half: Array = rows[i] @ rows[j].T  # numpy takes half the work where both are one array
    np.subtract(lengths[i, None], half, out=half)
    half += lengths[j]
    if i == j:
        np.fill_diagonal(half, 0.0)
    np.maximum(half, 0.0, out=half)
    return half


def _kernel_sum(tile: _Tile, slopes: list[float], fourfold: bool) -> float:
    """The tile's part of the value; its distances become its part of the gradient's G."""
    height = max(1, STRIP // tile.half.shape[1])
    scale = tile.weight / len(slopes)
    slope = scale * (2.0 if tile.diagonal else 1.0)
    strips = (tile.half[low : low + height] for low in range(0, len(tile.half), height))
    return scale * sum(float(_mixed(strip, slopes, slope, fourfold).sum(1).sum(dtype=float)) for strip in strips)


def _mixed(half: Array, slopes: list[float], scale: float, fourfold: bool) -> Array:
    """sum_k exp(-c_k H) over the slopes c_k in rising order; H becomes scale * sum_k c_k exp(-c_k H)."""
    power = half * -slopes[0]
    np.exp(power, out=power)
    distances = None if fourfold else half.copy()
    kernel: Array = power.copy()
    part = np.empty_like(power)
    np.multiply(power, scale * slopes[0], out=half)
    for slope in slopes[1:]:
        if distances is None:
            np.square(power, out=power)
            np.square(power, out=power)
        else:
            np.multiply(distances, -slope, out=power)
            np.exp(power, out=power)
        kernel += power
        np.multiply(power, scale * slope, out=part)
        half += part
    return kernel


def _pull(tiles: list[_Tile], rows: Array, gradient: Array, sums: Array) -> None:
    for i, j, pull, _, diagonal in tiles:
        gradient[i] += pull @ rows[j]
        sums[i] += pull.sum(1)
        if not diagonal:
            gradient[j] += pull.T @ rows[i]
            sums[j] += pull.sum(0)


def _median_square(tiles: list[_Tile]) -> float:
    """The lower median squared distance of distinct rows; the mean where that is zero; never zero."""
    parts = [t.half.ravel()[_above(len(t.half))] if t.diagonal else t.half.ravel() for t in tiles]
    distances = np.concatenate(parts)
    middle = median(distances)
    spread = 2.0 * (middle if middle > 0 else float(distances.mean()))
    return max(spread, math.sqrt(np.finfo(distances.dtype).tiny))


@lru_cache(maxsize=8)
def _above(n: int) -> Array:
    """Where an (n, n) matrix, flattened, is above its diagonal."""
    return np.flatnonzero(np.triu(np.ones((n, n), bool), 1))


def median(values: Array) -> float:
    """The lower median.  Of many values: a sample brackets it, and only what lies between is sorted."""
    k = (len(values) - 1) // 2
    if len(values) > 10_000:
        sample = values[:: len(values) // 5000]
        ranks = int(0.48 * len(sample)), int(0.52 * len(sample))
        low, high = np.partition(sample, ranks)[list(ranks)]
        below = np.count_nonzero(values < low)
        between = values.compress((values >= low) & (values <= high))
        if below <= k < below + len(between):
            values, k = between, k - below
    return float(np.partition(values, k)[k])
