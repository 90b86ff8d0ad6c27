"""Dynamic time warping of all pairs of a batch at once, where the batch is.

    D[i, j] = |x_i - y_j|^2 + min(D[i - 1, j], D[i, j - 1], D[i - 1, j - 1])          min -> soft-min where gamma > 0

Cells i + j = s of D depend on the two anti-diagonals before alone: one pass over all pairs for each s.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..._core.device import accurate


@torch.no_grad()
def warped(x: Tensor, y: Tensor, ends: Tensor, stops: Tensor, *, gamma: float) -> Tensor:
    """D at the last steps of every pair, (n, m): DTW without the root, or soft-DTW; infinite where a side has none.

    Args:
        x, y: trajectories (n, h, d) and (m, k, d), of which the first `ends` (n,) and `stops` (m,) steps count.
        gamma: smoothing of soft-DTW; 0 is DTW.
    """
    (n, h, _), (m, k, _) = x.shape, y.shape
    before, last = (
        x.new_full((h + 1, n, m), torch.inf) for _ in range(2)
    )  # D[i, s - i] in row i + 1; row 0 is outside
    found, at = last[0].clone(), ends[None, :, None].expand(1, n, m)
    lasts = torch.where((ends[:, None] > 0) & (stops > 0), ends[:, None] + stops - 2, -1)
    x, y = (z.to(accurate(z)).transpose(0, 1) for z in (x, y))
    for s in range(h + k - 1):
        low, high = max(0, s - k + 1), min(h - 1, s)
        cost = _squared(x[low : high + 1], y[s - high : s - low + 1].flip(0)).to(last.dtype)
        if s:
            ways = last[low + 1 : high + 2], last[low : high + 1], before[low : high + 1]
            cost += _soft_min(*ways, gamma) if gamma else torch.minimum(torch.minimum(ways[0], ways[1]), ways[2])
        before[: low + 1] = torch.inf
        before[low + 1 : high + 2] = cost
        before, last = last, before
        found = torch.where(lasts == s, last.gather(0, at)[0], found)
    return found


def _squared(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|^2 of rows (l, n, d) and (l, m, d), step by step, (l, n, m)."""
    norms = x.square().sum(-1)[..., None] + y.square().sum(-1)[:, None]
    return torch.baddbmm(norms, x, y.transpose(1, 2), alpha=-2).clamp_min(0)


def _soft_min(a: Tensor, b: Tensor, c: Tensor, gamma: float) -> Tensor:
    least = torch.minimum(torch.minimum(a, b), c)
    total = sum(((least - way) / gamma).exp_() for way in (a, b, c))
    return least - gamma * torch.as_tensor(total).log()
