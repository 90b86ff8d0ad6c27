"""The optimal co-trained score: held to autograd of the mixture's density, and to the paper's figures."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain_losses.importance import (
    EmpiricalMixture,
    denoised,
    empirical_overlap,
    log_density,
    optimal_score,
    overlap_coefficient,
    relative_contribution,
    score_weights,
    target_contribution,
)
from cotrain_losses.mixing import crossing_ratio
from tests.drawn import seeds

ratios = st.sampled_from([0.0, 0.016, 0.5, 1.0]) | st.floats(0, 1)


def drawn(seed: int, n_target: int, n_source: int, d: int, ratio: float, *, kernel: bool, chunk: int = 3):
    """A mixture, noised actions (4, d) and their latents."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    n = n_target + n_source
    is_target = (torch.arange(n) < n_target)[torch.randperm(n, generator=generator)]
    latents, latent = (draw(n, 2), draw(4, 2)) if kernel else (None, None)
    mixture = EmpiricalMixture(draw(n, d), is_target, ratio, latents, 0.7 if kernel else None, chunk)
    return mixture, draw(4, d), latent


def log_mixture(noised, mixture, alpha, sigma, latent):
    """ln sum_i w_i K N(a^t; alpha a_i, sigma^2 I), as written, for one query."""
    n_target = int(mixture.is_target.sum())
    logs = []
    for i, action in enumerate(mixture.actions):
        w = (
            mixture.ratio / n_target
            if mixture.is_target[i]
            else (1 - mixture.ratio) / (len(mixture.actions) - n_target)
        )
        if w == 0:
            continue
        kernel = 0.0 if latent is None else -(latent - mixture.latents[i]).square().sum() / (2 * mixture.bandwidth**2)
        density = torch.distributions.Normal(alpha * action, torch.full_like(action, sigma)).log_prob(noised).sum()
        logs.append(math.log(w) + kernel + density)
    return torch.stack(logs).logsumexp(0)


