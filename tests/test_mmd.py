"""Maximum mean discrepancy, energy distance and CORAL against definitions, closed forms and other libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cotrain_losses import MMD, Rows
from cotrain_losses.terms import Pair
from cotrain_losses.terms.mmd import CORAL, EnergyDistance, median_square
from cotrain_losses.terms.mmd.fused import median
from tests.drawn import features, seeds, sizes, widths

bandwidths = st.floats(0.3, 3.0)


def mmd_by_loops(x, y, b, distinct=True):
    """Gretton et al. 2012, eq. 3 (distinct) and eq. 5, as written."""
    k = lambda u, v: math.exp(-float(((u - v) ** 2).sum()) / (2 * b**2))
    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j or not distinct)
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j or not distinct)
    pairs = (n * (n - 1), m * (m - 1)) if distinct else (n * n, m * m)
    return xx / pairs[0] + yy / pairs[1] - 2 * sum(k(u, v) for u in x for v in y) / (n * m)


@given(seeds, sizes, sizes, widths, bandwidths, st.booleans())
def test_matches_the_definition(seed, n, m, d, bandwidth, distinct):
    x, y = features(seed, n, m, d)
    term = MMD(bandwidth, scales=(1.0,), estimator="unbiased" if distinct else "biased")
    expected = torch.tensor(mmd_by_loops(x, y, bandwidth, distinct), dtype=x.dtype)
    torch.testing.assert_close(term(x, y), expected, rtol=1e-9, atol=1e-12)


@given(seeds, sizes, sizes, widths)
def test_the_default_bandwidth_is_the_median_distance_and_scales_are_averaged(seed, n, m, d):
    x, y = features(seed, n, m, d)
    pooled = torch.cat([x, y])
    apart = sorted(float((pooled[i] - pooled[j]).norm()) for i in range(n + m) for j in range(i))
    b = apart[(len(apart) - 1) // 2]
    expected = sum(mmd_by_loops(x, y, b * scale) for scale in (0.25, 0.5, 1, 2, 4)) / 5
    torch.testing.assert_close(MMD()(x, y), torch.tensor(expected, dtype=x.dtype), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("estimator", ["unbiased", "biased", "linear"])
@pytest.mark.parametrize("scales", [(1.0,), (0.25, 0.5, 1.0, 2.0, 4.0), (0.7, 1.0, 1.9)])
def test_the_gradient_is_that_of_the_value(estimator, scales):
    x, y = (side.requires_grad_() for side in features(0, 5, 4, 3))
    assert torch.autograd.gradcheck(MMD(1.2, scales=scales, estimator=estimator), (x, y), atol=1e-7)


@pytest.mark.parametrize("n, m", [(2, 2), (5, 9), (300, 257)])
@pytest.mark.parametrize("bandwidth", [None, 0.8])
def test_the_fused_pass_equals_the_graph(n, m, bandwidth):
    x, y = (side.requires_grad_() for side in features(1, n, m, 4))
    fused = MMD(bandwidth)(x, y)
    of_fused = torch.autograd.grad(fused, (x, y))
    plain = MMD(bandwidth).evaluate(Pair(Rows(x), Rows(y), eager=False))
    torch.testing.assert_close(fused, plain, rtol=1e-9, atol=1e-13)
    torch.testing.assert_close(of_fused, torch.autograd.grad(plain, (x, y)), rtol=1e-9, atol=1e-13)


def test_recovers_the_closed_form_for_gaussians():
    """E k for N(0, I) against N(t, I): (b^2 / (b^2 + 2))^(d/2) exp(-|t|^2 / 2 (b^2 + 2))."""
    d, b, t = 3, 1.3, 0.7
    level = (b**2 / (b**2 + 2)) ** (d / 2)
    expected = 2 * level * (1 - math.exp(-d * t**2 / (2 * (b**2 + 2))))
    draws = torch.stack([MMD(b, scales=(1.0,))(*features(seed, 30, 20, d, shift=t)) for seed in range(60)])
    assert abs(draws.mean() - expected) < 4 * draws.std() / 60**0.5


def test_the_unbiased_estimate_of_zero_averages_zero_and_takes_both_signs():
    draws = torch.stack([MMD(1.0)(*features(seed, 8, 5, 2, shift=0.0)) for seed in range(200)])
    assert abs(draws.mean()) < 4 * draws.std() / 200**0.5
    assert draws.min() < 0 < draws.max()


@given(seeds, st.integers(2, 40))
def test_the_median_of_a_batch_is_the_lower_median_off_the_diagonal(seed, p):
    x, _ = features(seed, p, 1, 2)
    squared = torch.cdist(x, x).square()
    above = squared[torch.triu(torch.ones_like(squared), 1) > 0]
    torch.testing.assert_close(median_square(squared), above.median())
    torch.testing.assert_close(median_square(squared, torch.ones_like(squared)), above.median())


def test_the_median_of_many_values_is_exact_even_where_they_are_ordered():
    values = np.random.default_rng(0).standard_normal(200_001).astype("float32") ** 2
    for case in (values, np.sort(values), np.round(values), np.zeros_like(values)):
        assert median(case) == np.sort(case)[100_000]


@given(seeds, sizes, sizes, st.booleans())
def test_the_joint_kernel_is_the_product_of_kernels(seed, n, m, distinct):
    x, y = features(seed, n, m, 3)
    u, v = features(seed + 1, n, m, 4)
    b, c = (float(median_square(torch.cdist(p, p).square()) ** 0.5) for p in (torch.cat([x, y]), torch.cat([u, v])))
    joint = mmd_by_loops(torch.cat([x / b, u / c], 1), torch.cat([y / b, v / c], 1), 1.0, distinct)
    term = MMD(scales=(1.0,), extras=("action",), estimator="unbiased" if distinct else "biased")
    sides = Rows(x, {"action": u.reshape(n, 2, 2)}), Rows(y, {"action": v.reshape(m, 2, 2)})
    torch.testing.assert_close(term(*sides), torch.tensor(joint, dtype=x.dtype), rtol=1e-8, atol=1e-12)


def test_the_joint_kernel_sees_what_the_marginals_do_not():
    x, _ = features(0, 60, 1, 1)
    a = torch.sign(x)
    joint = MMD(extras=("action",))(Rows(x, {"action": a}), Rows(x, {"action": -a}))
    assert joint > 0.1 > abs(MMD()(x, x))


@given(seeds, st.integers(2, 5), st.integers(2, 5))
def test_the_linear_estimator_is_the_mean_over_consecutive_pairs(seed, n, m):
    x, y = features(seed, n, m, 2)
    k = lambda u, v: math.exp(-float(((u - v) ** 2).sum()) / 2)
    h = [
        k(x[i], x[i + 1]) + k(y[i], y[i + 1]) - k(x[i], y[i + 1]) - k(x[i + 1], y[i])
        for i in range(0, min(n, m) // 2 * 2, 2)
    ]
    found = MMD(1.0, scales=(1.0,), estimator="linear")(x, y)
    torch.testing.assert_close(found, torch.tensor(sum(h) / len(h), dtype=x.dtype))


@given(seeds, st.integers(2, 6), st.integers(2, 6))
def test_the_linear_estimators_bandwidth_is_the_median_distance_of_the_pairs_it_takes(seed, n, m):
    x, y = features(seed, n, m, 2)
    steps = range(0, min(n, m) // 2 * 2, 2)
    taken = [pair for i in steps for pair in ((x[i], x[i + 1]), (y[i], y[i + 1]), (x[i], y[i + 1]), (x[i + 1], y[i]))]
    apart = sorted(float((u - v).norm()) for u, v in taken)
    given = MMD(apart[(len(apart) - 1) // 2], scales=(0.5, 1.0), estimator="linear")
    torch.testing.assert_close(MMD(scales=(0.5, 1.0), estimator="linear")(x, y), given(x, y))


def test_the_linear_estimator_of_equal_rows_is_zero_not_nothing_over_nothing():
    assert MMD(estimator="linear")(torch.ones(4, 2), torch.ones(4, 2)) == 0.0


@given(seeds, sizes, sizes, widths)
def test_the_energy_distance_matches_its_definition_and_geomloss(seed, n, m, d):
    import geomloss

    x, y = features(seed, n, m, d)
    mean = lambda p, q: sum(float((u - v).norm()) for u in p for v in q) / (len(p) * len(q))
    expected = 2 * mean(x, y) - mean(x, x) - mean(y, y)
    torch.testing.assert_close(EnergyDistance()(x, y), torch.tensor(expected, dtype=x.dtype), rtol=1e-9, atol=1e-9)
    half = geomloss.SamplesLoss("energy")(x, y)
    torch.testing.assert_close(EnergyDistance()(x, y), 2 * half, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("term", [EnergyDistance(), CORAL(), CORAL(mean=True)])
@pytest.mark.parametrize("n, m, d", [(4, 6, 2), (3, 2, 9)])
def test_the_gradients_of_energy_and_coral_are_those_of_their_values(term, n, m, d):
    x, y = (side.requires_grad_() for side in features(2, n, m, d))
    assert torch.autograd.gradcheck(term, (x, y), atol=1e-7)


@given(seeds, sizes, sizes, st.integers(2, 30))
def test_coral_is_the_distance_of_numpys_covariances(seed, n, m, d):
    x, y = features(seed, n, m, d)
    apart = np.cov(x.cpu().numpy().T) - np.cov(y.cpu().numpy().T)
    expected = torch.tensor((apart**2).sum() / (4 * d**2))
    torch.testing.assert_close(CORAL()(x, y), expected, rtol=1e-9, atol=1e-12)
    means = (x.mean(0) - y.mean(0)).square().mean()
    torch.testing.assert_close(CORAL(mean=True)(x, y), expected + means, rtol=1e-9, atol=1e-12)


@given(seeds, st.integers(2, 5), st.integers(2, 5), st.integers(2, 5), st.integers(2, 5), st.booleans())
def test_coral_within_groups_is_their_mean_by_their_shares(seed, n0, n1, m0, m1, mean):
    x, y = features(seed, n0 + n1, m0 + m1, 3)
    groups = torch.tensor([0] * n0 + [1] * n1), torch.tensor([0] * m0 + [1] * m1)
    share, term = (n0 / (n0 + n1) + m0 / (m0 + m1)) / 2, CORAL(mean=mean)
    expected = share * term(x[:n0], y[:m0]) + (1 - share) * term(x[n0:], y[m0:])
    found = term(Rows(x, group=groups[0]), Rows(y, group=groups[1]))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: MMD(scales=()), "scales multiply the bandwidth"),
        (lambda: MMD(estimator="best"), 'estimator is "unbiased"'),
        (lambda: MMD(extras=("a",))(torch.zeros(2, 1), torch.zeros(2, 1)), r"reads rows.extras\['a'\]"),
        (lambda: MMD(estimator="linear")(*[Rows(torch.zeros(2, 1), group=torch.zeros(2).long())] * 2), "linear"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@given(seeds, sizes, sizes, widths, st.sampled_from(["unbiased", "biased", "linear"]))
def test_the_mean_bandwidth_is_the_root_mean_square_distance_of_distinct_rows(seed, n, m, d, estimator):
    x, y = features(seed, n, m, d)
    pooled = torch.cat([x, y])
    squares = [float((u - v).square().sum()) for i, u in enumerate(pooled) for j, v in enumerate(pooled) if i != j]
    given = MMD((sum(squares) / len(squares)) ** 0.5, estimator=estimator)
    torch.testing.assert_close(MMD("mean", estimator=estimator)(x, y), given(x, y), rtol=1e-9, atol=1e-12)
    grouped = [Rows(side, group=torch.zeros(len(side), dtype=torch.long)) for side in (x, y)]
    if estimator != "linear":  # the path that is not fused
        torch.testing.assert_close(MMD("mean", estimator=estimator)(*grouped), given(x, y), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bandwidth", [0.0, -1.0, float("nan"), float("inf"), "median"])
def test_a_bandwidth_that_is_no_length_is_refused(bandwidth):
    with pytest.raises(ValueError, match='bandwidth is a distance between features > 0, None or "mean"'):
        MMD(bandwidth)
