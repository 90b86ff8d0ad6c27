"""Weights from density ratios: their mean, clip and effective sample size; parametric ratios."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf_shrinkage

from cotrain_losses.importance import (
    ULSIF,
    GaussianRatio,
    LogisticRatio,
    RuLSIF,
    effective_sample_size,
    normalised_weights,
)
from cotrain_losses.importance.parametric import ledoit_wolf
from tests.densities import gaussians
from tests.drawn import features, seeds

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
