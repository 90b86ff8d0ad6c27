"""Entropic plans against their objective, closed forms, finite differences and POT."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain_losses import OptimalTransport, Sinkhorn
from cotrain_losses._core.distances import squared_distances
from cotrain_losses.terms.transport import Block
from tests.drawn import features, seeds, sizes, widths
from tests.plans import objective, prices, regs, squares


@given(seeds, sizes, sizes, widths, regs, prices, st.sampled_from(["product", "ones"]))
def test_the_plan_has_no_better_neighbour_and_its_value_is_the_objective(seed, n, m, d, reg, price, reference):
    x, y = features(seed, n, m, d)
    term = OptimalTransport(reg, unbalanced=price, reference=reference, tolerance=1e-12)
    found = term.coupling(x, y)
    best = objective(found.plan, squares(x, y), reg, price, reference)
    torch.testing.assert_close(found.value.item(), best, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(term(x, y), found.value)
    generator = torch.Generator().manual_seed(seed)
    change = torch.randn(n, m, generator=generator, dtype=x.dtype)
    rows, columns = (price is None or (isinstance(price, tuple) and price[k] is None) for k in (0, 1))
    change = change - change.mean(1, keepdim=True) * rows  # keeps what has to be kept
    change = change - change.mean(0, keepdim=True) * columns
    for step in (1e-3, -1e-3):
        near = found.plan + step * found.plan.min() * change / change.abs().max()
        assert objective(near, squares(x, y), reg, price, reference) >= best - 1e-12 * (1 + abs(best))


@settings(max_examples=15)
@given(seeds, sizes, sizes, regs, prices)
def test_the_gradient_is_that_of_the_value(seed, n, m, reg, price):
    x, y = (side.requires_grad_() for side in features(seed, n, m, 2))
    term = OptimalTransport(reg, unbalanced=price, tolerance=1e-13)
    assert torch.autograd.gradcheck(term, (x, y), atol=1e-6)


@settings(max_examples=15)
@given(seeds, sizes, sizes, st.floats(0.5, 3.0))
def test_balanced_plans_agree_with_pots(seed, n, m, reg):
    import ot

    x, y = features(seed, n, m, 3)
    theirs = ot.solve_sample(x, y, reg=reg, tol=1e-12, max_iter=50_000)
    ours = OptimalTransport(reg, tolerance=1e-11).coupling(x, y)
    torch.testing.assert_close(ours.plan, theirs.plan, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(ours.value, theirs.value, rtol=1e-7, atol=1e-9)


@pytest.mark.filterwarnings("ignore:If reg_type = entropy")
@settings(max_examples=15)
@given(seeds, sizes, sizes, st.sampled_from(["product", "ones"]))
def test_unbalanced_plans_agree_with_pots(seed, n, m, reference):
    import ot

    x, y = features(seed, n, m, 3)
    options = {"reg_type": "kl"} if reference == "product" else {"reg_type": "entropy", "c": np.ones((n, m))}
    a, b = np.full(n, 1 / n), np.full(m, 1 / m)
    theirs = ot.unbalanced.sinkhorn_knopp_unbalanced(
        a, b, squares(x, y).numpy(force=True), 0.5, 2.0, stopThr=1e-13, numItermax=20_000, **options
    )
    ours = OptimalTransport(0.5, unbalanced=2.0, reference=reference, tolerance=1e-12).coupling(x, y)
    np.testing.assert_allclose(ours.plan.numpy(force=True), theirs, rtol=1e-6, atol=1e-9)


def test_one_row_on_one_side_has_a_closed_form():
    """P = a b': the cost is the mean, and the KL of the product reference is zero."""
    x, y = features(0, 1, 7, 3)
    torch.testing.assert_close(OptimalTransport(0.3)(x, y), squares(x, y).mean())
    expected = 0.5 * squares(x, y).mean() - 0.5 * OptimalTransport(0.18, tolerance=1e-12, cost=Block(weight=0.5))(y, y)
    torch.testing.assert_close(Sinkhorn(0.18**0.5, tolerance=1e-12)(x, y), expected, rtol=1e-7, atol=1e-9)


def test_two_single_rows_unbalanced_have_a_closed_form():
    """P = exp(-C / (eps + 2 rho)): what Cheng et al.'s trimming is."""
    x, y = torch.zeros(1, 1).double(), torch.full((1, 1), 2.0).double()
    found = OptimalTransport(0.1, unbalanced=0.5, tolerance=1e-13).coupling(x, y)
    torch.testing.assert_close(found.plan.item(), math.exp(-4 / 1.1), rtol=1e-9, atol=0)


