"""Transport against brute force, closed forms, finite differences, POT and geomloss."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from drawn import features, seeds, sizes, widths
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain_losses import OptimalTransport, Rows, Sinkhorn
from cotrain_losses._core.distances import squared_distances
from cotrain_losses.terms.transport import Block, divergence, fixed, online, optimal, squared, unbalanced
from cotrain_losses.terms.transport.settings import Settings as problem_settings

regs = st.floats(0.05, 3.0)
prices = st.sampled_from([None, 3.0, (2.0, 5.0), (None, 2.0)])


def squares(x, y):
    return torch.stack([torch.stack([(u - v).square().sum() for v in y]) for u in x])


def kl(p, q):
    return float((torch.special.xlogy(p, p / q) - p + q).sum())


def objective(plan, cost, reg, price, reference="product"):
    """<P, C> + reg KL(P | R) + unbalanced [KL(P 1 | a) + KL(P' 1 | b)], as written."""
    n, m = plan.shape
    a, b = plan.new_full((n,), 1 / n), plan.new_full((m,), 1 / m)
    r = a[:, None] * b if reference == "product" else torch.ones_like(plan)
    left = price if isinstance(price, tuple) else (price, price)
    held = [rho * kl(plan.sum(1 - k), mass) for k, (rho, mass) in enumerate(zip(left, (a, b), strict=True)) if rho]
    return float((plan * cost).sum()) + reg * kl(plan, r) + sum(held)


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
        a, b, squares(x, y).numpy(), 0.5, 2.0, stopThr=1e-13, numItermax=20_000, **options
    )
    ours = OptimalTransport(0.5, unbalanced=2.0, reference=reference, tolerance=1e-12).coupling(x, y)
    np.testing.assert_allclose(ours.plan, theirs, rtol=1e-6, atol=1e-9)


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
    cost = squares(x, y).where(group[:, None] == group, torch.inf).numpy()
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
    torch.testing.assert_close(exact.item(), float(ot.emd2(a, b, squares(x, y).numpy())), rtol=1e-9, atol=1e-12)
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


def test_gaussians_meet_their_closed_form():
    """Exact transport of N(0, 1) to N(t, s^2) on the line costs t^2 + (1 - s)^2."""
    quantiles = torch.special.ndtri((torch.arange(2000, dtype=torch.float64)[:, None] + 0.5) / 2000)
    value = OptimalTransport(0.0)(quantiles[::4], 1.5 + 0.5 * quantiles[::4])
    torch.testing.assert_close(value.item(), 1.5**2 + 0.5**2, rtol=1e-2, atol=0)


@settings(max_examples=4)
@given(seeds, sizes, sizes, st.sampled_from([None, 3.0]))
def test_the_divergence_agrees_with_geomloss(seed, n, m, reach):
    import geomloss

    x, y = (side.requires_grad_() for side in features(seed, n, m, 3))
    ours = Sinkhorn(2.0, reach=reach, tolerance=1e-11)(x, y)
    theirs = geomloss.SamplesLoss("sinkhorn", p=2, blur=2.0, reach=reach, scaling=0.95)(x, y)
    torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-4)  # geomloss stops after a fixed annealing
    if reach is None:  # unbalanced gradients are compared with finite differences, above
        found, expected = (torch.autograd.grad(value, (x, y)) for value in (ours, theirs))
        torch.testing.assert_close(found, expected, rtol=2e-2, atol=1e-3)


@pytest.mark.parametrize("reach, within", [(None, 0.03), (6.0, 0.05)])
def test_what_is_left_to_geomloss_is_the_same_divergence_at_its_accuracy(reach, within):
    x, y = (side.requires_grad_() for side in features(0, 70, 50, 3))
    a, b = torch.rand(70).double(), torch.full((50,), 0.02).double()
    sides = Rows(x, mass=a), Rows(y)
    ours = Sinkhorn(1.0, reach=reach)(*sides)
    theirs = online.online(x, y, a / a.sum(), b, blur=1.0, reach=reach, backend="tensorized")
    torch.testing.assert_close(theirs, ours, rtol=0.01, atol=0)
    found, expected = (torch.cat(torch.autograd.grad(value, (x, y))) for value in (theirs, ours))
    assert (found - expected).norm() < within * expected.norm()


