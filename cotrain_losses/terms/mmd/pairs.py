"""Means over pairs of rows, as weights on the pairs.

    within    w_ij = a_i a_j                       all pairs (biased)
              w_ij = a_i a_j / (1 - sum a^2)       i != j, scaled to the same sum (unbiased), within each group
    between   w_ij = a_i b_j

Pairs of rows of different groups weigh nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor


def within(mass: Tensor, same: Tensor | None, *, distinct: bool) -> Tensor:
    """(n, n) weights of the pairs of one side."""
    weights = mass[:, None] * mass if same is None else mass[:, None] * mass * same
    if not distinct:
        return weights
    weights = weights - torch.diag(weights.diagonal())
    rows, tiny = weights.sum(1), torch.finfo(mass.dtype).tiny
    if same is None:  # sums of positive numbers only: masses may span any number of orders
        return weights * (mass.sum().square() / rows.sum().clamp_min(tiny))
    group = same.to(mass)
    return weights * ((group @ mass).square() / (group @ rows).clamp_min(tiny))[:, None]


def between(a: Tensor, b: Tensor, same: Tensor | None) -> Tensor:
    """(n, m) weights of the pairs across."""
    return a[:, None] * b if same is None else a[:, None] * b * same


def median_square(squared: Tensor, weights: Tensor | None = None) -> Tensor:
    """The lower median of a symmetric (p, p) matrix off its diagonal; the mean where that is zero; never zero.

    Args:
        weights: (p, p), symmetric, 1 for the pairs that count and 0 for the others; None counts all.

    >>> squares = torch.tensor([[0.0, 1.0, 4.0], [1.0, 0.0, 9.0], [4.0, 9.0, 0.0]])
    >>> median_square(squares).item()
    4.0
    """
    p, tiny = len(squared), torch.finfo(squared.dtype).tiny
    if weights is None:
        weights = torch.ones_like(squared)
        ranks = p * (p - 1) // 2
        off = squared + torch.diag(torch.full_like(squared[0], float("inf")))
        median = off.flatten().kthvalue(max(ranks, 1)).values if ranks else squared.sum()
    else:
        weights = weights - torch.diag(weights.diagonal())
        ordered, index = squared.flatten().sort()
        reached = weights.flatten()[index].cumsum(0)
        half = torch.searchsorted(reached, reached[-1:] / 2 - 0.25)
        median = ordered[half.clamp_max(len(ordered) - 1)].squeeze(0)
    off_diagonal = weights - torch.diag(weights.diagonal())
    mean = (squared * off_diagonal).sum() / off_diagonal.sum().clamp_min(tiny)
    return torch.where(median > 0, median, mean).clamp_min(tiny**0.5)
