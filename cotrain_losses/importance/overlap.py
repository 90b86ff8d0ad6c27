"""How far two domains compete in the optimal co-trained score, in closed form.

    relative contribution    g_t / g_s = [w / (1 - w)] [M / N] exp((r_s^2 - r_t^2) d / 2)      one sample of each
    Bhattacharyya overlap    exp(-alpha^2 D^2 / 8 sigma^2)                                     two points at distance D

Lei et al. 2026; what each of many samples contributes is in score.py.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .._core.checks import check_share
from .score import Level


def relative_contribution(ratio: float, *, source: int, target: int, advantage: float = 0.0) -> float:
    """g_t / (g_t + g_s) of one target and one source sample.

    Args:
        ratio: the target's share w.
        source, target: how many samples, M and N.
        advantage: (r_s^2 - r_t^2) d / 2, how much nearer the target sample is; 0 gives the paper's scaling curves,
            (w / rho) / (w / rho + 1 - w) with rho = N / M.

    >>> round(relative_contribution(0.0909, source=100, target=1), 3)
    0.909
    """
    check_share("ratio", ratio)
    if min(source, target) < 1:
        raise ValueError(f"sizes are at least 1, got source={source} and target={target}.")
    if ratio in (0.0, 1.0):
        return ratio
    odds = math.log(ratio) - math.log1p(-ratio) + math.log(source / target) + advantage
    return 1 / (1 + math.exp(-odds)) if odds > 0 else math.exp(odds) / (1 + math.exp(odds))


def overlap_coefficient(distance: Level, *, alpha: Level, sigma: Level) -> Tensor:
    """exp(-alpha^2 D^2 / 8 sigma^2): Bhattacharyya's coefficient of two actions at distance D once noised.

    The overlap figure of Lei et al. 2026 has alpha = 1 - x, sigma = x, D^2 = 100 (real, real) and 700 (real, sim).

    >>> round(overlap_coefficient(10.0, alpha=0.5, sigma=0.5).item(), 6)
    4e-06
    """
    distance, alpha, sigma = (torch.as_tensor(x, dtype=torch.float64) for x in (distance, alpha, sigma))
    apart = alpha * distance
    return torch.where(sigma > 0, torch.exp(-(apart / sigma).square() / 8), (apart == 0).double())


def empirical_overlap(first: Tensor, second: Tensor) -> Tensor:
    """Bhattacharyya's coefficient, the integral of sqrt(p q), from log-densities at draws of (p + q) / 2.

    `first` and `second` are (q,) ln p and ln q at the same draws, half of them from each side.

    The integrand 2 sqrt(p q) / (p + q) lies in [0, 1], so q draws give a standard error below 1 / (2 sqrt(q)).

    >>> _ = torch.manual_seed(0)
    >>> draws = torch.cat([torch.randn(50_000), 1.0 + torch.randn(50_000)])
    >>> normal = lambda mean: -0.5 * (draws - mean) ** 2
    >>> round(empirical_overlap(normal(0.0), normal(1.0)).item(), 2)  # exp(-1/8) = 0.88
    0.88
    """
    return (1 / torch.cosh(((first - second) / 2).clamp(-700, 700))).mean()