def test_a_large_problem_is_streamed_solved_or_refused_by_what_is_there(monkeypatch):
    x, y = features(0, 40, 30, 2)
    expected = Sinkhorn(0.5)(x, y)
    assert online.memory(x.device) > 2**28 and online.memory(torch.device("meta")) is None
    monkeypatch.setattr(online, "LARGE", 1000)
    monkeypatch.setattr(online, "find_spec", lambda name: None)
    assert Sinkhorn(0.5)(x, y) == expected  # the memory is there
    monkeypatch.setattr(online, "memory", lambda device: 32 * 40 * 40 - 1)
    with pytest.raises(ValueError, match=r"got 40 source and 30 target rows.*\npip install pykeops, or sub-sample"):
        Sinkhorn(0.5)(x, y)
    assert Sinkhorn(0.5)(x[:31], y).isfinite()
    here = {"device": x.device, "grouped": False}
    monkeypatch.setattr(online, "find_spec", lambda name: True)
    assert online.streamed(40, 30, **here) and not online.streamed(31, 31, **here)
    with pytest.raises(ValueError, match=r"\nSub-sample the rows"):  # KeOps knows no groups
        online.streamed(40, 30, device=x.device, grouped=True)


@settings(max_examples=10)
@given(seeds, sizes, sizes, st.sampled_from([None, 1.5]))
def test_the_divergence_is_its_definition_zero_at_equality_and_positive_elsewhere(seed, n, m, reach):
    x, y = (side.requires_grad_() for side in features(seed, n, m, 3))
    term = Sinkhorn(0.6, reach=reach, tolerance=1e-12)
    price = None if reach is None else reach**2
    transport = OptimalTransport(0.36, unbalanced=price, cost=Block(weight=0.5), tolerance=1e-12)
    expected = transport(x, y) - 0.5 * transport(x, x) - 0.5 * transport(y, y)
    torch.testing.assert_close(term(x, y), expected, rtol=1e-8, atol=1e-9)
    found = torch.autograd.grad(term(x, y), (x, y))
    torch.testing.assert_close(found, torch.autograd.grad(expected, (x, y)), rtol=1e-6, atol=1e-8)
    assert expected > 0 and abs(term(x, x.detach())) < 1e-9
    assert torch.autograd.grad(term(x, x.detach()), x)[0].norm() < 1e-6


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
    theirs = ot.unbalanced.mm_unbalanced(a, b, squares(x, y).numpy(), 2.0, numItermax=20_000, stopThr=1e-12)
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


def test_a_price_in_float32_leaves_the_iterations_in_float32():
    x, y = (side.float().numpy() for side in features(0, 8, 7, 3))
    uniform = np.full(8, 1 / 8, np.float32), np.full(7, 1 / 7, np.float32)
    solution = squared.cross(problem_settings(0.5, (1.0, 2.0)), x, y, *uniform, None).solution
    assert solution.kernel.dtype == solution.u.dtype == solution.v.dtype == np.float32


@pytest.mark.parametrize("rho", [math.inf, 1.0])
def test_leaps_arrive_at_the_same_plan_in_fewer_iterations(monkeypatch, rho):
    from cotrain_losses.terms.transport import sinkhorn
    from cotrain_losses.terms.transport.problem import Problem

    x, y = (side.numpy() for side in features(0, 40, 30, 3))
    a, b, cost = np.full(40, 1 / 40), np.full(30, 1 / 30), squared.squared_matrix(x, y)
    problem = Problem(a, b, a, b, 0.3, (rho, rho))

    def solved():
        return sinkhorn.iterate(sinkhorn.annealed(problem, cost), cost, 1e-10, 10_000)

    leaping = solved()
    monkeypatch.setattr(sinkhorn, "LEAP", 0.0)
    walking = solved()
    assert max(leaping.error, walking.error) <= 1e-10 and leaping.iterations < 0.8 * walking.iterations
    np.testing.assert_allclose(leaping.plan, walking.plan, rtol=0, atol=1e-9)


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


def test_a_solve_that_stops_early_says_so_with_its_error(monkeypatch):
    from cotrain_losses.terms.transport import newton, sinkhorn

    monkeypatch.setattr(sinkhorn, "newton", lambda *given: newton.newton(*given, steps=0))
    x, y = features(0, 8, 7, 3)
    with pytest.warns(UserWarning, match=r"did not converge: after \d+ iterations .* off by .* Raise reg"):
        OptimalTransport(0.05, max_iterations=3, tolerance=1e-9)(x, y)


def test_leaving_nearly_everything_behind_is_said():
    x = torch.zeros(3, 2)
    with pytest.warns(UserWarning, match="leaves nearly all mass behind"):
        value = OptimalTransport(0.1, unbalanced=0.1)(x, x + 1e3)
    torch.testing.assert_close(value, torch.tensor(0.1 + 0.2))


@pytest.mark.filterwarnings("ignore:.*leaves nearly all mass behind")
@pytest.mark.parametrize("term", [Sinkhorn(reach=1.0), OptimalTransport(1.0, unbalanced=10.0)])
@pytest.mark.parametrize("n, m", [(56, 8), (63, 1), (40, 40)])
def test_features_far_beyond_reach_are_finite_in_float32(term, n, m):
    x, y = (side.float().requires_grad_() for side in features(0, n, m, 512))
    value = term(x, y)
    price = term.settings.rho[0]
    assert 1.9 * price < value <= 2 * price + term.settings.eps + 1e-6
    assert all(g.isfinite().all() for g in torch.autograd.grad(value, (x, y)))


