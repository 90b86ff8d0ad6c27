"""Kernel mean matching: source weights under which the kernel means of both sides agree.

    min_w  w' K w / 2 - k' w      K_ij = k(s_i, s_j),  k_i = (n / m) sum_j k(s_i, t_j)
    0 <= w <= bound,   |sum w - n| <= n eps,   eps = (sqrt(n) - 1) / sqrt(n)

Huang et al. 2006, eq. 10-12.  Solved by the alternating direction method of multipliers: one Cholesky factor of
K / n + rho, then per iteration a triangular solve and a projection onto the box and the slab (Boyd et al. 2011,
section 5.2).  What counts is the natural residual max |w - P(w - g)|, g = (K w - k) / n: zero exactly at the optimum.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .._core.distances import squared_distances
from .least_squares import gaussian
from .ratio import DensityRatio, checked_sides, median_distance


@dataclass(frozen=True)
class KMM:
    """Kernel mean matching.

    Args:
        bandwidth: kernel width; None: the median distance between source and target samples.
        bound: the largest weight.
        slack: eps; None: (sqrt(n) - 1) / sqrt(n), which binds only against extreme sums.
        residual: the natural residual at which to stop.

    There is no ratio away from the source samples: read `fit(...).at_source`.
    Cost: O(n^2 d + n m d + n^3 / 3) time and O(n^2) memory: 3 GB at n = 10^4, the most that is accepted.

    >>> _ = torch.manual_seed(0)
    >>> weights = KMM().fit(torch.randn(60, 1), 0.5 + torch.randn(40, 1)).at_source
    >>> weights.shape
    torch.Size([60])
    """

    bandwidth: float | None = None
    bound: float = 1000.0
    slack: float | None = None
    residual: float = 1e-7
    iterations: int = 5000
    largest: int = 10_000

    def fit(self, source: Tensor, target: Tensor) -> DensityRatio:
        """Weights of the source samples, in `at_source` (n,); the residual reached, in `chosen`."""
        source, target = checked_sides("KMM", source, target)
        if len(source) > self.largest:
            raise ValueError(
                f"KMM holds an (n, n) kernel and takes at most {self.largest} source samples, got {len(source)}. "
                "Draw a subset, or use RuLSIF, whose memory is linear."
            )
        n, bandwidth = len(source), self.bandwidth or median_distance(target, source)
        kernel = gaussian(squared_distances(source, source), bandwidth) / n
        linear = gaussian(squared_distances(source, target), bandwidth).mean(1)
        weights, residual = self._solve(kernel, linear)
        return DensityRatio(_only_at_source, weights, {"bandwidth": bandwidth, "residual": residual})

    def _solve(self, kernel: Tensor, linear: Tensor) -> tuple[Tensor, float]:
        n, rho = len(kernel), 0.0
        z, u = torch.ones_like(linear), torch.zeros_like(linear)
        residual, factor = float("inf"), kernel
        for iteration in range(self.iterations):
            if iteration in _RESTARTS:
                u, rho = u * (rho / _RESTARTS[iteration]), _RESTARTS[iteration]
                factor = torch.linalg.cholesky(kernel + rho * torch.eye(n, dtype=kernel.dtype, device=kernel.device))
            w = torch.cholesky_solve((linear + rho * (z - u)).unsqueeze(1), factor).squeeze(1)
            relaxed = 1.6 * w - 0.6 * z
            z = self._projected(relaxed + u)
            u = u + relaxed - z
            if iteration % 10 == 9:
                residual = float((z - self._projected(z - (kernel @ z - linear))).abs().max())
                if residual <= self.residual:
                    break
        return z, residual

    def _projected(self, w: Tensor) -> Tensor:
        """The nearest weights within the box and the slab: one shift, then the box."""
        n, inside = len(w), w.clamp(0, self.bound)
        slack = (n**0.5 - 1) / n**0.5 if self.slack is None else self.slack
        total = min(max(float(inside.sum()), n * (1 - slack)), n * (1 + slack))
        if total == float(inside.sum()):
            return inside
        from scipy.optimize import brentq  # type: ignore[import-untyped]  # comes with POT, and takes a while to import

        def excess(shift: float) -> float:
            return float((w - shift).clamp(0, self.bound).sum()) - total

        shift: float = brentq(excess, float(w.min()) - self.bound, float(w.max()), xtol=1e-15)
        return (w - shift).clamp(0, self.bound)


_RESTARTS = {0: 1e-1, 100: 1e-2, 300: 1e-3, 1000: 1e-4}


def _only_at_source(x: Tensor) -> Tensor:
    raise ValueError(
        f"KMM weighs the source samples it was fitted on and gives no ratio elsewhere, got {tuple(x.shape)} samples to "
        "evaluate. Read fit(...).at_source, or use RuLSIF, KLIEP, LogisticRatio or GaussianRatio."
    )
