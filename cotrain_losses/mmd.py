"""Maximum mean discrepancy: align two sets of features by their kernel means.

    MMD^2(P, Q) = E k(x, x') + E k(y, y') - 2 E k(x, y)      x, x' ~ P    y, y' ~ Q

with the Gaussian kernel k(x, y) = mean_s exp(-|x - y|^2 / 2 (b s)^2), b the bandwidth and s the scales.
Zero exactly when P = Q.  Gretton et al., "A Kernel Two-Sample Test", JMLR 2012, Lemma 6; a sum of kernels
over several bandwidths is Long et al., "Deep Adaptation Networks", ICML 2015; a product of kernels over
features and labels is their "Joint Adaptation Networks", ICML 2017.

The literature disagrees: some sum over the scales (here: the mean), some write exp(-|x - y|^2 / b),
some halve the whole.  A weight absorbs factors; bandwidths have to be converted.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .distances import squared_distances
from .masses import balanced_masses, same_group
from .term import Rows, Term


class MMD(Term):
    """Squared maximum mean discrepancy between source and target features.

    Args:
        bandwidth: kernel width, in the units of the features.  None takes the median distance between
            distinct rows of the batch, treated as a constant.
        scales: kernels are averaged over `bandwidth * scale`.
        estimator: "unbiased" (eq. 3 of Gretton et al.; may be slightly negative near alignment, and
            clamping would bias it back) or "biased" (eq. 5, never negative).

    Shape:
        source (n, d), target (m, d) with n, m >= 2 (1 where biased), n and m free to differ -> scalar.

    Time O((n + m)^2 d), memory O((n + m)^2).

    >>> MMD(bandwidth=1.0)(torch.zeros(2, 3), torch.zeros(4, 3)).item()
    0.0
    """

    def __init__(
        self,
        bandwidth: float | None = None,
        *,
        scales: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0),
        estimator: str = "unbiased",
    ) -> None:
        super().__init__()
        if bandwidth is not None and not 0 < bandwidth < float("inf"):
            raise ValueError(f"bandwidth is a distance between features and must be > 0, got {bandwidth}.")
        if not scales or min(scales) <= 0:
            raise ValueError(f"scales multiply the bandwidth and must be > 0, got {scales}.")
        if estimator not in ("unbiased", "biased"):
            raise ValueError(f'estimator is "unbiased" or "biased", got {estimator!r}.')
        self.bandwidth, self.scales, self.estimator = bandwidth, tuple(scales), estimator
        self.min_samples = 1 if estimator == "biased" else 2

    def compare(self, source: Rows, target: Rows) -> Tensor:
        a, b = balanced_masses(source, target, self.min_samples)
        n, pooled = len(a), torch.cat([source.features, target.features])
        squared = squared_distances(pooled, pooled)
        b2 = median_square(squared.detach()) if self.bandwidth is None else self.bandwidth**2
        kernel = torch.stack([torch.exp(-squared / (2 * b2 * s**2)) for s in self.scales]).mean(0)
        across = same_group(source, target)
        between = a[:, None] * b if across is None else a[:, None] * b * across
        distinct = self.estimator == "unbiased"
        of_source = pair_weights(a, same_group(source, source), distinct=distinct)
        of_target = pair_weights(b, same_group(target, target), distinct=distinct)
        within = (of_source * kernel[:n, :n]).sum() + (of_target * kernel[n:, n:]).sum()
        return within - 2 * (between * kernel[:n, n:]).sum()


def pair_weights(mass: Tensor, same: Tensor | None, *, distinct: bool) -> Tensor:
    """(n, n) weights of the pairs of one side; with `distinct` of i != j only, scaled to the same sum by group."""
    weights = mass[:, None] * mass if same is None else mass[:, None] * mass * same
    if not distinct:
        return weights
    square = mass.square()
    alone = square.sum() if same is None else same.to(mass) @ square
    group = mass.sum().expand_as(mass) if same is None else same.to(mass) @ mass
    scale = group.square() / (group.square() - alone).clamp_min(torch.finfo(mass.dtype).tiny)
    return (weights - torch.diag(square)) * scale[:, None]


def median_square(squared: Tensor) -> Tensor:
    """The median off-diagonal entry of a symmetric (p, p) matrix with zero diagonal; its mean where that is zero."""
    p = len(squared)
    median = squared.flatten().kthvalue(p + max(p * (p - 1) // 2, 1)).values if p > 1 else squared.sum()
    return torch.where(median > 0, median, squared.mean()).clamp_min(torch.finfo(squared.dtype).tiny)