@settings(max_examples=10)
@given(seeds, st.integers(1, 6), st.floats(0.05, 1.0), st.floats(0.05, 1.0))
def test_the_diagonal_reference_is_pots_with_that_reference(seed, n, reg, price):
    import ot

    x, y = (side.requires_grad_() for side in features(seed, n, n, 2))
    term = OptimalTransport(reg, unbalanced=price, reference="diagonal", value="linear")
    uniform = np.full(n, 1 / n)
    theirs = ot.unbalanced.sinkhorn_knopp_unbalanced(
        uniform, uniform, squares(x, y).detach().numpy(), reg, price, c=np.eye(n) / n, stopThr=1e-14, numItermax=9000
    )
    np.testing.assert_allclose(term.coupling(x, y).plan.detach(), theirs, rtol=1e-6, atol=1e-12)
    paired = (x - y).square().sum(1)
    plan = torch.exp(-paired.detach() / (reg + 2 * price)) / n
    torch.testing.assert_close(term(x, y), (plan * paired).sum())
    whole = OptimalTransport(reg, unbalanced=price, reference="diagonal")
    assert torch.autograd.gradcheck(whole, (x, y), atol=1e-6)


@settings(max_examples=10)
@given(seeds, sizes, sizes, st.sampled_from([0.0, 0.5]))
def test_a_cost_of_blocks_is_the_sum_written_out_and_a_detached_block_sends_nothing(seed, n, m, reg):
    x, y = (side.requires_grad_() for side in features(seed, n, m, 3))
    u, v = (side.requires_grad_() for side in features(seed + 1, n, m, 4))
    sides = Rows(x, {"action": u.reshape(n, 2, 2)}), Rows(y, {"action": v.reshape(m, 2, 2)})
    by_blocks = OptimalTransport(reg, cost=(Block(weight=0.3), Block("action", 2.0, detach=True)), tolerance=1e-11)
    by_hand = lambda s, t: 0.3 * squares(s.features, t.features) + 2.0 * squares(u.detach(), v.detach())
    as_matrix = OptimalTransport(reg, cost=by_hand, tolerance=1e-11)
    values = by_blocks(*sides), as_matrix(*sides)
    torch.testing.assert_close(values[0], values[1], rtol=1e-9, atol=1e-9)
    found, expected = (torch.autograd.grad(v_, (x, y, u, v), allow_unused=True) for v_ in values)
    torch.testing.assert_close(found[:2], expected[:2], rtol=1e-6, atol=1e-8)
    assert all(g is None or not g.any() for g in found[2:])


def test_a_live_extra_is_moved_too():
    (x, y), (u, v) = features(0, 4, 3, 2), features(1, 4, 3, 2)
    u.requires_grad_()
    value = OptimalTransport(0.3, cost=[Block(), Block("action")])(Rows(x, {"action": u}), Rows(y, {"action": v}))
    assert torch.autograd.grad(value, u)[0].abs().min() > 0


@given(seeds, sizes, sizes, st.integers(1, 4))
def test_chunks_are_compared_over_their_common_real_steps(seed, n, m, h):
    x, y = features(seed, n, m, h * 2)
    generator = torch.Generator().manual_seed(seed)
    valid, other = (torch.rand(k, h, generator=generator) < 0.6 for k in (n, m))
    sides = [
        Rows(torch.zeros(len(s), 1).double(), {"a": s.reshape(-1, h, 2)}, valid=k) for s, k in ((x, valid), (y, other))
    ]
    found = Block("a", 0.7)(*sides)
    for i, j in itertools.product(range(n), range(m)):
        common = [t for t in range(h) if valid[i, t] and other[j, t]]
        steps = [float((x[i].reshape(h, 2)[t] - y[j].reshape(h, 2)[t]).square().sum()) for t in common]
        assert abs(float(found[i, j]) - 0.7 * h * sum(steps) / max(len(steps), 1)) < 1e-9
    everything = [Rows(s.features, s.extras, valid=torch.ones_like(s.valid)) for s in sides]
    torch.testing.assert_close(Block("a")(*everything), squares(x, y))


def test_what_is_in_the_padding_changes_neither_value_nor_gradient():
    (x, y), (u, v) = features(0, 4, 3, 2), features(1, 4, 3, 6)
    valid = torch.tensor([[True, True, False]] * 4)
    term = OptimalTransport(0.2, cost=[Block(), Block("action", 0.5)])

    def gradients(filling):
        chunks = u.reshape(4, 3, 2).where(valid[..., None], filling).requires_grad_()
        live = x.clone().requires_grad_()
        value = term(Rows(live, {"action": chunks}, valid=valid), Rows(y, {"action": v.reshape(3, 3, 2)}))
        return value, *torch.autograd.grad(value, (live, chunks))

    for one, other in zip(gradients(torch.tensor(0.0).double()), gradients(torch.tensor(1e9).double()), strict=True):
        assert torch.equal(one, other)
    assert not gradients(torch.tensor(1e9).double())[2][:, 2].any()


