"""The optimal co-trained score of an empirical mixture, in closed form.

    a^t = alpha a + sigma eps        w_target = w / N,  w_source = (1 - w) / M

    g = softmax_i( ln w_k(i) + ln K(z, z_i) - |a^t - alpha a_i|^2 / 2 sigma^2 )

    denoiser  E[a | a^t] = sum_i g_i a_i          score  s(a^t) = (alpha E[a | a^t] - a^t) / sigma^2

g is the posterior of the training samples: what each contributes to the score that co-training at ratio w can at best
learn.  Its sum over the target is the target's contribution.  Lei et al. 2026, closed form; K is a kernel on latents
(none: one fixed observation, the form on the project page; that page's special case leaves out the factor d of
r^2 d / 2, which is true for d = 1 only).  The score is the gradient of the mixture's log-density.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .._core.checks import check_finite, check_share

Level = float | Tensor


@dataclass(frozen=True)
class EmpiricalMixture:
    """The demonstrations of both domains, weighed at a ratio.

    Args:
        actions: (n, d); chunks are folded into the width.
        is_target: (n,) bool.
        ratio: w in [0, 1]; 0 and 1 leave one domain out exactly.  A domain given weight must have samples.
        latents: (n, c), each sample's feature z_i; None: all samples share one observation.
        bandwidth: of the Gaussian kernel on latents; needed with them.
        chunk: samples looked at together.  Memory is O(queries * chunk), so 10^5 samples fit.

    Sums run in float64 whatever the inputs are.

    >>> actions = torch.tensor([[0.0], [1.0]])
    >>> mixture = EmpiricalMixture(actions, torch.tensor([False, True]), ratio=0.1)
    """

    actions: Tensor
    is_target: Tensor
    ratio: float
    latents: Tensor | None = None
    bandwidth: float | None = None
    chunk: int = 4096

    def __post_init__(self) -> None:
        n = len(self.actions)
        if self.actions.ndim != 2 or self.is_target.shape != (n,) or self.is_target.dtype != torch.bool:
            raise ValueError(
                "a mixture is actions (samples, width) with a bool mask (samples,), got "
                f"{tuple(self.actions.shape)} and {tuple(self.is_target.shape)} {self.is_target.dtype}. "
                "Fold action chunks first: einops.rearrange(a, 'n t d -> n (t d)')."
            )
        check_finite("the actions of a mixture", self.actions)
        if self.latents is not None:
            if self.latents.ndim != 2 or len(self.latents) != n or not self.bandwidth or self.bandwidth <= 0:
                raise ValueError(
                    "latents are (samples, width), one row per action, with a bandwidth above 0, got "
                    f"{tuple(self.latents.shape)} for {n} actions and bandwidth={self.bandwidth!r}. "
                    "The median distance between latents is a start."
                )
            check_finite("the latents of a mixture", self.latents)
        check_share("ratio", self.ratio)
        for name, weight, rows in ("target", self.ratio, self.is_target), ("source", 1 - self.ratio, ~self.is_target):
            if weight > 0 and not rows.any():
                raise ValueError(f"a domain with weight has samples, got none of the {name} at ratio {self.ratio:g}.")

    def prior(self) -> Tensor:
        """(n,) ln w_k(i); -inf for a domain that is left out."""
        shares = torch.tensor([1 - self.ratio, self.ratio], dtype=torch.float64, device=self.is_target.device)
        domain = self.is_target.long()
        return (shares / torch.bincount(domain, minlength=2).clamp_min(1)).log()[domain]


def score_weights(
    noised: Tensor, mixture: EmpiricalMixture, *, alpha: Level, sigma: Level, latent: Tensor | None = None
) -> Tensor:
    """(q, n) what each sample contributes to the score at each of q noised actions (q, d); rows sum to 1.

    Args:
        alpha, sigma: the noise level, numbers or (q,); flow matching at time x from data has alpha = 1 - x, sigma = x.
        latent: (q, c) the feature of each query, when the mixture has latents.

    The result is O(q n); the sums below are not.

    >>> actions, is_target = torch.tensor([[0.0], [1.0]]), torch.tensor([False, True])
    >>> mixture = EmpiricalMixture(actions, is_target, ratio=0.1)
    >>> half_way = torch.tensor([[0.5]])  # there the ratio decides
    >>> score_weights(half_way, mixture, alpha=1.0, sigma=0.5)
    tensor([[0.9000, 0.1000]], dtype=torch.float64)
    """
    return torch.cat([logits for _, logits in _Query(noised, mixture, alpha, sigma, latent).pieces()], 1).softmax(1)


def log_density(
    noised: Tensor, mixture: EmpiricalMixture, *, alpha: Level, sigma: Level, latent: Tensor | None = None
) -> Tensor:
    """(q,) ln sum_i w_i K(z, z_i) N(a^t; alpha a_i, sigma^2 I), with the Gaussian's constant and without K's.

    >>> actions, is_target = torch.tensor([[0.0], [1.0]]), torch.tensor([False, True])
    >>> mixture = EmpiricalMixture(actions, is_target, ratio=0.1)
    >>> log_density(torch.tensor([[0.5]]), mixture, alpha=1.0, sigma=0.5)
    tensor([-0.7258], dtype=torch.float64)
    """
    sums = _Query(noised, mixture, alpha, sigma, latent).sums()
    constant = noised.shape[1] * (_level(sigma, noised).log() + 0.5 * math.log(2 * math.pi))
    return sums.peak + sums.total.log() - constant


def denoised(
    noised: Tensor, mixture: EmpiricalMixture, *, alpha: Level, sigma: Level, latent: Tensor | None = None
) -> Tensor:
    """(q, d) E[a | a^t, z]: the optimal denoiser.

    >>> actions, is_target = torch.tensor([[0.0], [1.0]]), torch.tensor([False, True])
    >>> mixture = EmpiricalMixture(actions, is_target, ratio=0.1)
    >>> denoised(torch.tensor([[0.5]]), mixture, alpha=1.0, sigma=0.5)
    tensor([[0.1000]], dtype=torch.float64)
    """
    sums = _Query(noised, mixture, alpha, sigma, latent).sums()
    return sums.actions / sums.total.unsqueeze(1)


def optimal_score(
    noised: Tensor, mixture: EmpiricalMixture, *, alpha: Level, sigma: Level, latent: Tensor | None = None
) -> Tensor:
    """(q, d) the score of the mixture at the noised actions.

    >>> actions, is_target = torch.tensor([[0.0], [1.0]]), torch.tensor([False, True])
    >>> mixture = EmpiricalMixture(actions, is_target, ratio=0.1)
    >>> optimal_score(torch.tensor([[0.5]]), mixture, alpha=1.0, sigma=0.5)
    tensor([[-1.6000]], dtype=torch.float64)
    """
    mean = denoised(noised, mixture, alpha=alpha, sigma=sigma, latent=latent)
    alpha, sigma = _level(alpha, noised).unsqueeze(1), _level(sigma, noised).unsqueeze(1)
    return (alpha * mean - noised.double()) / sigma.square()


def target_contribution(
    noised: Tensor, mixture: EmpiricalMixture, *, alpha: Level, sigma: Level, latent: Tensor | None = None
) -> Tensor:
    """(q,) the summed weights of the target samples; exactly 0 at ratio 0 and 1 at ratio 1.

    >>> actions, is_target = torch.tensor([[0.0], [1.0]]), torch.tensor([False, True])
    >>> mixture = EmpiricalMixture(actions, is_target, ratio=0.1)
    >>> target_contribution(torch.tensor([[1.0]]), mixture, alpha=1.0, sigma=0.2)
    tensor([1.0000], dtype=torch.float64)
    """
    sums = _Query(noised, mixture, alpha, sigma, latent).sums()
    return sums.target / sums.total


class _Sums(NamedTuple):
    """Sums over samples of exp(logit - peak)."""

    peak: Tensor
    total: Tensor
    target: Tensor
    actions: Tensor


class _Query(NamedTuple):
    """Where the mixture's score is asked for."""

    noised: Tensor
    mixture: EmpiricalMixture
    alpha: Level
    sigma: Level
    latent: Tensor | None

    def sums(self) -> _Sums:
        """One pass in chunks, rescaled as the peak grows."""
        peak = torch.full((len(self.noised),), -math.inf, dtype=torch.float64, device=self.noised.device)
        source, target, actions = torch.zeros_like(peak), torch.zeros_like(peak), torch.zeros_like(self.noised).double()
        for rows, logits in self.pieces():
            higher = torch.maximum(peak, logits.amax(1))
            base = higher.clamp_min(torch.finfo(torch.float64).min)  # while every sample so far has weight zero
            kept, new = torch.exp(peak - base), torch.exp(logits - base.unsqueeze(1))
            is_target = self.mixture.is_target[rows].double()
            source, target = source * kept + new @ (1 - is_target), target * kept + new @ is_target
            actions = actions * kept.unsqueeze(1) + new @ self.mixture.actions[rows].double()
            peak = higher
        return _Sums(peak, source + target, target, actions)

    def pieces(self) -> Iterator[tuple[slice, Tensor]]:
        """Slices of the samples and their logits (q, chunk)."""
        noised, mixture, latent = self.noised, self.mixture, self.latent
        _check_query(noised, mixture, latent)
        alpha, sigma, prior = _level(self.alpha, noised), _level(self.sigma, noised), mixture.prior()
        if not (sigma > 0).all():
            raise ValueError(f"sigma is the noise at the query and above 0, got {float(sigma.min()):g}. Start at 1e-3.")
        whitened = noised.double() / sigma.unsqueeze(1)
        for begin in range(0, len(prior), mixture.chunk):
            rows = slice(begin, begin + mixture.chunk)
            logits = prior[rows] - _squared(whitened, mixture.actions[rows].double(), alpha / sigma) / 2
            if mixture.latents is not None and latent is not None:
                width = float(mixture.bandwidth or 1.0)
                logits = logits - _squared(latent.double() / width, mixture.latents[rows].double(), 1 / width) / 2
            yield rows, logits


