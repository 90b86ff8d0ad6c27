"""The benchmark of estimators: its truths are true, its rows say what is missing."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from cotrain_bench.estimators.measure import NAMES, measured, problem, quality
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal

from tests.drawn import seeds


@settings(max_examples=10)
@given(seeds, st.sampled_from(NAMES), st.integers(1, 5))
def test_the_true_ratio_is_that_of_the_densities(seed, name, dim):
    posed = problem(name, dim, 20, seed)
    direction = torch.zeros(dim, dtype=torch.float64)
    direction[:2] = 1 / math.sqrt(min(2, dim))
    assert direction.norm() == pytest.approx(1.0)
    centres, spread = {"shift": ([1], 1.0), "scale": ([0], 0.8), "mixture": ([1, -1], 0.7)}[name]
    identity = torch.eye(dim, dtype=torch.float64)
    parts = [MultivariateNormal(c * direction, spread**2 * identity).log_prob(posed.source).exp() for c in centres]
    expected = sum(parts) / len(parts) / MultivariateNormal(0 * direction, identity).log_prob(posed.source).exp()
    torch.testing.assert_close(posed.ratio, expected)


@pytest.mark.parametrize("name", NAMES)
def test_the_true_ratio_averages_to_one_and_moves_the_source_onto_the_target(name):
    posed = problem(name, 2, 20_000, 0)
    error = float(posed.ratio.std()) / math.sqrt(20_000)
    assert abs(float(posed.ratio.mean()) - 1) < 4 * error
    moved = (posed.ratio.unsqueeze(1) * posed.source.square()).mean(0)
    torch.testing.assert_close(moved, posed.target.square().mean(0), rtol=0.15, atol=0.1)


def test_the_truth_itself_has_no_error():
    truth = problem("shift", 2, 50, 0).ratio
    found = quality("uLSIF", truth, truth)
    assert found["normalised_mse"] == 0 and found["correlation"] == pytest.approx(1.0)
    assert found["mean"] == found["true_mean"] and found["ess"] == found["true_ess"]
    assert quality("uLSIF", truth * math.nan, truth) == {"finite": False}


def test_a_row_has_numbers_or_says_why_not():
    row = measured("logistic", "shift", 2, 100, 0, 1, sys.executable)
    assert row["status"] == "ok" and row["correlation"] > 0.8 and row["cpu_s"] > 0
    assert measured("KMM", "shift", 2, 10_000, 0, 1, sys.executable)["status"] == "not run above n = 2000"
    peer = measured("densratio uLSIF", "shift", 2, 20, 0, 1, sys.executable)["status"]
    assert peer in ("ok", "densratio is not installed")
