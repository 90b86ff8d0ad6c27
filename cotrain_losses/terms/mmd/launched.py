"""MMD and the energy distance by Triton: value and gradient, one (k, k) matrix of all pairs of rows in memory."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ..._core import kernels
from ..pair import Pair
from ..pooled import Pooled

TILE = 64
BINS = 2048  # as in triton_means
SPLIT = 8  # programs that share a row of tiles


def mean_embeddings(
    pair: Pair, bandwidth: float | str | None, scales: tuple[float, ...], *, distinct: bool, least: int
) -> Tensor:
    """MMD^2 with the mean of Gaussian kernels over the scales; see `MMD`."""
    given = float(bandwidth) ** 2 if isinstance(bandwidth, (int, float)) else 0.0
    return _value(Pooled.of(pair, least), scales, given, MEDIAN=bandwidth is None, DISTINCT=distinct, ENERGY=False)


def energy(pair: Pair) -> Tensor:
    """2 E|x - y| - E|x - x'| - E|y - y'|."""
    return _value(Pooled.of(pair), (), 1.0, MEDIAN=False, DISTINCT=False, ENERGY=True)


def _value(pooled: Pooled, scales: tuple[float, ...], given: float, **kind: bool) -> Tensor:
    from .triton_means import count_digits, weigh

    k, mass = len(pooled), pooled.mass
    tiles = -(-k // TILE)
    split = min(tiles, SPLIT)
    counts = torch.empty(3, BINS, dtype=torch.int32, device=mass.device)
    parts, sums = (mass.new_empty(size, dtype=torch.float64) for size in (tiles**2, tiles * split))
    matrix = pooled.distances(1.0, torch.float32, within=True, cleared=None if given else counts)
    if not given:
        for level in range(3 if kind["MEDIAN"] else 1):
            kernels.launch(count_digits, (tiles, split), matrix, mass, counts, sums, k, warps=8, LEVEL=level, TILE=TILE)
    each = _numbers(scales or (1.0,), mass.device)
    held = matrix, mass, parts, counts, sums, each, pooled.pair.n, k, tiles * split, len(scales), given
    kernels.launch(weigh, (tiles, tiles), *held, warps=8, GIVEN=given > 0, TILE=TILE, **kind)
    return pooled.valued(matrix, parts, 1.0)


@lru_cache(maxsize=64)
def _numbers(numbers: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers on a device, copied there once."""
    return torch.tensor(numbers, device=device)
