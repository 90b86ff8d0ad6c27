"""KLIEP: the density ratio that makes the reweighed source closest to the target in Kullback-Leibler divergence.

    r(x) = sum_l theta_l k(x, c_l)        max mean_t[ln r]        theta >= 0,  mean_s[r] = 1

Sugiyama et al. 2008, eq. 9-11.  With pi_l = theta_l mean_s[k(., c_l)] the constraint is sum pi = 1: the proportions
of a mixture of densities k(., c_l) / mean_s[k(., c_l)], which expectation-maximisation climbs without a step size.
It stops on a certificate: max_l mean_t[k_l / (b_l r)] - 1 bounds what is still to be gained (Lindsay 1983).  The
bandwidth is chosen by the likelihood of held-out target samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .._core.distances import squared_distances
from .least_squares import SCALES, gaussian, kernel_ratio
from .ratio import DensityRatio, checked_sides, kernel_centres, median_distance


@dataclass(frozen=True)
class KLIEP:
    """Kullback-Leibler importance estimation procedure.

    Args:
        bandwidths: kernel widths to choose from, over `folds` of the target; None: the median distance times 1/4 to 4.
        centres: how many kernels, at target samples drawn with `seed`.
        gap: the mean log-ratio is within this of its optimum; ten times this while choosing the bandwidth.

    `fit` costs O((n + m) k d) and O(m k) per iteration and bandwidth and fold.

    >>> _ = torch.manual_seed(0)
    >>> ratio = KLIEP(centres=20).fit(torch.randn(200, 1), 0.5 + torch.randn(100, 1))
    >>> bool(ratio(torch.tensor([[1.0]])) > ratio(torch.tensor([[-1.0]])))
    True
    """

    bandwidths: Sequence[float] | None = None
    centres: int = 100
    folds: int = 5
    gap: float = 1e-3
    iterations: int = 5000
    seed: int = 0

    def fit(self, source: Tensor, target: Tensor) -> DensityRatio:
        """The ratio target / source."""
        source, target = checked_sides("KLIEP", source, target)
        centres = kernel_centres(target, self.centres, self.seed)
        bandwidths = self.bandwidths or [median_distance(target, source) * scale for scale in SCALES]
        to_source, to_target = squared_distances(source, centres), squared_distances(target, centres)
        scored = [(self._held_out(b, to_source, to_target), b) for b in bandwidths] if len(bandwidths) > 1 else []
        score, bandwidth = max(scored, default=(float("nan"), bandwidths[0]))
        theta, gap = self._theta(gaussian(to_target, bandwidth), gaussian(to_source, bandwidth).mean(0), gap=self.gap)
        chosen = {"bandwidth": bandwidth, "held_out": score, "gap": gap}
        return kernel_ratio(centres, theta, bandwidth, to_source, chosen)

    def _held_out(self, bandwidth: float, to_source: Tensor, to_target: Tensor) -> float:
        """The mean log-ratio of target samples that did not take part."""
        kernel, mean = gaussian(to_target, bandwidth), gaussian(to_source, bandwidth).mean(0)
        folds = torch.arange(len(kernel), device=kernel.device) % min(self.folds, len(kernel))
        out = [folds == fold for fold in range(int(folds.max()) + 1)]
        logs = [(kernel[fold] @ self._theta(kernel[~fold], mean, gap=10 * self.gap)[0]).log() for fold in out]
        return float(torch.cat(logs).mean())

    def _theta(self, kernel: Tensor, mean: Tensor, *, gap: float) -> tuple[Tensor, float]:
        """The coefficients (k,), and how far the objective may still be from its optimum."""
        reached = mean > torch.finfo(mean.dtype).tiny  # kernels no source sample reaches are unbounded directions
        columns = kernel[:, reached] / mean[reached]
        columns = columns[columns.amax(1) > 0]
        if columns.numel() == 0:
            return torch.zeros_like(mean), float("nan")
        share, bound = torch.full((columns.shape[1],), 1 / columns.shape[1]).to(columns), float("inf")
        for _ in range(self.iterations):
            pull = (1 / (columns @ share)) @ columns / len(columns)
            bound = float(pull.max()) - 1
            if bound <= gap:
                break
            share = share * pull**1.8  # over-relaxed: the fixed point is the same, the way there shorter
            share = share / share.sum()
        theta = torch.zeros_like(mean)
        theta[reached] = share / mean[reached]
        return theta, bound