@pytest.mark.parametrize("ratio", [1e1, 1e2, 1e3, 1e4, 1e5, 9e5])
@pytest.mark.parametrize("price", [None, 30.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_plans_are_right_however_large_the_cost_is_against_the_entropy(ratio, price, dtype):
    x, y = (10 * side for side in features(4, 24, 19, 3))
    x, y = x.to(dtype), y.to(dtype)
    reg = squares(x, y).max().item() / ratio
    found = OptimalTransport(reg, unbalanced=price).coupling(x, y)
    exact = OptimalTransport(reg, unbalanced=price, tolerance=1e-11).coupling(x.double(), y.double())
    assert found.marginal_error <= 1e-4 and exact.marginal_error <= 1e-11
    assert (found.plan - exact.plan).abs().sum() < 1e-3 * exact.plan.sum()
    torch.testing.assert_close(found.value.item(), exact.value.item(), rtol=1e-4, atol=0)


@settings(max_examples=100)
@given(
    seeds,
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([2, 64]),
    st.sampled_from([0.02, 0.05, 0.2, 1.0]),
    st.floats(0.1, 5.0),
)
def test_float32_stays_within_its_range_however_sharp_the_problem(seed, n, m, d, blur, scale):
    """One row a side, where an exponent is large and its spread none, included; warnings are errors here."""
    x, y = (scale * side.float() for side in features(seed, n, m, d))
    for term in (OptimalTransport(blur**2), OptimalTransport(blur**2, unbalanced=1.0)):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "OptimalTransport leaves nearly all")
            found, expected = term.coupling(x, y), term.coupling(x.double(), y.double())
        torch.testing.assert_close(found.plan.double(), expected.plan, rtol=0, atol=2e-3 / max(n, m))
        torch.testing.assert_close(found.value.double(), expected.value, rtol=1e-3, atol=1e-4 * scale**2)


@pytest.mark.parametrize("far", [0.0, 2.0])
def test_the_start_from_the_lengths_of_the_rows_is_the_start_from_the_cost(far):
    x, y = features(1, 9, 7, 4)
    near = OptimalTransport(2.0)
    dense = OptimalTransport(2.0, cost=lambda s, t: squared_distances(s.features, t.features))
    found, expected = (term.coupling(x, y + far) for term in (near, dense))
    torch.testing.assert_close(found.plan, expected.plan, rtol=0, atol=1e-5)
    shift = (found.potentials[0] - expected.potentials[0]).mean()
    torch.testing.assert_close(found.potentials[0], expected.potentials[0] + shift, rtol=0, atol=1e-3)
    torch.testing.assert_close(found.value, expected.value, rtol=1e-9, atol=1e-8)


@settings(max_examples=10)
@given(seeds, st.integers(1, 6), st.floats(0.05, 1.0), st.floats(0.05, 1.0))
def test_the_diagonal_reference_is_pots_with_that_reference(seed, n, reg, price):
    import ot

    x, y = (side.requires_grad_() for side in features(seed, n, n, 2))
    term = OptimalTransport(reg, unbalanced=price, reference="diagonal", value="linear")
    uniform = np.full(n, 1 / n)
    theirs = ot.unbalanced.sinkhorn_knopp_unbalanced(
        uniform, uniform, squares(x, y).numpy(force=True), reg, price, c=np.eye(n) / n, stopThr=1e-14, numItermax=9000
    )
    np.testing.assert_allclose(term.coupling(x, y).plan.numpy(force=True), theirs, rtol=1e-6, atol=1e-12)
    paired = (x - y).square().sum(1)
    plan = torch.exp(-paired.detach() / (reg + 2 * price)) / n
    torch.testing.assert_close(term(x, y), (plan * paired).sum())
    whole = OptimalTransport(reg, unbalanced=price, reference="diagonal")
    assert torch.autograd.gradcheck(whole, (x, y), atol=1e-6)


@pytest.mark.parametrize("price", [(0.5, math.inf), (math.inf, 0.5)])
def test_a_diagonal_plan_carries_all_of_a_side_whose_mass_may_not_stay_behind(price):
    x, y = features(0, 5, 5, 2)
    found = OptimalTransport(0.3, unbalanced=price, reference="diagonal").coupling(x, y)
    torch.testing.assert_close(found.plan, torch.eye(5).double() / 5)
    assert found.marginal_error == 0.0
