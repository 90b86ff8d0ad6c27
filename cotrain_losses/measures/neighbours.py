"""Two tests of "one distribution or two" on all pairs of rows: neighbour mixing, and MMD by permutation.

    mixing  = E [share of cross-domain rows among the k nearest] / [the same under perfect mixing]
    p       = (1 + #{permutations with MMD^2 >= observed}) / (1 + permutations)

Mixing is 0 where no row has a neighbour of the other domain and about 1 where domains are interchangeable.  A
row's own episode is never its neighbour (consecutive frames would be), and perfect mixing counts who is left.
The permutation test (Gretton et al. 2012, section 5) exchanges whole episodes, which are what is independent;
its p-value is exact, and cannot be below 1 / (1 + permutations).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .._core.distances import squared_distances
from ..terms.mmd import median_square
from .sides import Side, joined, normalised, numbered, subsample


class KernelTest(NamedTuple):
    """The kernel two-sample test by the unbiased MMD^2, negative at times under identical distributions.

    >>> KernelTest(mmd2=0.02, p_value=0.01, bandwidth=1.3, permutations=99).p_value < 0.05
    True
    """

    mmd2: float
    p_value: float
    bandwidth: float
    """the median distance, in units of the total spread."""
    permutations: int


def neighbour_mixing(source: Side, target: Side, *, neighbours: int = 10, rows: int = 2048, seed: int = 0) -> float:
    """Cross-domain neighbours against what perfect mixing gives, both domains counting equally.

    Blind to order, shifts, rotations and one overall scale.  At most `rows` rows of each domain are used, as many
    of one as of the other: time O(rows^2 d).  A domain of no more rows than `neighbours` raises ValueError.
    """
    generator, size = torch.Generator().manual_seed(seed), min(rows, len(source), len(target))
    source, target = (subsample(side, size, generator) for side in (source, target))
    if size <= neighbours:
        raise ValueError(
            f"neighbour mixing looks at {neighbours} neighbours of every row, got {size} rows in the smaller domain. "
            f"Collect more, or pass neighbours={max(size - 1, 1)}."
        )
    x, domain, episode = joined(source, target)
    x = normalised(x)
    observed, expected = torch.zeros(2, 2, dtype=torch.float64)
    for block in torch.split(torch.arange(len(x)), 512):
        distance = squared_distances(x[block], x)
        own = episode[block, None] == episode
        cross = domain[block, None] != domain
        nearest = distance.masked_fill(own, torch.inf).topk(neighbours, largest=False)
        real = nearest.values.isfinite().sum(1).clamp_min(1)
        hits = (cross.gather(1, nearest.indices) & nearest.values.isfinite()).sum(1) / real
        chance = cross.sum(1) / (~own).sum(1).clamp_min(1)
        observed.index_add_(0, domain[block], hits.double())
        expected.index_add_(0, domain[block], chance.double())
    return float((observed / expected).mean())


def kernel_test(source: Side, target: Side, *, permutations: int = 500, rows: int = 1024, seed: int = 0) -> KernelTest:
    """Is there one distribution?  The MMD with a sum of Gaussian kernels around the median distance.

    At most `rows` rows of each domain; time O(rows^2 (d + permutations)).
    """
    generator = torch.Generator().manual_seed(seed)
    source, target = (subsample(side, rows, generator) for side in (source, target))
    x, domain, episode = joined(source, target)
    x = normalised(x)
    squared = squared_distances(x, x)
    bandwidth2 = median_square(squared)
    kernel = torch.stack([torch.exp(-squared / (2 * bandwidth2 * s**2)) for s in (0.25, 0.5, 1.0, 2.0, 4.0)]).mean(0)
    kernel.fill_diagonal_(0.0)
    labels = torch.cat([domain[:, None], _permuted(domain, episode, permutations, generator)], 1)
    values = _unbiased(kernel, labels.to(kernel))
    above = int((values[1:] >= values[0] - 1e-7 * values[0].abs()).sum())
    return KernelTest(float(values[0]), (1 + above) / (1 + permutations), float(bandwidth2.sqrt()), permutations)


def _unbiased(kernel: Tensor, labels: Tensor) -> Tensor:
    """MMD^2 for every column of labels (1 = target), from a kernel with a zero diagonal."""
    images = kernel @ labels
    target = (labels * images).sum(0)
    across = images.sum(0) - target
    source = kernel.sum() - target - 2 * across
    m = labels.sum(0)
    n = len(labels) - m
    of_source, of_target = ((k * (k - 1)).clamp_min(1) for k in (n, m))
    return source / of_source + target / of_target - 2 * across / (n * m).clamp_min(1)


def _permuted(domain: Tensor, episode: Tensor, permutations: int, generator: torch.Generator) -> Tensor:
    """(rows, permutations) domains, exchanged between episodes."""
    place, episodes = numbered(episode)
    of_episode = torch.zeros(episodes, dtype=domain.dtype).scatter(0, place, domain)
    exchanged = [of_episode[torch.randperm(len(of_episode), generator=generator)] for _ in range(permutations)]
    return torch.stack(exchanged, 1)[place]
