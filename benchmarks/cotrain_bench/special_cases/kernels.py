"""Kernel means and moments, written as sums over pairs."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.distance import cdist, pdist  # type: ignore[import-untyped]
from torch import Tensor

from cotrain_losses import Method, Rows, recipes
from cotrain_losses.terms.mmd import CORAL

from .case import Answer, case, loss
from .draws import Draw


@case("mmd", lambda draw: recipes.mmd(ratio=draw.ratio))
def mmd_written(draw: Draw, method: Method) -> Answer:
    r"""Long et al. 2015 (DAN) against sums over pairs

    \frac{1}{n(n-1)}\sum_{i \neq i'} k(x_i, x_{i'}) + \frac{1}{m(m-1)}\sum_{j \neq j'} k(y_j, y_{j'}) -
    \frac{2}{nm}\sum_{i,j} k(x_i, y_j)

    Five Gaussian kernels exp(-|x - y|^2 / 2 (b s)^2), s = 1/4 ... 4, averaged (DAN sums them: 5 times this); b is the
    lower median of all pooled distances, a constant. Unbiased estimator.
    """
    x, y, bandwidth = draw.source.features, draw.target.features, median(draw.source.features, draw.target.features)
    sigmas = [bandwidth * s for s in (0.25, 0.5, 1, 2, 4)]
    within = off_diagonal_mean(gaussians(x, x, sigmas)) + off_diagonal_mean(gaussians(y, y, sigmas))
    return loss(0.1 * (within - 2 * gaussians(x, y, sigmas).mean()) / 5, draw)


@case(
    "dan", lambda draw: recipes.dan(ratio=draw.ratio, bandwidth=mean_square(draw, of_itself=True) ** 0.5), paired=True
)
def dan_written(draw: Draw, method: Method) -> Answer:
    r"""Long et al. 2015 (DAN, tllib's kernels) against its index matrix, n = m

    \sum_k \mathrm{MMD}^2_{\sigma_k}, \quad \sigma_k^2 = 2^k\,\mathrm{mean}\,|x - y|^2, \quad k = -3 \ldots 1\qquad
    (+\ \frac{2}{n - 1})

    Kernels are summed: 5 times their mean. The constant 2 / (n - 1) is subtracted before values are compared.
    """
    x, y = draw.source.features, draw.target.features
    sigmas = [(2.0**k * mean_square(draw, of_itself=True)) ** 0.5 for k in range(-3, 2)]
    n, kernel = len(x), gaussians(torch.cat([x, y]), torch.cat([x, y]), sigmas)
    index = -torch.ones(2 * n, 2 * n, dtype=x.dtype) / n**2
    index[:n, :n] = index[n:, n:] = 1 / (n * (n - 1))
    index.fill_diagonal_(0.0)
    published = (kernel * index).sum() + 2 / (n - 1)
    return loss(published - 2 / (n - 1), draw)


@case("wei_mmd", lambda draw: recipes.wei_mmd(ratio=draw.ratio))
def wei_mmd_written(draw: Draw, method: Method) -> Answer:
    r"""Wei et al. 2025 against means of kernel matrices

    0.001\,(\overline{K_{XX}} - 2 \overline{K_{XY}} + \overline{K_{YY}}), \quad k = \frac{1}{5} \sum_m e^{-|x - y|^2 /
    (\mathrm{base} \cdot m)}

    Biased estimator; exp(-d^2 / (base mult)) is bandwidth sqrt(base), the batch's own, and scale sqrt(mult / 2) here.
    """
    x, y, base = draw.source.features, draw.target.features, mean_square(draw)
    sigmas = [(base * mult / 2) ** 0.5 for mult in (0.25, 0.5, 1, 2, 4)]
    parts = [gaussians(*pair, sigmas).mean() / 5 for pair in ((x, x), (x, y), (y, y))]
    return loss(0.001 * (parts[0] - 2 * parts[1] + parts[2]), draw)


@case("jan", lambda draw: recipes.jan(ratio=draw.ratio))
def jan_written(draw: Draw, method: Method) -> Answer:
    r"""Long et al. 2017 (JAN) against products of kernel matrices

    \mathrm{MMD}^2\ \mathrm{with}\ k((x, a), (y, b)) = k_z(x, y)\, k_a(a, b)

    Unbiased; each block has the median of its own distances as bandwidth; averaged (JAN sums: 25 times this).
    """
    n, kernel = len(draw.source.features), torch.ones(())
    for x, y in zip(blocks(draw.source), blocks(draw.target), strict=True):
        sigmas = [median(x, y) * s for s in (0.25, 0.5, 1, 2, 4)]
        kernel = kernel * gaussians(torch.cat([x, y]), torch.cat([x, y]), sigmas) / 5
    within = off_diagonal_mean(kernel[:n, :n]) + off_diagonal_mean(kernel[n:, n:])
    return loss(within - 2 * kernel[:n, n:].mean(), draw)


@case("energy", lambda draw: recipes.energy(ratio=draw.ratio))
def energy_written(draw: Draw, method: Method) -> Answer:
    r"""the kernel baseline of Cheng et al. 2025 against scipy cdist

    0.1\,[\mathrm{E}|x - y| - \frac{1}{2} \mathrm{E}|x - x'| - \frac{1}{2} \mathrm{E}|y - y'|]

    Half the energy distance 2 E|x - y| - E|x - x'| - E|y - y'|, as geomloss counts it; a row's distance to itself
    counts, as 0 (geomloss 0.3.1 floors it at 1e-4).
    """
    x, y = draw.source.features, draw.target.features
    parts = []
    for a, b in ((x, y), (x, x), (y, y)):
        distances = [(u - v).norm() for u in a for v in b if not torch.equal(u, v)]
        parts.append(torch.stack(distances).sum() / (len(a) * len(b)))
        np.testing.assert_allclose(parts[-1].item(), cdist(a.detach(), b.detach()).mean(), rtol=1e-9)
    return loss(0.1 * (parts[0] - parts[1] / 2 - parts[2] / 2), draw)


@case("coral", lambda draw: recipes.coral(ratio=draw.ratio))
def coral_written(draw: Draw, method: Method) -> Answer:
    r"""Sun & Saenko 2016 (Deep CORAL) against numpy.cov

    \frac{1}{4 d^2} |C_S - C_T|_F^2

    Unbiased covariances.
    """
    return loss(covariance_gap(draw) / (4 * draw.width**2), draw)


@case("coral, with means", lambda draw: Method(draw.ratio, CORAL(mean=True) + 3 * CORAL()))
def coral_tllib_written(draw: Draw, method: Method) -> Answer:
    r"""tllib's CorrelationAlignmentLoss against numpy.cov

    \frac{1}{d^2} |C_S - C_T|_F^2 + \frac{1}{d} |\mu_S - \mu_T|^2

    4 times CORAL plus the squared gap of the means over d: CORAL(mean=True) + 3 * CORAL().
    """
    means = draw.source.features.mean(0) - draw.target.features.mean(0)
    return loss(covariance_gap(draw) / draw.width**2 + means.square().mean(), draw)


def covariance_gap(draw: Draw) -> Tensor:
    """|C_source - C_target|_F^2, which numpy.cov is asserted to give too."""
    sides = draw.source.features, draw.target.features
    centred = [x - x.mean(0) for x in sides]
    covariances = [c.T @ c / (len(c) - 1) for c in centred]
    gap = covariances[0] - covariances[1]
    by_numpy = [np.cov(x.detach().numpy(), rowvar=False) for x in sides]
    np.testing.assert_allclose(gap.detach().numpy(), by_numpy[0] - by_numpy[1], rtol=1e-9, atol=1e-12)
    return gap.square().sum()


def gaussians(x: Tensor, y: Tensor, sigmas: list[float]) -> Tensor:
    """The sum over sigmas of exp(-|x_i - y_j|^2 / 2 sigma^2), all pairs."""
    return torch.stack([torch.exp(-squared(x, y) / (2 * sigma**2)) for sigma in sigmas]).sum(0)


def off_diagonal_mean(kernel: Tensor) -> Tensor:
    """The mean over pairs of different rows."""
    return torch.stack([k for i, row in enumerate(kernel) for j, k in enumerate(row) if i != j]).mean()


def median(x: Tensor, y: Tensor) -> float:
    """The lower median of the pooled distances between different rows."""
    distances = sorted(pdist(torch.cat([x, y]).detach().numpy()))
    return float(distances[(len(distances) - 1) // 2])


def mean_square(draw: Draw, *, of_itself: bool = False) -> float:
    """The mean of the pooled squared distances, over all pairs or over different rows."""
    pooled = torch.cat([draw.source.features, draw.target.features]).detach()
    count = len(pooled) ** 2 - (0 if of_itself else len(pooled))
    return float(squared(pooled, pooled).sum() / count)


def blocks(rows: Rows) -> list[Tensor]:
    """What a joint kernel multiplies: features, actions."""
    return [rows.features, rows.extras["action"].flatten(1)]


def squared(x: Tensor, y: Tensor) -> Tensor:
    """All |x_i - y_j|^2, entry by entry."""
    return torch.stack([torch.stack([(u - v).square().sum() for v in y]) for u in x])
