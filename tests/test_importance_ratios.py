"""Density ratios: each estimator recovers a known one, and its certificate holds."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from densratio.RuLSIF import RuLSIF as densratio_RuLSIF
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain_losses.importance import (
    KLIEP,
    KMM,
    ULSIF,
    GaussianRatio,
    LogisticRatio,
    RuLSIF,
    normalised_weights,
)
from tests.densities import gaussians
from tests.drawn import features, seeds

estimators = [
    ULSIF(centres=30),
    RuLSIF(centres=30),
    KLIEP(centres=30),
    KMM(),
    LogisticRatio(),
    LogisticRatio(degree=2),
    GaussianRatio(),
]
names = [f"{type(e).__name__}{getattr(e, 'degree', '')}" for e in estimators]


def kernel(x: torch.Tensor, c: torch.Tensor, bandwidth: float) -> torch.Tensor:
    rows = [[math.exp(-float((u - v).square().sum()) / (2 * bandwidth**2)) for v in c] for u in x]
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("estimator", estimators, ids=names)
def test_every_estimator_recovers_the_ratio_of_two_gaussians_the_right_way_round(estimator):
    source, target, truth = gaussians(400, 300)
    ratio = estimator.fit(source, target)
    estimate = ratio.at_source
    expected = truth / (0.1 * truth + 0.9) if type(estimator) is RuLSIF else truth
    if not isinstance(estimator, KMM):  # whose weights match kernel means and are spiky one by one
        assert torch.corrcoef(torch.stack([estimate, expected]))[0, 1] > 0.75
    assert float(estimate.mean()) == pytest.approx(float(expected.mean()), abs=0.15)
    moved = float((estimate * source[:, 0]).sum() / estimate.sum())
    assert moved == pytest.approx(float((expected * source[:, 0]).sum() / expected.sum()), abs=0.2)
    assert (estimate >= 0).all()


@pytest.mark.parametrize("estimator", [e for e in estimators if not isinstance(e, KMM)])
def test_the_ratio_is_a_function_that_agrees_with_its_values_at_the_source(estimator):
    source, target, _ = gaussians(80, 50, d=2)
    ratio = pickle.loads(pickle.dumps(estimator.fit(source, target)))
    torch.testing.assert_close(ratio(source), ratio.at_source)
    torch.testing.assert_close(ratio.log(target), ratio(target).log())


@pytest.mark.parametrize("estimator", estimators, ids=names)
def test_float32_samples_give_finite_weights_of_mean_one(estimator):
    source, target, _ = gaussians(90, 40, d=3)
    ratio = estimator.fit(100 * source.float(), 100 * target.float())
    weights = normalised_weights(ratio.at_source.log())
    assert weights.isfinite().all() and float(weights.mean()) == pytest.approx(1.0)
    if not isinstance(estimator, KMM):
        assert ratio(source.float()).dtype == ratio.weights(source.float() * 100).dtype == torch.float32


def test_domains_far_apart_overflow_nothing():
    source, target, _ = gaussians(50, 50)
    ratio = GaussianRatio().fit(source.float(), target.float() + 1000)
    weights = ratio.weights(source.float())
    assert weights.isfinite().all() and float(weights.mean()) == pytest.approx(1.0, abs=1e-5)


# --- least squares ---


@given(
    seeds, st.integers(3, 8), st.integers(3, 8), st.sampled_from([0.0, 0.1, 0.5]), st.floats(0.5, 2), st.floats(0.01, 1)
)
def test_coefficients_solve_the_definition_written_out(seed, n, m, alpha, bandwidth, penalty):
    source, target = features(seed, n, m, 2)
    phi_s, phi_t = kernel(source, target, bandwidth), kernel(target, target, bandwidth)
    gram = sum(alpha * torch.outer(p, p) / m for p in phi_t) + sum((1 - alpha) * torch.outer(p, p) / n for p in phi_s)
    theta = (gram + penalty * torch.eye(m, dtype=torch.float64)).inverse() @ phi_t.mean(0)
    found = RuLSIF(alpha, centres=target).coefficients(source, target, bandwidth=bandwidth, penalty=penalty)
    torch.testing.assert_close(found, theta.clamp_min(0), rtol=1e-8, atol=1e-10)


def scores_by_leaving_out(source, target, centres, alpha, bandwidth, penalty):
    """J with each pair left out by solving anew, as Kanamori et al. 2009, section 5.2."""
    total, pairs = 0.0, min(len(source), len(target))
    for i in range(pairs):
        rest_s, rest_t = (torch.cat([x[:i], x[i + 1 :]]) for x in (source, target))
        fitted = RuLSIF(alpha, centres=centres)
        theta = fitted.coefficients(rest_s, rest_t, bandwidth=bandwidth, penalty=penalty)
        r_s, r_t = (kernel(x[i : i + 1], centres, bandwidth)[0] @ theta for x in (source, target))
        total += float(alpha / 2 * r_t**2 + (1 - alpha) / 2 * r_s**2 - r_t)
    return total / pairs


@settings(max_examples=10)
@given(seeds, st.integers(4, 9), st.integers(4, 9), st.sampled_from([0.0, 0.3]))
def test_the_leave_one_out_score_is_that_of_solving_without_each_pair(seed, n, m, alpha):
    n = m if alpha else n  # with alpha > 0 the closed form is exact for equal sizes
    source, target = features(seed, n, m, 2)
    settings = {"bandwidths": [0.7, 1.5], "penalties": [0.05, 0.4], "centres": target}
    found = RuLSIF(alpha, **settings).fit(source, target).chosen
    scored = {
        (b, p): scores_by_leaving_out(source, target, target, alpha, b, p)
        for b in settings["bandwidths"]
        for p in settings["penalties"]
    }
    assert found["score"] == pytest.approx(min(scored.values()), rel=1e-8)
    assert scored[found["bandwidth"], found["penalty"]] == min(scored.values())


@given(seeds)
def test_a_relative_ratio_stays_near_its_bound_where_the_plain_one_explodes(seed):
    source, target = features(seed, 40, 20, 1, shift=4.0)
    assert RuLSIF(0.5, centres=10).fit(source, target)(target).max() < 3  # 1 / alpha, and what the fit overshoots
    assert ULSIF(centres=10).fit(source, target)(target).max() > 5


# --- KLIEP and KMM: certificates ---


@settings(max_examples=10)
@given(seeds, st.integers(5, 30), st.integers(5, 20))
def test_kliep_meets_its_constraints_and_no_direction_improves_it(seed, n, m):
    source, target = features(seed, n, m, 2)
    ratio = KLIEP(bandwidths=[1.0], gap=1e-4, iterations=100_000).fit(source, target)
    assert float(ratio.at_source.mean()) == pytest.approx(1.0, abs=1e-9)
    centre_means = kernel(source, target, 1.0).mean(0)
    gains = (kernel(target, target, 1.0) / centre_means / ratio(target).unsqueeze(1)).mean(0)  # towards each vertex
    assert gains.max() <= 1 + 1.1e-4


@settings(max_examples=8)
@given(seeds, st.integers(4, 40), st.integers(3, 20), st.floats(1.5, 20), st.floats(0.01, 0.5))
def test_kmm_satisfies_its_kkt_conditions(seed, n, m, bound, slack):
    source, target = features(seed, n, m, 2)
    found = KMM(bandwidth=1.0, bound=bound, slack=slack).fit(source, target)
    w = found.at_source
    assert (w >= 0).all() and (w <= bound).all()
    assert n * (1 - slack) - 1e-6 <= w.sum() <= n * (1 + slack) + 1e-6
    gradient = kernel(source, source, 1.0) @ w / n - kernel(source, target, 1.0).mean(1)
    multipliers = gradient[(w > 1e-6) & (w < bound - 1e-6)]  # all equal: the multiplier of the sum
    level = float(multipliers.mean()) if len(multipliers) else float(gradient.median())
    if len(multipliers):
        assert (multipliers - level).abs().max() < 1e-6
    assert (gradient[w <= 1e-6] >= level - 1e-6).all() or not len(multipliers)
    assert (gradient[w >= bound - 1e-6] <= level + 1e-6).all() or not len(multipliers)
    if abs(float(w.sum()) - n) < n * slack - 1e-4 and len(multipliers):
        assert abs(level) < 1e-6  # the slab does not bind: no multiplier
    assert found.chosen["residual"] <= 1e-7


def test_kmm_gives_no_ratio_away_from_its_samples():
    source, target, _ = gaussians(5, 4)
    with pytest.raises(ValueError, match="gives no ratio elsewhere"):
        KMM().fit(source, target)(target)
    with pytest.raises(ValueError, match="at most 3 source samples"):
        KMM(largest=3).fit(source, target)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5])
def test_coefficients_equal_densratios_on_its_centres(alpha):
    source, target = features(3, 70, 50, 4)
    np.random.seed(0)  # densratio draws its centres from the global generator
    theirs = densratio_RuLSIF(target.numpy(), source.numpy(), alpha, [1.3], [0.05], kernel_num=30, verbose=False)
    centres = torch.from_numpy(np.asarray(theirs.kernel_info.centers))
    ours = RuLSIF(alpha=alpha, centres=centres).coefficients(source, target, bandwidth=1.3, penalty=0.05)
    np.testing.assert_allclose(ours.numpy(), np.asarray(theirs.theta), rtol=1e-8, atol=1e-10)
