"""Parametric density ratios: a classifier that tells the domains apart, and a Gaussian for each.

    logistic    ln r(x) = ln P(target | x) - ln P(source | x) + ln(n_source / n_target)         Bickel et al. 2009
    Gaussian    ln r(x) = ln N(x; mu_t, S_t) - ln N(x; mu_s, S_s)

The classifier is right when the log-ratio is linear in what it sees: for Gaussians of one covariance in x itself,
for Gaussians of any covariance in x and its products (degree 2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import MultivariateNormal

from .ratio import DensityRatio, checked_sides


@dataclass(frozen=True)
class LogisticRatio:
    """The odds of a logistic regression, corrected for the sizes of both sides.

    Args:
        degree: 1 uses x, 2 also all products of its coordinates.
        penalties: values of lambda in mean log-loss + lambda |w|^2 / 2 on standardised inputs, chosen by the log-loss
            of held-out samples, over `folds` of both sides; a positive penalty keeps separable domains finite.

    `fit` costs O((n + m) k^2) per Newton step, k inputs (d, or d (d + 3) / 2 at degree 2), some tens of steps in all.

    >>> _ = torch.manual_seed(0)
    >>> ratio = LogisticRatio().fit(torch.randn(200, 1), 0.5 + torch.randn(100, 1))
    >>> bool(ratio(torch.tensor([[1.0]])) > ratio(torch.tensor([[-1.0]])))
    True
    """

    degree: int = 1
    penalties: Sequence[float] = (1e-4, 1e-3, 1e-2, 1e-1)
    folds: int = 5

    def fit(self, source: Tensor, target: Tensor) -> DensityRatio:
        """The ratio target / source."""
        if self.degree not in (1, 2) or min(self.penalties) <= 0:
            raise ValueError(
                f"degree is 1 or 2 and penalties are above 0, got degree={self.degree} and penalties={self.penalties}. "
                "Without a penalty separable domains have no solution."
            )
        source, target = checked_sides("LogisticRatio", source, target)
        both = torch.cat([source, target])
        inputs = _Inputs(both.mean(0), torch.where((scale := both.std(0)) > 0, scale, 1.0), self.degree)
        design, labels = inputs(both), (torch.arange(len(both), device=both.device) >= len(source)).to(both)
        loss, penalty = min((self._held_out(design, labels, penalty), penalty) for penalty in self.penalties)
        weights = _regression(design, labels, penalty)
        offset = math.log(len(source) / len(target))
        log_ratio = partial(_log_odds, inputs=inputs, weights=weights, offset=offset)
        return DensityRatio(log_ratio, log_ratio(source).exp(), {"penalty": penalty, "held_out_loss": loss})

    def _held_out(self, design: Tensor, labels: Tensor, penalty: float) -> float:
        if len(self.penalties) == 1:
            return float("nan")
        rank = torch.where(labels > 0, labels.cumsum(0), (1 - labels).cumsum(0)).long()  # both sides in every fold
        total = 0.0
        for fold in range(self.folds):
            out = rank % self.folds == fold
            weights = _regression(design[~out], labels[~out], penalty)
            total += float(F.binary_cross_entropy_with_logits(design[out] @ weights, labels[out], reduction="sum"))
        return total / len(labels)


@dataclass(frozen=True)
class GaussianRatio:
    """The ratio of two Gaussians fitted to the sides.

    Args:
        shrinkage: each covariance is (1 - shrinkage) S + shrinkage tr(S)/d I.  None takes Ledoit & Wolf's (2004),
            chosen for each side from its own samples; it matters most where samples are few for their dimensions.

    `fit` costs O((n + m) d^2 + d^3).

    >>> _ = torch.manual_seed(0)
    >>> ratio = GaussianRatio().fit(torch.randn(200, 1), 0.5 + torch.randn(100, 1))
    >>> bool(ratio(torch.tensor([[1.0]])) > ratio(torch.tensor([[-1.0]])))
    True
    """

    shrinkage: float | None = None

    def fit(self, source: Tensor, target: Tensor) -> DensityRatio:
        """The ratio target / source."""
        if self.shrinkage is not None and not 0.0 < self.shrinkage <= 1.0:
            raise ValueError(f"shrinkage lies in (0, 1], got {self.shrinkage!r}. 1e-3 changes little.")
        source, target = checked_sides("GaussianRatio", source, target)
        log_ratio = partial(_log_gaussians, source=self._gaussian(source), target=self._gaussian(target))
        return DensityRatio(log_ratio, log_ratio(source).exp(), {})

    def _gaussian(self, x: Tensor) -> MultivariateNormal:
        covariance = torch.cov(x.T).reshape(x.shape[1], x.shape[1])
        scale = covariance.diagonal().mean().clamp_min(torch.finfo(x.dtype).tiny ** 0.5)
        shrinkage = max(ledoit_wolf(x), 1e-6) if self.shrinkage is None else self.shrinkage
        shrunk = (1 - shrinkage) * covariance + shrinkage * scale * torch.eye(x.shape[1]).to(x)
        return MultivariateNormal(x.mean(0), shrunk)


def ledoit_wolf(x: Tensor) -> float:
    """The shrinkage of a covariance towards tr(S)/d I with the least expected squared error, for x (n, d).

        min(b, a) / a      a = |S - tr(S)/d I|^2      b = 1/n^2 sum_i |x_i x_i^T - S|^2

    Ledoit & Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", 2004, section 3.
    """
    n, d = x.shape
    centred = x - x.mean(0)
    covariance = centred.T @ centred / n
    size = covariance.square().sum()
    apart = size - covariance.trace().square() / d
    noise = (centred.square().sum(1).square().sum() / n - size) / n
    return float((noise.clamp_min(0.0) / apart).clamp_max(1.0)) if apart > 0 else 1.0


@dataclass(frozen=True)
class _Inputs:
    """x (b, d) -> (b, k): one, the standardised coordinates and, at degree 2, their products."""

    mean: Tensor
    scale: Tensor
    degree: int

    def __call__(self, x: Tensor) -> Tensor:
        x = (x - self.mean) / self.scale
        rows, columns = torch.triu_indices(x.shape[1], x.shape[1], device=x.device)
        products = [x[:, rows] * x[:, columns]] if self.degree == 2 else []
        return torch.cat([x.new_ones(len(x), 1), x, *products], 1)


def _log_odds(x: Tensor, inputs: _Inputs, weights: Tensor, offset: float) -> Tensor:
    return inputs(x) @ weights + offset


def _log_gaussians(x: Tensor, source: MultivariateNormal, target: MultivariateNormal) -> Tensor:
    return target.log_prob(x) - source.log_prob(x)  # type: ignore[no-untyped-call,no-any-return]


def _regression(design: Tensor, labels: Tensor, penalty: float, steps: int = 100) -> Tensor:
    """Newton's method with step halving on mean log-loss + penalty |w|^2 / 2, the intercept (column 0) free."""
    ridge = torch.full((design.shape[1],), penalty).to(design)
    ridge[0] = 1e-12
    weights = torch.zeros_like(ridge)
    value = _penalised_loss(weights, design, labels, ridge)
    for _ in range(steps):
        p = torch.sigmoid(design @ weights)
        gradient = (p - labels) @ design / len(labels) + ridge * weights
        hessian = (design.T * (p * (1 - p) / len(labels))) @ design + ridge.diag()
        step = torch.linalg.solve(hessian, gradient)
        rate = 1.0
        while rate > 1e-8 and (trial := _penalised_loss(weights - rate * step, design, labels, ridge)) > value:
            rate /= 2
        weights, gain, value = weights - rate * step, value - trial, trial
        if gain <= 1e-14:
            break
    return weights


def _penalised_loss(weights: Tensor, design: Tensor, labels: Tensor, ridge: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(design @ weights, labels) + (ridge * weights).dot(weights) / 2
