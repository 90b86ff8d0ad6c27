"""Shares of a batch in whole rows, the weights that restore a ratio, and the range of ratios to try."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cotrain_losses.mixing import MixedBatchSampler, crossing_ratio, natural_ratio, ratio_range, ratio_weights
from cotrain_losses.mixing.rounding import ONE, Counts, floor_sum
from tests.drawn import seeds
from tests.masks import batch_sizes, mask, ratios, three

# --- rounding ---


@given(st.integers(0, 60), st.integers(1, 50), st.integers(0, 200), st.integers(0, 200))
def test_floor_sum_is_the_sum_of_floors(n, m, a, b):
    assert floor_sum(n, m, a, b) == sum((a * i + b) // m for i in range(n))


@given(three, batch_sizes, st.integers(0, ONE - 1), st.integers(0, 40))
def test_rows_before_a_batch_are_the_counts_of_all_earlier_batches_summed(shares, rows, phase, number):
    counts = Counts(shares, rows, phase)
    expected = np.sum([counts.of(k) for k in range(number)], axis=0) if number else np.zeros(3)
    assert counts.before(number) == expected.tolist()


@given(three, batch_sizes, st.integers(0, ONE - 1))
def test_every_batch_holds_the_floor_or_the_ceiling_and_sums_to_its_size(shares, rows, phase):
    counts = Counts(shares, rows, phase)
    for number in (0, 1, 2, 10**9):
        found = counts.of(number)
        assert sum(found) == rows
        assert all(
            math.floor(rows * s - 1e-9) <= c <= math.ceil(rows * s + 1e-9) for c, s in zip(found, shares, strict=True)
        )


@given(three, batch_sizes)
def test_the_expected_share_is_exact(shares, rows):
    phases = np.linspace(0, ONE, 1000, endpoint=False).astype(np.int64)  # midpoint rule over U: error below 2 / 1000
    mean = np.mean([Counts(shares, rows, int(phase)).of(3) for phase in phases], axis=0)
    np.testing.assert_allclose(mean, rows * np.array(shares), atol=2e-3)


@given(three, batch_sizes, st.integers(0, ONE - 1), st.integers(1, 3000))
def test_counts_summed_over_batches_stay_near_their_expectation(shares, rows, phase, number):
    deviation = np.abs(np.array(Counts(shares, rows, phase).before(number)) - number * rows * np.array(shares))
    assert deviation.max() < 2 + math.log2(number)  # the golden angle's discrepancy; independent draws would give sqrt


@given(ratios, batch_sizes, st.integers(0, ONE - 1), st.integers(0, 10**6))
def test_with_two_domains_every_prefix_is_within_one_row(ratio, rows, phase, number):
    _, drawn = Counts([1 - ratio, ratio], rows, phase).before(number)
    assert abs(drawn - number * rows * ratio) < 1 + 1e-3


# --- weights and ratios ---


@given(st.floats(0, 1), st.floats(0.05, 0.95), seeds)
def test_weights_restore_the_ratio_of_any_share_exactly_on_full_batches(ratio, share, seed):
    generator = torch.Generator().manual_seed(seed)
    target, source = (torch.rand(n, generator=generator, dtype=torch.float64) for n in (3, 11))
    weights = ratio_weights(torch.tensor([True, False]), ratio=ratio, share=share).double()
    drawn = share * weights[0] * target.mean() + (1 - share) * weights[1] * source.mean()
    torch.testing.assert_close(drawn, ratio * target.mean() + (1 - ratio) * source.mean(), rtol=1e-6, atol=1e-6)


def test_sampling_weighing_and_any_mix_of_both_have_the_same_expected_gradient():
    is_target, ratio, draws = mask(8, 120), 0.1, 400
    slope = torch.randn(128, dtype=torch.float64)  # each frame's own gradient
    exact = ratio * slope[is_target].mean() + (1 - ratio) * slope[~is_target].mean()
    for share in (ratio, natural_ratio(source=120, target=8), 0.5):
        sampler = MixedBatchSampler(is_target, 16, ratio, share=share)
        batches = [sampler.batch(k * 7) for k in range(draws)]
        means = torch.stack([(sampler.weights(is_target[b]).double() * slope[b]).mean() for b in batches])
        assert abs(means.mean() - exact) < 4 * means.std() / math.sqrt(draws)


def test_weights_follow_the_labels_and_what_never_counts_may_stay_undrawn():
    shares = {"a": 0.4, "b": 0.35, "c": 0.25}
    found = ratio_weights([2, 0, 2], ratio={"a": 0.2, "b": 0.3, "c": 0.5}, share=shares, domains=("a", "b", "c"))
    torch.testing.assert_close(found, torch.tensor([2.0, 0.5, 2.0]))
    torch.testing.assert_close(ratio_weights([True, False], ratio=0.0, share=0.0), torch.tensor([0.0, 1.0]))


def test_the_paper_figures_of_the_guideline():
    assert natural_ratio(source=3000, target=50) == pytest.approx(0.0164, abs=5e-5)
    assert ratio_range(source=3000, target=50) == pytest.approx((0.0164, 0.129), abs=5e-4)
    published = {0.01: 0.0909, 0.05: 0.1827, 0.1: 0.2403, 0.3: 0.3539, 0.5: 0.4142, 0.7: 0.4555, 0.9: 0.4868}
    for size_ratio, crossing in published.items():
        assert crossing_ratio(source=1000, target=round(1000 * size_ratio)) == pytest.approx(crossing, abs=5e-5)


@given(st.integers(1, 500), st.integers(1, 5000), st.floats(0.5, 0.95))
def test_the_range_lies_between_the_natural_ratio_and_a_half(n, m, q):
    lower, upper = ratio_range(source=m, target=n, contribution=q)
    assert lower <= upper + 1e-12 <= 0.5 + 1e-12
    if m <= 5 * n and upper < 0.5:  # the wanted contribution, by its definition: g_t / g_s = q / (1 - q)
        assert upper / (1 - upper) * m / n == pytest.approx(q / (1 - q))


@given(st.integers(1, 500), st.integers(1, 5000))
def test_at_the_crossing_the_target_contributes_what_the_source_is_given(n, m):
    w, rho = crossing_ratio(source=m, target=n), n / m
    assert (w / rho) / (w / rho + 1 - w) == pytest.approx(1 - w)
