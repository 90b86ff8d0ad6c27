"""Transport without entropy against brute force, closed forms, duality and POT."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain_losses import OptimalTransport, Rows, Sinkhorn
from cotrain_losses.terms.transport import unbalanced
from tests.drawn import features, seeds, sizes, widths
from tests.plans import objective, prices, squares

pytestmark = pytest.mark.usefixtures("of_the_cpu")


@given(seeds, st.integers(1, 5))
def test_exact_transport_between_equally_many_is_the_best_permutation(seed, n):
    x, y = features(seed, n, n, 2)
    cost = squares(x, y)
    best = min(float(cost[range(n), list(p)].mean()) for p in itertools.permutations(range(n)))
    torch.testing.assert_close(OptimalTransport(0)(x, y).item(), best, rtol=1e-9, atol=1e-12)
    plan, (f, g), value, error, _, solver = OptimalTransport(0).coupling(x, y)
    assert solver == "assignment (scipy)" and error < 1e-12
    assert (f[:, None] + g <= cost + 1e-9).all()  # dual feasible, and as good as the plan: both are optimal
    torch.testing.assert_close(f.mean() + g.mean(), value)
    torch.testing.assert_close((plan * cost).sum(), value)


@pytest.mark.parametrize("n, d, scale", [(100, 1, 1e-12), (130, 3, 1.0), (161, 40, 1e9)])
@pytest.mark.parametrize("groups", [1, 2])
def test_many_rows_are_assigned_as_by_scipy_from_a_cold_start(n, d, scale, groups):
    from scipy.optimize import linear_sum_assignment

    x, y = (scale * side for side in features(n, n, n, d, shift=100.0))
    x[:30], y[20:60] = x[0], x[1]  # duplicates
    group = torch.arange(n) % groups
    cost = squares(x, y).where(group[:, None] == group, torch.inf).numpy(force=True)
    best = cost[linear_sum_assignment(cost)].mean()
    sides = (x, y) if groups == 1 else (Rows(x, group=group), Rows(y, group=group))
    x.requires_grad_(), y.requires_grad_()
    value = OptimalTransport(0.0)(*sides)
    torch.testing.assert_close(value.item() / scale**2, best / scale**2, rtol=1e-9, atol=1e-12)
    at_x, at_y = torch.autograd.grad(value, (x, y))
    torch.testing.assert_close(((x - n / 2 * at_x) / scale).sum(0), (y / scale).sum(0), rtol=1e-9, atol=1e-9)
    for here, at, other in ((x, at_x, y), (y, at_y, x)):  # 2/n (x_i - y_s(i)) points back to a row
        reached = (here - n / 2 * at).detach() / scale
        apart = torch.cdist(reached, other.detach() / scale, compute_mode="donot_use_mm_for_euclid_dist")
        assert (apart.min(1).values < 1e-9).all()


@given(seeds, sizes, sizes)
def test_exact_transport_agrees_with_pot_and_is_the_limit_of_entropic_transport(seed, n, m):
    import ot

    x, y = features(seed, n, m, 2)
    exact = OptimalTransport(0.0)(x, y)
    a, b = np.full(n, 1 / n), np.full(m, 1 / m)
    torch.testing.assert_close(
        exact.item(), float(ot.emd2(a, b, squares(x, y).numpy(force=True))), rtol=1e-9, atol=1e-12
    )
    reg = 1e-4
    entropic = OptimalTransport(reg, tolerance=1e-9)(x, y)
    assert exact - 1e-9 <= entropic <= exact + reg * math.log(n * m) + 1e-9


@given(seeds, st.integers(1, 7), widths)
def test_a_translation_costs_its_square_and_pulls_along_itself(seed, n, d):
    x, _ = features(seed, n, 1, d)
    shift = torch.linspace(1, 2, d, dtype=x.dtype).requires_grad_()
    for term, factor in ((OptimalTransport(0), 1.0), (Sinkhorn(0.4, tolerance=1e-11), 0.5)):
        value = term(x, x + shift)
        torch.testing.assert_close(value, factor * shift.square().sum(), rtol=1e-8, atol=1e-9)
        (pull,) = torch.autograd.grad(value, shift)
        torch.testing.assert_close(pull, 2 * factor * shift.detach(), rtol=1e-7, atol=1e-8)


def test_gaussians_meet_their_closed_form():
    """Exact transport of N(0, 1) to N(t, s^2) on the line costs t^2 + (1 - s)^2."""
    quantiles = torch.special.ndtri((torch.arange(2000, dtype=torch.float64)[:, None] + 0.5) / 2000)
    value = OptimalTransport(0.0)(quantiles[::4], 1.5 + 0.5 * quantiles[::4])
    torch.testing.assert_close(value.item(), 1.5**2 + 0.5**2, rtol=1e-2, atol=0)


@pytest.mark.parametrize("price, solver", [(None, "network simplex (POT)"), (2.0, "active set")])
def test_beyond_a_million_the_exact_plan_is_taken_and_said_to_be(price, solver):
    x, y = features(4, 9, 6, 3)
    found = OptimalTransport(1e-9, unbalanced=price).coupling(x, y)
    assert found.solver == solver
    torch.testing.assert_close(found.plan, OptimalTransport(0.0, unbalanced=price).coupling(x, y).plan)


def duality_gap(x, y, found, price):
    """Primal minus dual value of unbalanced transport without entropy, and how far f + g exceeds C."""
    cost, (f, g) = squares(x, y), found.potentials
    a, b = torch.full_like(f, 1 / len(f)), torch.full_like(g, 1 / len(g))
    prices_ = price if isinstance(price, tuple) else (price, price)
    dual = 0.0
    for rho, mass, potential in ((prices_[0], a, f), (prices_[1], b, g)):
        dual += float(mass @ potential) if rho is None else -rho * float(mass @ torch.expm1(-potential / rho))
    return objective(found.plan, cost, 0.0, price) - dual, float((f[:, None] + g - cost).max())


@given(seeds, st.integers(1, 30), st.integers(1, 30), st.integers(1, 4), prices.filter(bool), st.booleans())
def test_unbalanced_transport_without_entropy_has_no_duality_gap(seed, n, m, d, price, twice):
    x, y = features(seed, n, m, d)
    if twice:  # equal rows: the dual's vertices are degenerate
        x, y = torch.cat([x, x[: n // 2], y[:1]]), torch.cat([y, y[:1], y[: m // 2]])
    found = OptimalTransport(0.0, unbalanced=price).coupling(x, y)
    gap, excess = duality_gap(x, y, found, price)
    assert abs(gap) < 1e-12 * (1 + found.value) and excess < 1e-12 * (1 + squares(x, y).max())
    assert found.marginal_error < 1e-12 and (found.plan >= 0).all() and found.solver == "active set"
    for kept, sums in ((0, found.plan.sum(1)), (1, found.plan.sum(0))):
        if isinstance(price, tuple) and price[kept] is None:
            torch.testing.assert_close(sums, torch.full_like(sums, 1 / len(sums)))


@settings(max_examples=10)
@given(seeds, st.integers(1, 5), st.integers(1, 5), prices.filter(bool))
def test_the_gradient_of_unbalanced_transport_without_entropy_is_that_of_its_value(seed, n, m, price):
    x, y = (side.requires_grad_() for side in features(seed, n, m, 2))
    assert torch.autograd.gradcheck(OptimalTransport(0.0, unbalanced=price), (x, y), atol=1e-6)


def test_unbalanced_transport_without_entropy_is_pots_and_the_limit_of_less_and_less_entropy():
    import ot

    x, y = features(6, 12, 9, 2)
    found = OptimalTransport(0.0, unbalanced=2.0).coupling(x, y)
    a, b = np.full(12, 1 / 12), np.full(9, 1 / 9)
    theirs = ot.unbalanced.mm_unbalanced(a, b, squares(x, y).numpy(force=True), 2.0, numItermax=20_000, stopThr=1e-12)
    np.testing.assert_allclose(found.plan, theirs, atol=2e-4)
    for reg, within in ((1e-2, 1e-1), (1e-4, 1e-3)):
        entropic = OptimalTransport(reg, unbalanced=2.0, tolerance=1e-9).coupling(x, y)
        assert abs(entropic.value - found.value) < within and (entropic.plan - found.plan).abs().sum() < within


def test_two_single_rows_unbalanced_without_entropy_have_a_closed_form():
    """P = exp(-C / 2 rho), the value 2 rho (1 - P): what is not worth its carriage stays."""
    x, y = torch.zeros(1, 1).double(), torch.full((1, 1), 2.0).double()
    found = OptimalTransport(0.0, unbalanced=0.5).coupling(x, y)
    torch.testing.assert_close(found.plan.item(), math.exp(-4.0), rtol=1e-12, atol=0)
    torch.testing.assert_close(found.value.item(), 1 - math.exp(-4.0), rtol=1e-12, atol=0)


def test_an_active_set_that_does_not_arrive_says_so(monkeypatch):
    monkeypatch.setattr(unbalanced, "STEPS", 0)
    with pytest.warns(UserWarning, match="did not converge: after 1 iterations"):
        OptimalTransport(0.0, unbalanced=1.0)(*features(0, 40, 30, 2))
