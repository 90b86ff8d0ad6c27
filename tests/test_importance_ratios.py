"""Density ratios: definitions as slow loops, certificates of optimality, closed forms."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from densratio.RuLSIF import RuLSIF as densratio_RuLSIF
from drawn import features, seeds
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf_shrinkage

from cotrain_losses.importance import (
    KLIEP,
    KMM,
    ULSIF,
    GaussianRatio,
    LogisticRatio,
    RuLSIF,
    effective_sample_size,
    normalised_weights,
)
from cotrain_losses.importance.parametric import ledoit_wolf

shift = 0.8
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


def gaussians(n: int, m: int, d: int = 1, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """N(0, I) and N(shift e_1, I), with the true ratio at the source."""
    source, target = features(seed, n, m, d, shift=0.0)
    target[:, 0] += shift
    return source, target, torch.exp(shift * source[:, 0] - shift**2 / 2)


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


# --- parametric ---


def test_logistic_regression_is_at_its_optimum_and_like_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    source, target, _ = gaussians(70, 30, d=3)
    pooled = torch.cat([source, target])
    scaled = (pooled - pooled.mean(0)) / pooled.std(0)
    model = linear_model.LogisticRegression(C=1 / (0.01 * 100), tol=1e-12, max_iter=10_000)
    model.fit(scaled.numpy(), [0] * 70 + [1] * 30)
    expected = torch.tensor(model.decision_function(scaled.numpy())) + math.log(70 / 30)
    found = LogisticRatio(penalties=(0.01,)).fit(source, target).log(pooled)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("n", "m"), [(4000, 400), (400, 4000)])
def test_the_sizes_of_the_sides_do_not_bias_the_ratio(n, m):
    source, target, truth = gaussians(n, m)
    ratio = LogisticRatio(penalties=(1e-4,)).fit(source, target)
    error = (ratio.log(source) - truth.log()).abs().median()
    assert error < 0.2  # forgetting n_s / n_t would put it at ln 10 = 2.3


def test_the_gaussian_ratio_of_its_own_moments_is_exact():
    source, target = features(3, 200, 100, 2)
    ratio = GaussianRatio(shrinkage=1e-9).fit(source, target)
    expected = [
        torch.distributions.MultivariateNormal(x.mean(0), torch.cov(x.T)).log_prob(source) for x in (target, source)
    ]
    torch.testing.assert_close(ratio.log(source), expected[0] - expected[1], rtol=1e-5, atol=1e-5)


# --- weights ---


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=30), st.floats(0, 1), st.floats(1.01, 20))
def test_weights_have_mean_one_keep_order_and_stay_below_the_clip(logs, flatten, clip):
    logs = torch.tensor(logs, dtype=torch.float64)
    weights = normalised_weights(logs, flatten=flatten, clip=clip)
    assert float(weights.mean()) == pytest.approx(1.0)
    assert weights.max() <= clip * (1 + 1e-12)
    assert (weights[logs.argsort()].diff() >= -1e-12).all()
    torch.testing.assert_close(normalised_weights(logs, flatten=0.0), torch.ones_like(logs))


def test_clipping_leaves_the_proportions_of_what_lies_below():
    weights = normalised_weights(torch.tensor([1.0, 2.0, 3.0, 30.0], dtype=torch.float64).log(), clip=2.0)
    torch.testing.assert_close(weights, torch.tensor([1 / 3, 2 / 3, 1.0, 2.0], dtype=torch.float64))


@given(st.integers(1, 50), seeds)
def test_the_effective_sample_size_runs_from_one_to_n(n, seed):
    weights = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 1e-3
    assert 1 <= effective_sample_size(weights) <= n + 1e-9
    assert effective_sample_size(torch.ones(n)) == n
    assert effective_sample_size(torch.eye(n)[0] * 1e30) == 1


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda: ULSIF().fit(torch.zeros(5, 2), torch.zeros(5, 2)), "at least half of them"),
        (lambda: ULSIF().fit(torch.zeros(5, 2), torch.zeros(5, 3)), "features of one width"),
        (lambda: ULSIF().fit(torch.zeros(1, 2), torch.zeros(5, 2)), "at least 2 samples of each side"),
        (lambda: LogisticRatio().fit(torch.zeros(5, 2), torch.full((5, 2), math.nan)), "NaN or infinite"),
        (lambda: RuLSIF(alpha=1.0), "lies in [0, 1)"),
        (lambda: RuLSIF(penalties=(0.0,)), "above 0"),
        (lambda: LogisticRatio(degree=3).fit(*features(0, 3, 3, 1)), "degree is 1 or 2"),
        (lambda: GaussianRatio(shrinkage=0.0).fit(*features(0, 3, 3, 1)), "shrinkage lies in (0, 1]"),
        (lambda: normalised_weights(torch.tensor([-math.inf])), "the ratio is zero at every sample"),
        (lambda: normalised_weights(torch.zeros(3), flatten=2.0), "flatten is the power"),
        (lambda: normalised_weights(torch.zeros(3), clip=0.5), "clip is the largest weight"),
        (lambda: normalised_weights(torch.zeros(0)), "at least one"),
        (lambda: effective_sample_size(torch.zeros(3)), "not all zero"),
    ],
)
def test_what_has_no_ratio_is_said(act, says):
    with pytest.raises(ValueError) as caught:
        act()
    assert says in str(caught.value)


@given(seeds, st.integers(2, 40), st.integers(1, 6))
def test_the_gaussian_models_shrinkage_is_ledoit_and_wolfs(seed, n, d):
    x, _ = features(seed, n, 1, d)
    x = x * torch.arange(1.0, d + 1)
    assert ledoit_wolf(x) == pytest.approx(1.0 if d == 1 else ledoit_wolf_shrinkage(x.numpy()), rel=1e-9, abs=1e-12)


def test_shrinkage_keeps_equal_covariances_equal_in_many_dimensions():
    source, target = features(0, 400, 400, 32, shift=0.3)
    truth = (source @ torch.full((32,), 0.3, dtype=torch.float64)).exp()
    found = {s: GaussianRatio(shrinkage=s).fit(source, target).at_source for s in (None, 1e-3)}
    error = {s: float((w.log() - truth.log()).std()) for s, w in found.items()}
    assert error[None] < 0.5 * error[1e-3]


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5])
def test_coefficients_equal_densratios_on_its_centres(alpha):
    source, target = features(3, 70, 50, 4)
    np.random.seed(0)  # densratio draws its centres from the global generator
    theirs = densratio_RuLSIF(target.numpy(), source.numpy(), alpha, [1.3], [0.05], kernel_num=30, verbose=False)
    centres = torch.from_numpy(np.asarray(theirs.kernel_info.centers))
    ours = RuLSIF(alpha=alpha, centres=centres).coefficients(source, target, bandwidth=1.3, penalty=0.05)
    np.testing.assert_allclose(ours.numpy(), np.asarray(theirs.theta), rtol=1e-8, atol=1e-10)
