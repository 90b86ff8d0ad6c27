"""Density ratios and the weights made of them.

    r(x) = p_target(x) / p_source(x)        E_source[r] = 1        E_source[r l] = E_target[l]

An estimator is a bundle of settings; `estimator.fit(source, target)` gives a `DensityRatio`, a function of x.  Ratios
far from 1 rest on few samples: flatten or clip them, and read the effective sample size (sum w)^2 / sum w^2, which is
n for equal weights and 1 when one sample holds all (Kong 1992).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from .._core.checks import check_features, check_finite
from .._core.rows import SIDES


class Estimator(Protocol):
    """Settings that turn two samples into a ratio.

    >>> from cotrain_losses.importance import GaussianRatio
    >>> estimator: Estimator = GaussianRatio()
    >>> ratio = estimator.fit(torch.randn(50, 2), torch.randn(20, 2))
    """

    def fit(self, source: Tensor, target: Tensor) -> DensityRatio:
        """The ratio target / source estimated from (n, d) and (m, d)."""


@dataclass(frozen=True)
class DensityRatio:
    """A fitted ratio target / source: `ratio(x)` is (b,) for x (b, d), non-negative.

    >>> ratio = DensityRatio(lambda x: x[:, 0], at_source=torch.ones(2))
    >>> ratio(torch.zeros(3, 1))
    tensor([1., 1., 1.])
    """

    log_ratio: Callable[[Tensor], Tensor]
    """(b, d) float64 -> (b,) natural logarithms; -inf where the ratio is zero"""
    at_source: Tensor
    """(n,) the ratio at the source samples it was fitted on"""
    chosen: Mapping[str, float] = field(default_factory=dict)
    """settings that cross-validation picked"""

    def log(self, x: Tensor) -> Tensor:
        """(b,) ln r(x), in float64 however x comes: float32 ratios overflow at differences of 88."""
        check_finite("x of a density ratio", x)
        return self.log_ratio(x.detach().double())

    def __call__(self, x: Tensor) -> Tensor:
        return self.log(x).exp().to(torch.promote_types(x.dtype, torch.float32))

    def weights(self, x: Tensor, *, flatten: float = 1.0, clip: float | None = None) -> Tensor:
        """`normalised_weights` of the ratio at x (source samples): (b,), mean 1, float32 or wider."""
        weights = normalised_weights(self.log(x), flatten=flatten, clip=clip)
        return weights.to(torch.promote_types(x.dtype, torch.float32))


def normalised_weights(log_ratio: Tensor, *, flatten: float = 1.0, clip: float | None = None) -> Tensor:
    """Weights of mean 1 from logarithms of ratios.

    Args:
        log_ratio: (n,), -inf allowed where a sample is to count nothing, not everywhere.
        flatten: gamma in [0, 1], r^gamma: 1 leaves the ratio, 0 makes all weights equal (Shimodaira 2000).
        clip: the largest weight, in units of the mean, above 1; the rest is scaled so that the mean stays 1.

    >>> normalised_weights(torch.tensor([0.0, 3.0]).log())
    tensor([0., 2.])
    """
    if not 0.0 <= flatten <= 1.0:
        raise ValueError(f"flatten is the power a ratio is raised to and lies in [0, 1], got {flatten!r}. 1 keeps it.")
    if clip is not None and not clip > 1.0:
        raise ValueError(f"clip is the largest weight in units of the mean and lies above 1, got {clip!r}. Try 10.")
    if log_ratio.ndim != 1 or not len(log_ratio) or not (log_ratio.max() < float("inf")) or log_ratio.isnan().any():
        raise ValueError(
            "log ratios are (samples,) with at least one, none NaN or +inf, got shape "
            f"{tuple(log_ratio.shape)}. Take them from DensityRatio.log(x)."
        )
    if log_ratio.max() == -float("inf"):
        raise ValueError(
            "the ratio is zero at every sample, so no weights of mean 1 exist: the samples lie outside "
            "all kernels. Standardise the features, widen the bandwidths, or use RuLSIF."
        )
    weights = torch.softmax(flatten * log_ratio if flatten else torch.zeros_like(log_ratio), 0) * len(log_ratio)
    return weights if clip is None else _capped(weights, clip)


def effective_sample_size(weights: Tensor) -> Tensor:
    """(sum w)^2 / sum w^2: between 1 and n.

    >>> effective_sample_size(torch.ones(7))
    tensor(7.)
    """
    if weights.ndim != 1 or not len(weights) or not (weights >= 0).all() or not weights.sum() > 0:
        received = f"got shape {tuple(weights.shape)}. Pass normalised_weights(...)."
        raise ValueError(f"weights are (samples,), non-negative and not all zero, {received}")
    scaled = weights / weights.max()  # squares of float32 weights may overflow
    return scaled.sum().square() / scaled.square().sum()


def checked_sides(name: str, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both samples in float64: two of each at least, one width, finite."""
    if not check_features(name, source, target):
        for side, samples in zip(SIDES, (source, target), strict=True):
            check_finite(f"{name}: the {side} features", samples)
    if min(len(source), len(target)) < 2:
        raise ValueError(
            f"{name} estimates a ratio from at least 2 samples of each side, got {len(source)} source and "
            f"{len(target)} target. Pass the whole datasets rather than a batch."
        )
    return source.detach().double(), target.detach().double()


def median_distance(x: Tensor, y: Tensor) -> float:
    """The median distance between rows of x and y: the natural unit of a bandwidth."""
    median = float(torch.cdist(x[:1000], y[:1000]).median())
    if not median > 0:
        raise ValueError(
            "kernel bandwidths scale with the median distance between samples, got 0: at least half of them "
            "coincide. Drop constant samples or give bandwidths yourself."
        )
    return median


def kernel_centres(x: Tensor, number: int, seed: int) -> Tensor:
    """`number` rows of x, drawn without replacement."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    return x[order[:number].to(x.device)]


def _capped(weights: Tensor, clip: float) -> Tensor:
    """min(c w, clip) with the c that keeps the mean at 1, found exactly from the sorted weights."""
    n, ordered = len(weights), weights.sort(descending=True).values
    capped = torch.arange(n, device=weights.device)
    rest = ordered.flip(0).cumsum(0).flip(0)
    scale = (n - capped * clip) / rest.clamp_min(torch.finfo(weights.dtype).tiny)
    fits = (scale * ordered <= clip) & (rest > 0) & (scale > 0)
    if not fits.any():  # fewer samples count than n / clip: all of them at the cap, mean below 1
        return torch.where(weights > 0, torch.full_like(weights, clip), weights)
    return (weights * scale[int(fits.int().argmax())]).clamp_max(clip)
