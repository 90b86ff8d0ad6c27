"""Measured strengths: what a term may add, as a share of what the policy does."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cotrain_losses import Rows
from cotrain_losses.strength import relative
from tests.drawn import features, seeds, sizes, widths
from tests.slopes import Slope, slopes, stepped
from tests.training import Gap


def average(values: list[float], decay: float) -> float:
    """Kingma & Ba 2015, written out."""
    weights = [decay ** (len(values) - 1 - k) for k in range(len(values))]
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)


@given(seeds, sizes, sizes, widths, st.floats(0.01, 2.0), st.floats(0.05, 3.0), st.floats(0.0, 0.95))
def test_the_weight_is_the_cap_or_raw_whichever_is_smaller(seed, n, m, d, fraction, raw, decay):
    policy, term, z = slopes(seed % 10**6 + 1, n, m, d, 4)
    slope = Slope(term[0][:n], term[0][n:])
    regularizer = relative(fraction, raw=raw, decay=decay, standardise=False) * slope
    for k in range(4):
        slope.a, slope.b = term[k][:n], term[k][n:]
        weight = 0.0
        if k:
            lengths = [average([float(g[j].norm()) for j in range(k)], decay) for g in (policy, term)]
            weight = min(raw, fraction * lengths[0] / lengths[1])
        received = stepped(regularizer, z, policy[k], n, step=k)
        assert regularizer.strengths(k)["slope"] == pytest.approx(weight, rel=1e-9)
        torch.testing.assert_close(received, policy[k] + weight * term[k], rtol=1e-9, atol=1e-12)


@given(seeds, sizes, sizes, widths, st.floats(0.01, 2.0))
def test_a_negated_cap_opposes_with_the_same_length(seed, n, m, d, fraction):
    policy, term, z = slopes(seed % 10**6 + 1, n, m, d, 1)
    follow, oppose = (w * Slope(term[0][:n], term[0][n:]) for w in _both(fraction))
    for regularizer in (follow, oppose):
        stepped(regularizer, z, policy[0], n, step=0)
    received = [stepped(r, z, policy[0], n, step=1) - policy[0] for r in (follow, oppose)]
    torch.testing.assert_close(received[1], -received[0])
    torch.testing.assert_close(received[0].norm(), fraction * policy[0].norm(), rtol=1e-9, atol=0)


def _both(fraction: float) -> tuple[Any, Any]:
    how = {"raw": math.inf, "standardise": False}
    return relative(fraction, **how), -relative(fraction, **how)


class Balancer:
    """Défossez et al. 2023, equation 5, as written: sum_i R w_i / sum(w) g_i / <|g_i|>."""

    def __init__(self, weights: dict[str, float], total: float, decay: float) -> None:
        self.weights, self.total, self.decay = weights, total, decay
        self.seen: dict[str, list[float]] = {name: [] for name in weights}

    def see(self, gradients: dict[str, Tensor]) -> None:
        for name, g in gradients.items():
            self.seen[name].append(float(g.norm()))

    def __call__(self, gradients: dict[str, Tensor]) -> Tensor:
        share = {name: self.total * w / sum(self.weights.values()) for name, w in self.weights.items()}
        parts = [share[name] * g / average(self.seen[name], self.decay) for name, g in gradients.items()]
        return torch.stack(parts).sum(0)


@given(seeds, sizes, sizes, widths, st.floats(0.05, 2.0), st.floats(0.5, 4.0), st.booleans())
def test_normalised_it_is_encodecs_balancer_up_to_one_factor(seed, n, m, d, fraction, total, constant):
    decay = 0.8
    policy, term, z = slopes(seed % 10**6 + 1, n, m, d, 5)
    if constant:  # their averages hold the step they are used in, ours end one step before
        policy, term = [policy[0]] * 5, [term[0]] * 5
    slope = Slope(term[0][:n], term[0][n:])
    regularizer = relative(fraction, raw=math.inf, decay=decay, standardise=False) * slope
    balancer = Balancer({"policy": 1.0, "term": fraction}, total, decay)
    for k in range(5):
        slope.a, slope.b = term[k][:n], term[k][n:]
        received = stepped(regularizer, z, policy[k], n, step=k)
        gradients = {"policy": policy[k], "term": term[k]}
        if constant:
            balancer.see(gradients)
        if k:
            factor = total / (1 + fraction) / average([float(g.norm()) for g in policy[:k]], decay)
            torch.testing.assert_close(factor * received, balancer(gradients), rtol=1e-9, atol=1e-12)
        if not constant:
            balancer.see(gradients)


@given(seeds, st.integers(1, 4), st.lists(st.floats(1e-3, 1e6), min_size=3, max_size=3))
def test_loss_scales_change_nothing(seed, n, scales):
    policy, term, z = slopes(seed % 10**6 + 1, n, 2, 3, 3)
    plain, scaled = (relative(0.3, standardise=False) * Slope(term[0][:n], term[0][n:]) for _ in range(2))
    for k, scale in enumerate(scales):
        ours, theirs = stepped(scaled, z, policy[k], n, k, scale), stepped(plain, z, policy[k], n, k)
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_a_step_whose_gradient_is_not_finite_is_left_out() -> None:
    policy, term, z = slopes(0, 3, 2, 4, 1)
    regularizer = relative(0.3, standardise=False) * Slope(term[0][:3], term[0][3:])
    stepped(regularizer, z, policy[0], 3, 0)
    expected = stepped(regularizer, z, policy[0], 3, 1)
    stepped(regularizer, z, policy[0] * math.inf, 3, 2)
    stepped(regularizer, z, policy[0] * math.nan, 3, 3)
    torch.testing.assert_close(stepped(regularizer, z, policy[0], 3, 4), expected)


@given(seeds, st.sampled_from([2, 3, 6]))
def test_parts_of_an_accumulated_batch_share_the_whole_batchs_weight(seed, parts):
    policy, term, z = slopes(seed % 10**6 + 1, 6, 6, 3, 3)
    slope = Slope(term[0][:6], term[0][6:])
    whole, split = (relative(0.3, standardise=False) * slope for _ in range(2))
    for k in range(3):
        slope.a, slope.b = term[k][:6], term[k][6:]
        stepped(whole, z, policy[k], 6, k)
        weights = set()
        for rows in torch.arange(6).chunk(parts):
            both = torch.cat([rows, 6 + rows])
            slope.a, slope.b = parts * term[k][rows], parts * term[k][6 + rows]  # a mean over fewer rows
            stepped(split, z[both], parts * policy[k][both], len(rows), k, 1 / parts)
            weights.add(split.strengths(k)["slope"])
        assert len(weights) == 1 and weights.pop() == pytest.approx(whole.strengths(k)["slope"], rel=1e-9)


def test_a_step_with_too_few_rows_says_nothing_about_the_terms_length() -> None:
    policy, term, z = slopes(0, 3, 2, 4, 1)
    slope = Slope(term[0][:3], term[0][3:])
    regularizer = relative(0.3, standardise=False) * slope
    for step in range(3):
        stepped(regularizer, z, policy[0], 3, step)
    expected = regularizer.strengths()
    slope.min_samples = 3
    torch.testing.assert_close(stepped(regularizer, z, policy[0], 3, 3), policy[0])
    slope.min_samples = 1
    stepped(regularizer, z, policy[0], 3, 4)
    assert regularizer.strengths() == pytest.approx(expected, rel=1e-12)


def test_evaluations_move_nothing() -> None:
    policy, term, z = slopes(0, 3, 2, 4, 2)
    plain, watched = (relative(0.3) * Slope(term[0][:3], term[0][3:]) for _ in range(2))
    for k in range(2):
        stepped(plain, z, policy[k], 3, k)
        stepped(watched, z, policy[k], 3, k)
        with torch.no_grad():
            watched(7 * z[:3], z[3:] - 1, step=k)
        watched.eval()
        watched((7 * z[:3]).requires_grad_(), z[3:] - 1, step=k + 1).backward()
        watched.train()
    torch.testing.assert_close(stepped(plain, z, policy[0], 3, 2), stepped(watched, z, policy[0], 3, 2), rtol=0, atol=0)


@given(seeds, sizes, sizes, st.floats(1e-3, 1e3), st.floats(-50, 50))
def test_standardised_terms_are_blind_to_the_scale_and_place_of_the_features(seed, n, m, scale, shift):
    z = torch.cat(features(seed, n, m, 3, shift=1.0))
    pull = torch.cat(features(seed + 1, n, m, 3))
    values, lengths = [], []
    for factor, place in ((1.0, 0.0), (scale, shift)):
        regularizer = relative(0.2, raw=math.inf) * Gap()
        moved = factor * z + place
        stepped(regularizer, moved, pull / factor, n, 0)  # the same policy reads features in other units
        received = stepped(regularizer, moved, pull / factor, n, 1) - pull / factor
        values.append(regularizer(moved[:n], moved[n:]) / regularizer.strengths()["gap"])
        lengths.append(factor * received)
    torch.testing.assert_close(values[1], values[0], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(lengths[1], lengths[0], rtol=1e-6, atol=1e-9)


def test_a_coordinate_that_hardly_varies_is_not_blown_up_and_constant_features_stay_finite() -> None:
    source, target = features(0, 40, 40, 3, shift=0.0)
    tiny = torch.tensor([1.0, 1.0, 1e-9], dtype=torch.float64)
    regularizer = relative(1.0) * Gap()
    regularizer(source * tiny, target * tiny, step=0)
    seen, _ = next(iter(regularizer.measured_strengths())).transform(Rows(source * tiny), Rows(target * tiny))
    assert seen.features[:, 2].abs().max() < 1e-6 and 0.5 < seen.features[:, 0].std() < 1.5
    same = torch.ones(4, 3, dtype=torch.float64)
    assert (relative(1.0) * Gap())(same, same, step=0).item() == 0.0
