"""Squared Euclidean distances as matrix products: |x - y|^2 = |x|^2 + |y|^2 - 2 <x, y>.

No (n, m, d) tensor is made.  Both sides are first moved by the mean of all rows, so a common offset of
the features costs no digits.  What remains of the cancellation is about 1e-7 of the squared spread in
float32; a pair of equal rows may come out at that instead of at zero.  On a device other than the CPU the product is
one of float64 where there is one: float32 may be rounded to TF32 there, which costs the fourth digit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .device import accurate


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """All |x_i - y_j|^2 of rows x (n, d) and y (m, d) -> (n, m), never negative."""
    centre, narrow = torch.cat([x, y]).mean(0).detach(), x.dtype
    x, y = x - centre, y - centre
    if x.device.type != "cpu":
        x, y = x.to(accurate(x)), y.to(accurate(y))
    squared = torch.addmm(x.square().sum(1)[:, None] + y.square().sum(1), x, y.T, alpha=-2.0)
    return squared.clamp_min(0.0).to(narrow)


def distances(x: Tensor, y: Tensor) -> Tensor:
    """All |x_i - y_j| -> (n, m); zero, with zero slope, where two rows are equal up to rounding."""
    squared = squared_distances(x, y)
    rounding = 16 * torch.finfo(x.dtype).eps * squared.detach().amax() if squared.numel() else 0.0
    equal = squared <= rounding
    return torch.where(equal, 0.0, torch.where(equal, 1.0, squared).sqrt())
