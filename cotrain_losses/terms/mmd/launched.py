"""MMD and the energy distance by Triton: value and gradient, one (k, k) matrix of all pairs of rows in memory."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ..._core import kernels
from ..gradients import with_gradients
from ..pair import Pair
from ..pooled import Pooled

TILE = 64
BINS = 2048  # as in triton_means


def mean_embeddings(
    pair: Pair, bandwidth: float | str | None, scales: tuple[float, ...], *, distinct: bool, least: int
) -> Tensor:
    """MMD^2 with the mean of Gaussian kernels over the scales; see `MMD`."""
    given = float(bandwidth) ** 2 if isinstance(bandwidth, (int, float)) else 0.0
    pooled = Pooled.of(pair.source.features, pair.target.features, pair.masses(least))
    return _value(pair, pooled, scales, given, MEDIAN=bandwidth is None, DISTINCT=distinct, ENERGY=False)


def energy(pair: Pair) -> Tensor:
    """2 E|x - y| - E|x - x'| - E|y - y'|."""
    pooled = Pooled.of(pair.source.features, pair.target.features, pair.masses())
    return _value(pair, pooled, (), 1.0, MEDIAN=False, DISTINCT=False, ENERGY=True)


def _value(pair: Pair, pooled: Pooled, scales: tuple[float, ...], given: float, **kind: bool) -> Tensor:
    from .triton_means import count_digits, weigh

    k, mass = len(pooled), pooled.mass
    matrix = pooled.distances(1.0, torch.float32, within=True)
    tiles = -(-k // TILE)
    counts = torch.zeros(3, BINS, dtype=torch.int32, device=mass.device)
    parts, sums = (mass.new_empty(size, dtype=torch.float64) for size in (tiles**2, tiles))
    if not given:
        for level in range(3 if kind["MEDIAN"] else 1):
            kernels.launch(count_digits, (tiles,), matrix, mass, counts, sums, k, warps=8, LEVEL=level, TILE=TILE)
    each = _numbers(scales or (1.0,), mass.device)
    held = matrix, mass, parts, counts, sums, each, pooled.n, k, tiles, len(scales), given
    kernels.launch(weigh, (tiles, tiles), *held, warps=8, GIVEN=given > 0, TILE=TILE, **kind)
    value, at_x, at_y = pooled.pulled(matrix, parts, 1.0)
    return with_gradients(value, (pair.source.features, at_x), (pair.target.features, at_y))


@lru_cache(maxsize=64)
def _numbers(numbers: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers on a device, copied there once."""
    return torch.tensor(numbers, device=device)