def _squared(queries: Tensor, samples: Tensor, factor: Level) -> Tensor:
    """(q, n) of |query - factor * sample|^2 by differences, a few queries at a time when the factor varies."""
    exact = "donot_use_mm_for_euclid_dist"
    levels = torch.as_tensor(factor, dtype=torch.float64, device=queries.device).expand(len(queries))
    out = queries.new_empty(len(queries), len(samples))
    for level in torch.unique(levels):
        here = levels == level
        out[here] = torch.cdist(queries[here], level * samples, compute_mode=exact).square()
    return out


def _level(value: Level, noised: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64, device=noised.device).expand(len(noised))


def _check_query(noised: Tensor, mixture: EmpiricalMixture, latent: Tensor | None) -> None:
    if noised.ndim != 2 or noised.shape[1] != mixture.actions.shape[1]:
        raise ValueError(
            f"noised actions are (queries, {mixture.actions.shape[1]}) like the mixture's, got {tuple(noised.shape)}. "
            "Fold chunks the same way on both sides."
        )
    wanted = None if mixture.latents is None else (len(noised), mixture.latents.shape[1])
    if (given := None if latent is None else tuple(latent.shape)) != wanted:
        received = f"got {given}. Pass latent=z of the observation at hand."
        raise ValueError(f"each query has a latent exactly when the mixture has, here {wanted}, {received}")
    check_finite("noised actions", noised)
