"""The closed form that co-training approximates: autograd of the exact log-density of the mixture."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cotrain_losses.importance import EmpiricalMixture, optimal_score, score_weights

from .case import Answer, case
from .draws import Draw

ALPHA, SIGMA = 0.7, 0.8
LEVEL = {"alpha": ALPHA, "sigma": SIGMA}


def given(draw: Draw, value: Tensor) -> Answer:
    return Answer(value)


def score_of_latents(draw: Draw) -> Tensor:
    latents = draw.target.features[:2].detach()
    return optimal_score(queries(draw), mixture(draw, latents=True), alpha=ALPHA, sigma=SIGMA, latent=latents)


def mixture(draw: Draw, *, latents: bool = False) -> EmpiricalMixture:
    """The actions of the draw, weighed at its ratio."""
    actions = torch.cat([draw.source.extras["action"], draw.target.extras["action"]]).flatten(1)
    is_target = torch.arange(len(actions)) >= len(draw.source)
    if not latents:
        return EmpiricalMixture(actions, is_target, draw.ratio)
    features = torch.cat([draw.source.features, draw.target.features]).detach()
    return EmpiricalMixture(actions, is_target, draw.ratio, features, bandwidth=draw.blur)


def queries(draw: Draw) -> Tensor:
    """Two noised actions."""
    clean = torch.stack([draw.source.extras["action"][0], draw.target.extras["action"][0]]).flatten(1)
    return ALPHA * clean + SIGMA * torch.from_numpy(draw.generator.normal(size=clean.shape))


def densities(draw: Draw, noised: Tensor, latent: Tensor | None) -> Tensor:
    """w_k(i) N(a^t; alpha a_i, sigma^2 I) K(z, z_i) of every sample i, up to one constant."""
    n, m = len(draw.source), len(draw.target)
    parts = []
    for rows, share in ((draw.source, (1 - draw.ratio) / n), (draw.target, draw.ratio / m)):
        for action, feature in zip(rows.extras["action"], rows.features.detach(), strict=True):
            exponent = -(noised - ALPHA * action.flatten()).square().sum() / (2 * SIGMA**2)
            if latent is not None:
                exponent = exponent - (latent - feature).square().sum() / (2 * draw.blur**2)
            parts.append(share * torch.exp(exponent))
    return torch.stack(parts)


def by_autograd(draw: Draw, latents: Tensor | None = None) -> Tensor:
    """grad log sum_i w_i N(a^t; alpha a_i, sigma^2 I) K(z, z_i)."""
    scores = []
    for k, noised in enumerate(queries(draw)):
        noised = noised.clone().requires_grad_()
        density = densities(draw, noised, None if latents is None else latents[k]).sum()
        scores.append(torch.autograd.grad(density.log(), noised)[0])
    return torch.stack(scores)


@case(
    "co-trained score",
    lambda draw: optimal_score(queries(draw), mixture(draw), alpha=ALPHA, sigma=SIGMA),
    recipe=optimal_score,
    measured=given,
)
def score_written(draw: Draw, _: Tensor) -> Answer:
    r"""Lei et al. 2026, closed form against autograd of the exact log-mixture

    s^* = \nabla \log \sum_i w_{k(i)}\, \mathcal{N}(a^t; \alpha a_i, \sigma^2 I) = \sum_i g_i\, \frac{\alpha a_i -
    a^t}{\sigma^2}

    w_target = w / N, w_source = (1 - w) / M.
    """
    return Answer(by_autograd(draw))


@case("co-trained score, latents", score_of_latents, recipe=optimal_score, measured=given)
def score_of_latents_written(draw: Draw, _: Tensor) -> Answer:
    r"""Lei et al. 2026, closed form against autograd of the exact log-mixture

    s^*(a^t, z) = \nabla \log \sum_i w_{k(i)}\, K(z, z_i)\, \mathcal{N}(a^t; \alpha a_i, \sigma^2 I)

    K is a Gaussian kernel on latents; K = 1 is the form for one fixed observation.
    """
    return Answer(by_autograd(draw, draw.target.features[:2].detach()))


@case(
    "score weights",
    lambda draw: score_weights(queries(draw), mixture(draw), alpha=ALPHA, sigma=SIGMA),
    recipe=score_weights,
    measured=given,
)
def weights_written(draw: Draw, _: Tensor) -> Answer:
    r"""Lei et al. 2026, closed form against the ratio formula

    \frac{g_t}{g_s} = \frac{w}{1 - w} \cdot \frac{M}{N} \cdot e^{(r_s^2 - r_t^2)\, d / 2}, \quad r_i = \frac{|a^t -
    \alpha a_i|}{\sigma \sqrt{d}}

    The exponent carries the factor d, the width of the action chunk (d = 1 leaves it out).
    """
    d, n, m, w = 8, len(draw.source), len(draw.target), draw.ratio
    rows = []
    for noised in queries(draw):
        r_source, r_target = ([distance(noised, a) for a in r.extras["action"]] for r in (draw.source, draw.target))
        least = min(r_source + r_target)
        unscaled = [(1 - w) / n * math.exp((least**2 - r**2) * d / 2) for r in r_source]
        unscaled += [w / m * math.exp((least**2 - r**2) * d / 2) for r in r_target]
        rows.append([u / sum(unscaled) for u in unscaled])
    return Answer(torch.tensor(rows, dtype=torch.float64))


def distance(noised: Tensor, action: Tensor) -> float:
    """|a^t - alpha a_i| / (sigma sqrt(d))."""
    return float(torch.linalg.vector_norm(noised - ALPHA * action.flatten())) / (SIGMA * math.sqrt(len(noised)))
