"""Pairs of distributions whose density ratio is known.

shift      N(0, I) and N(mu, I), |mu| = 1               ln r = x.mu - |mu|^2 / 2: linear
scale      N(0, I) and N(0, .8^2 I)                     ln r quadratic
mixture    N(0, I) and (N(c, .7^2 I) + N(-c, .7^2 I)) / 2, |c| = 1      neither
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Normal

NAMES = ("shift", "scale", "mixture")


class Problem(NamedTuple):
    """Samples of both sides and the true ratio at the source."""

    source: Tensor
    target: Tensor
    ratio: Tensor


def problem(name: str, dim: int, n: int, seed: int) -> Problem:
    """n samples of each side in `dim` dimensions, float64."""
    generator = torch.Generator().manual_seed(seed)
    source, noise = (torch.randn(n, dim, generator=generator, dtype=torch.float64) for _ in range(2))
    direction = torch.zeros(dim, dtype=torch.float64)
    direction[: min(2, dim)] = 1 / math.sqrt(min(2, dim))
    if name == "shift":
        centres, spread = [direction], 1.0
    elif name == "scale":
        centres, spread = [torch.zeros_like(direction)], 0.8
    else:
        centres, spread = [direction, -direction], 0.7
    which = torch.randint(len(centres), (n,), generator=generator)
    target = spread * noise + torch.stack(centres)[which]
    return Problem(source, target, (_log(source, centres, spread) - _log(source, [direction * 0], 1.0)).exp())


def _log(x: Tensor, centres: list[Tensor], spread: float) -> Tensor:
    parts = [Normal(c, spread).log_prob(x).sum(1) for c in centres]  # type: ignore[no-untyped-call]
    return torch.stack(parts).logsumexp(0) - math.log(len(centres))
