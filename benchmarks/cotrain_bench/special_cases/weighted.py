"""Methods whose only choice is how much each sample counts."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from cotrain_losses import Method, recipes
from cotrain_losses.mixing import natural_ratio

from .case import Answer, case
from .draws import Draw
from .steps import at_the_seam, data_of, step_answer


@case(
    "reweighted",
    lambda draw: recipes.reweighted(draw.ratio, share=natural_ratio(source=len(draw.source), target=len(draw.target))),
    measured=at_the_seam,
)
def reweighted_written(draw: Draw, method: Method) -> Answer:
    r"""weights w / N and (1 - w) / M against the step written sample by sample

    \frac{1}{b} \sum_i \omega_i\, \ell_i, \quad \omega_T = w\,\frac{N + M}{N}, \quad \omega_S = (1 - w)\,\frac{N + M}{M}

    All samples in one batch, drawn at their natural share N / (N + M).
    """
    n, m = len(draw.source), len(draw.target)
    weights = [(1 - draw.ratio) * (n + m) / n] * n + [draw.ratio * (n + m) / m] * m
    return step_answer(draw, method, weights)


def known_ratio(draw: Draw) -> Tensor:
    """N(x; 1/2, 1) / N(x; 0, 1) at the first feature of the source rows."""
    return torch.exp(draw.source.features[:, 0].detach() / 2 - 1 / 8)


@case(
    "importance",
    lambda draw: recipes.importance(torch.cat([known_ratio(draw), torch.ones(len(draw.target))]), ratio=draw.ratio),
    measured=at_the_seam,
)
def importance_written(draw: Draw, method: Method) -> Answer:
    r"""Shimodaira 2000 against the step written sample by sample; two Gaussians' known ratio

    \frac{1}{b} \sum_i \omega_i\, \ell_i, \quad \omega_i = \frac{p_T(x_i)}{p_S(x_i)}\ (i \in S), \quad \omega_i = 1\ (i
    \in T)

    Weights are used as given: no normalisation inside.
    """
    first = [float(x) for x in draw.source.features[:, 0].detach()]
    ratios = [math.exp(-((x - 0.5) ** 2) / 2) / math.exp(-(x**2) / 2) for x in first]
    return step_answer(draw, method, [*ratios, *[1.0] * len(draw.target)])


@case("ambient", lambda draw: recipes.ambient(ratio=draw.ratio, low=0.3, high=0.8), measured=at_the_seam)
def ambient_written(draw: Draw, method: Method) -> Answer:
    r"""Wei et al. 2026 (Ambient Diffusion Policy) against the step written sample by sample

    \frac{1}{b} \sum_i \omega_i\, \ell_i, \quad \omega_i = 1\ \mathrm{if}\ i \in T\ \mathrm{or}\ t_{min} \leq t_i \leq
    t_{max}\ \mathrm{else}\ 0

    Times are the head's own; which end is noise is the policy's choice. Both ends belong to the window.
    """
    batch, is_target = data_of(draw)
    pairs = zip(batch["time"].tolist(), is_target.tolist(), strict=True)
    return step_answer(draw, method, [1.0 if target or 0.3 <= t <= 0.8 else 0.0 for t, target in pairs])


def remix(draw: Draw) -> Method:
    method = recipes.remix({"source": 1 - draw.ratio, "target": draw.ratio})
    for excess, labels in excess_losses(draw):
        method.weights.update(excess, labels)  # type: ignore[union-attr]
    return method


def excess_losses(draw: Draw) -> list[tuple[Tensor, Tensor]]:
    """Three batches of excess losses with their labels, both domains in each."""
    rng = draw.generator
    labels = [np.concatenate([[0, 1], rng.integers(0, 2, 6)]) for _ in range(3)]
    return [(torch.from_numpy(rng.normal(size=8)), torch.from_numpy(label)) for label in labels]


@case("remix", remix, measured=at_the_seam)
def remix_written(draw: Draw, method: Method) -> Answer:
    r"""Hejna et al. 2024 (Re-Mix); Xie et al. 2023 (DoReMi) against three updates by hand

    \alpha_k \leftarrow \alpha_k e^{\eta\,\mathrm{E}_k[\ell - \ell_{ref}]_+} / Z, \quad \alpha \leftarrow (1 -
    c)\,\alpha + c\,\alpha_0, \quad \omega_i = \alpha_{k(i)} / \alpha_{0, k(i)}

    The excess is clipped for the update only; eta = 1, c = 0.005. Domains are drawn at the prior.
    """
    prior = alpha = np.array([1 - draw.ratio, draw.ratio])
    for excess, labels in excess_losses(draw):
        clipped, label = np.maximum(excess.numpy(), 0), labels.numpy()
        alpha = alpha * np.exp(1.0 * np.array([clipped[label == k].mean() for k in (0, 1)]))
        alpha = (1 - 5e-3) * alpha / alpha.sum() + 5e-3 * prior
    weights = alpha / prior
    return step_answer(draw, method, [weights[0]] * len(draw.source) + [weights[1]] * len(draw.target))


def beacon(draw: Draw) -> Method:
    _, is_target = data_of(draw)
    method = recipes.beacon(is_target, ratio=draw.ratio)
    method.weights.observe(torch.arange(len(is_target)), sample_losses(draw))  # type: ignore[union-attr]
    method.weights.solve()  # type: ignore[union-attr]
    return method


def sample_losses(draw: Draw) -> Tensor:
    """One loss for each sample of the dataset."""
    return torch.from_numpy(draw.generator.exponential(size=len(draw.source) + len(draw.target)))


@case("beacon", beacon, measured=at_the_seam, tolerance=1e-4)
def beacon_written(draw: Draw, method: Method) -> Answer:
    r"""BEACON 2026 against scipy SLSQP

    \min_q \sum_i q_i (\ell_i + 0.1\, d_i) + 0.01\,|q - p|_1 + 0.001\,|q|_2^2, \quad \mathrm{target} \leq q \leq 5,
    \quad \sum q = N + \frac{M}{2}

    The published peak term, weight decay on the policy times the largest q, is 0 here.
    """
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    n, m = len(draw.source), len(draw.target)
    prior = np.array([0.0] * n + [1.0] * m)
    cost = sample_losses(draw).numpy() + 0.1 * (1 - prior)
    objective = lambda q: q @ cost + 0.01 * (q - prior).sum() + 0.001 * q @ q  # noqa: E731  q >= prior: |q - prior|
    slope = lambda q: cost + 0.01 + 0.002 * q  # noqa: E731
    whole = {"type": "eq", "fun": lambda q: q.sum() - m - 0.5 * n, "jac": lambda q: np.ones_like(q)}
    settings = {"method": "SLSQP", "bounds": [(p, 5.0) for p in prior], "options": {"maxiter": 2000, "ftol": 1e-15}}
    solution = minimize(objective, prior + 0.5 * n / (n + m), jac=slope, constraints=whole, **settings)
    return step_answer(draw, method, solution.x.tolist())