def test_a_pairing_discount_draws_its_pairs_together_and_one_changes_nothing():
    x, y = features(2, 6, 5, 2)
    discount = torch.ones(6, 5).double()
    plain = OptimalTransport(0.3, tolerance=1e-10)
    same = OptimalTransport(0.3, pairing=lambda s, t: discount, tolerance=1e-10)
    torch.testing.assert_close(same(x, y), plain(x, y))
    discount[1, 4] = 0.01
    assert same.coupling(x, y).plan[1, 4] > 1.3 * plain.coupling(x, y).plan[1, 4]


@settings(max_examples=8)
@given(seeds, st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.sampled_from([0.0, 0.4]))
def test_nothing_crosses_groups_and_each_group_is_transported_by_itself(seed, n0, n1, m0, m1, reg):
    x, y = features(seed, n0 + n1, m0 + m1, 2)
    group_x, group_y = torch.tensor([0] * n0 + [1] * n1), torch.tensor([0] * m0 + [1] * m1)
    term = OptimalTransport(reg, value="linear", tolerance=1e-11)
    sides = Rows(x, group=group_x), Rows(y, group=group_y)
    plan = term.coupling(*sides).plan
    assert not plan[:n0, m0:].any() and not plan[n0:, :m0].any()
    share = (n0 / (n0 + n1) + m0 / (m0 + m1)) / 2
    parts = share * term(x[:n0], y[:m0]) + (1 - share) * term(x[n0:], y[m0:])
    torch.testing.assert_close(term(*sides), parts, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(plan[:n0].sum().item(), share, rtol=1e-7, atol=0)


@pytest.mark.filterwarnings("ignore:OptimalTransport did not converge")
@settings(max_examples=8)
@given(seeds, sizes, sizes, st.sampled_from([None, 2.0]), st.booleans())
def test_the_fixed_budget_agrees_with_the_solver(seed, n, m, price, grouped):
    x, y = (side.requires_grad_() for side in features(seed, n, m, 3))
    group = (torch.arange(n) % 2, torch.arange(m) % 2) if grouped else (None, None)
    sides = Rows(x, group=group[0]), Rows(y, group=group[1])
    for term in (OptimalTransport(0.5, unbalanced=price), Sinkhorn(0.7, reach=price)):
        solved = term(*sides)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(optimal, "eager", lambda x: False)
            patch.setattr(divergence, "eager", lambda x: False)
            budgeted = term(*sides)
        torch.testing.assert_close(budgeted, solved, rtol=2e-3, atol=1e-5)
        found, expected = (torch.autograd.grad(v, (x, y), retain_graph=True) for v in (budgeted, solved))
        torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-3)


def test_exact_transport_has_no_fixed_budget(monkeypatch):
    monkeypatch.setattr(optimal, "eager", lambda x: False)
    with pytest.raises(ValueError, match="Use a small reg there"):
        OptimalTransport(0.0)(*features(0, 3, 2, 1))
    assert OptimalTransport(0.2).coupling(*features(0, 3, 2, 1)).solver == "fixed budget"
    assert fixed.LAST > 0


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: OptimalTransport(-1.0), "reg is the entropy's weight .* must be >= 0, got -1"),
        (lambda: OptimalTransport(unbalanced=0.0), "must be > 0, got 0"),
        (lambda: OptimalTransport(reference="eye"), 'reference is "product"'),
        (lambda: OptimalTransport(value="dual"), 'value is "objective"'),
        (lambda: OptimalTransport(tolerance=0.0), "tolerance bounds"),
        (lambda: OptimalTransport(cost=Block("action"))(torch.zeros(2, 1), torch.zeros(2, 1)), "extras"),
        (lambda: OptimalTransport(cost=lambda s, t: s.features)(torch.zeros(2, 1), torch.zeros(3, 1)), r"\(2, 3\)"),
        (lambda: OptimalTransport(reference="diagonal")(torch.zeros(2, 1), torch.zeros(3, 1)), "paired sides"),
        (lambda: OptimalTransport().coupling(torch.zeros(0, 1), torch.zeros(3, 1)), "rows that can be compared"),
        (lambda: Block(weight=-1.0), "must be >= 0"),
        (lambda: Sinkhorn(0.0), "blur is a length"),
        (lambda: Sinkhorn(reach=-1.0), "reach is the price|reach is a length"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