@settings(max_examples=12)
@given(seeds, st.integers(1, 3), st.integers(1, 5), st.integers(1, 4), ratios, st.floats(0.05, 0.95), st.booleans())
def test_the_score_is_the_gradient_of_the_log_mixture(seed, n_target, n_source, d, ratio, x, kernel):
    mixture, noised, latent = drawn(seed, n_target, n_source, d, ratio, kernel=kernel)
    score = optimal_score(noised, mixture, alpha=1 - x, sigma=x, latent=latent)
    values = log_density(noised, mixture, alpha=1 - x, sigma=x, latent=latent)
    for row in range(len(noised)):
        query = noised[row].clone().requires_grad_()
        value = log_mixture(query, mixture, 1 - x, x, None if latent is None else latent[row])
        (expected,) = torch.autograd.grad(value, query)
        torch.testing.assert_close(score[row], expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(values[row], value.detach(), rtol=1e-10, atol=1e-10)


@given(seeds, st.integers(1, 4), st.integers(1, 6), ratios, st.floats(0.05, 0.95), st.booleans(), st.integers(1, 12))
def test_weights_sum_to_one_and_give_denoiser_and_contribution_whatever_the_chunk(seed, n, m, ratio, x, kernel, chunk):
    mixture, noised, latent = drawn(seed, n, m, 2, ratio, kernel=kernel, chunk=chunk)
    settings = {"alpha": 1 - x, "sigma": x, "latent": latent}
    weights = score_weights(noised, mixture, **settings)
    torch.testing.assert_close(weights.sum(1), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(denoised(noised, mixture, **settings), weights @ mixture.actions)
    contribution = target_contribution(noised, mixture, **settings)
    torch.testing.assert_close(contribution, weights[:, mixture.is_target].sum(1))
    if ratio in (0.0, 1.0):
        assert (contribution == ratio).all()


def test_noise_levels_may_differ_between_queries():
    mixture, noised, _ = drawn(0, 2, 5, 3, 0.2, kernel=False)
    levels = torch.tensor([0.1, 0.5, 0.5, 0.9], dtype=torch.float64)
    together = optimal_score(noised, mixture, alpha=1 - levels, sigma=levels)
    alone = [
        optimal_score(a[None], mixture, alpha=1 - float(x), sigma=float(x)) for a, x in zip(noised, levels, strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(alone))


def test_far_from_every_sample_nothing_is_nan_and_the_nearest_takes_all():
    mixture = EmpiricalMixture(torch.tensor([[0.0], [1.0]]), torch.tensor([True, False]), 1e-12)
    found = target_contribution(torch.tensor([[-1e6], [1e6]]), mixture, alpha=1.0, sigma=1e-3)
    assert found.tolist() == [1.0, 0.0]


def test_a_hundred_thousand_samples_fit_in_little_memory():
    actions = torch.randn(100_000, 14)
    mixture = EmpiricalMixture(actions, torch.arange(100_000) < 5000, 0.3)
    found = target_contribution(actions[:4], mixture, alpha=0.5, sigma=0.5)
    assert ((found >= 0) & (found <= 1)).all()


def test_one_target_and_one_source_sample_weigh_as_the_paper_says():
    noised, actions, w = torch.tensor([[0.3, -0.2]]).double(), torch.tensor([[1.0, 0.0], [0.0, 2.0]]).double(), 0.3
    mixture = EmpiricalMixture(actions, torch.tensor([True, False]), w)
    g = score_weights(noised, mixture, alpha=0.6, sigma=0.4)[0]
    r_t, r_s = ((noised - 0.6 * actions).norm(dim=1) / (0.4 * math.sqrt(2))).square().tolist()
    assert float(g[0] / g[1]) == pytest.approx(w / (1 - w) * math.exp((r_s - r_t) * 2 / 2))
    assert relative_contribution(w, source=1, target=1, advantage=(r_s - r_t) * 2 / 2) == pytest.approx(float(g[0]))


@pytest.mark.parametrize(
    ("rho", "crossing"),
    [(0.01, 0.0909), (0.05, 0.1827), (0.1, 0.2403), (0.3, 0.3539), (0.5, 0.4142), (0.7, 0.4555), (0.9, 0.4868)],
)
def test_the_scaling_curves_of_the_paper(rho, crossing):
    n_target, n_source = round(1000 * rho), 1000
    for w in (0.001, 0.016, 0.1, 0.3, 0.8):
        assert relative_contribution(w, source=n_source, target=n_target) == pytest.approx(
            (w / rho) / (w / rho + 1 - w), abs=1e-12
        )
    assert relative_contribution(crossing, source=n_source, target=n_target) == pytest.approx(1 - crossing, abs=1e-3)
    assert crossing_ratio(source=n_source, target=n_target) == pytest.approx(crossing, abs=1e-4)


@given(st.floats(0.01, 0.99), st.floats(0, 30))
def test_the_overlap_curve_of_the_paper_and_its_definition(x, distance):
    found = overlap_coefficient(distance, alpha=1 - x, sigma=x)
    assert float(found) == pytest.approx(math.exp(-((1 - x) ** 2) * distance**2 / (8 * x**2)))


def test_overlap_of_two_noised_points_by_integration_and_by_draws():
    alpha, sigma, distance = 0.7, 0.4, 1.5
    p, q = (torch.distributions.Normal(torch.tensor(mean).double(), sigma) for mean in (0.0, alpha * distance))
    grid = torch.linspace(-4, 6, 20_001, dtype=torch.float64)
    integral = torch.trapezoid(((p.log_prob(grid) + q.log_prob(grid)) / 2).exp(), grid)
    assert float(integral) == pytest.approx(float(overlap_coefficient(distance, alpha=alpha, sigma=sigma)), rel=1e-6)
    draws = torch.cat([p.sample((20_000,)), q.sample((20_000,))])
    estimate = empirical_overlap(p.log_prob(draws), q.log_prob(draws))
    assert abs(estimate - integral) < 4 * 0.5 / math.sqrt(40_000)


def test_overlap_at_no_noise_is_all_or_nothing():
    assert overlap_coefficient(torch.tensor([0.0, 1.0]), alpha=1.0, sigma=0.0).tolist() == [1.0, 0.0]


def test_domains_of_one_observation_mix_and_apart_latents_do_not():
    actions, is_target = torch.zeros(20, 1), torch.arange(20) < 10
    latents = torch.where(is_target, 0.0, 1.0).unsqueeze(1)
    query = {"alpha": 0.5, "sigma": 0.5}
    near = EmpiricalMixture(actions, is_target, 0.1)
    apart = EmpiricalMixture(actions, is_target, 0.1, latents, 0.05)
    assert target_contribution(torch.zeros(1, 1), near, **query).item() == pytest.approx(0.1)
    assert target_contribution(torch.zeros(1, 1), apart, latent=torch.zeros(1, 1), **query).item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda: EmpiricalMixture(torch.zeros(2, 3, 4), torch.ones(2).bool(), 0.5), "einops.rearrange"),
        (lambda: EmpiricalMixture(torch.zeros(2, 3), torch.ones(2).bool(), 0.5), "none of the source"),
        (lambda: EmpiricalMixture(torch.zeros(2, 3), torch.ones(2), 0.5), "torch.float32"),
        (lambda: EmpiricalMixture(torch.zeros(1, 3), torch.ones(1).bool(), 1.0, torch.zeros(1, 2)), "bandwidth=None"),
        (lambda: EmpiricalMixture(torch.full((1, 3), math.nan), torch.ones(1).bool(), 1.0), "NaN or infinite"),
        (lambda: score_weights(torch.zeros(1, 2), one(), alpha=1.0, sigma=1.0), "(queries, 3)"),
        (lambda: score_weights(torch.zeros(1, 3), one(), alpha=1.0, sigma=0.0), "above 0, got 0"),
        (lambda: score_weights(torch.zeros(1, 3), one(), alpha=1.0, sigma=1.0, latent=torch.zeros(1, 1)), "here None"),
        (lambda: relative_contribution(0.5, source=3, target=0), "at least 1"),
    ],
)
def test_what_is_no_mixture_is_said(act, says):
    with pytest.raises(ValueError) as caught:
        act()
    assert says in str(caught.value)


def one() -> EmpiricalMixture:
    return EmpiricalMixture(torch.zeros(1, 3), torch.ones(1).bool(), 1.0)
