"""How plans are found: precision, leaps, early stops, what is out of reach."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from cotrain_losses import OptimalTransport, Sinkhorn
from cotrain_losses.terms.transport import squared
from cotrain_losses.terms.transport.newton import newton
from cotrain_losses.terms.transport.problem import Problem, dual_value
from cotrain_losses.terms.transport.settings import Settings as problem_settings
from tests.drawn import features

pytestmark = pytest.mark.usefixtures("of_the_cpu")


def test_a_price_in_float32_leaves_the_iterations_in_float32():
    x, y = (side.float().numpy(force=True) for side in features(0, 8, 7, 3))
    uniform = np.full(8, 1 / 8, np.float32), np.full(7, 1 / 7, np.float32)
    solution = squared.cross(problem_settings(0.5, (1.0, 2.0)), x, y, *uniform, None).solution
    assert solution.kernel.dtype == solution.u.dtype == solution.v.dtype == np.float32


@pytest.mark.parametrize("rho", [math.inf, 1.0])
def test_leaps_arrive_at_the_same_plan_in_fewer_iterations(monkeypatch, rho):
    from cotrain_losses.terms.transport import sinkhorn

    x, y = (side.numpy(force=True) for side in features(0, 40, 30, 3))
    a, b, cost = np.full(40, 1 / 40), np.full(30, 1 / 30), squared.squared_matrix(x, y)
    problem = Problem(a, b, a, b, 0.3, (rho, rho))

    def solved():
        return sinkhorn.iterate(sinkhorn.annealed(problem, cost), cost, 1e-10, 10_000)

    leaping = solved()
    monkeypatch.setattr(sinkhorn, "LEAP", 0.0)
    walking = solved()
    assert max(leaping.error, walking.error) <= 1e-10 and leaping.iterations < 0.8 * walking.iterations
    np.testing.assert_allclose(leaping.plan, walking.plan, rtol=0, atol=1e-9)


def test_a_solve_that_stops_early_says_so_with_its_error(monkeypatch):
    from cotrain_losses.terms.transport import sinkhorn

    monkeypatch.setattr(sinkhorn, "newton", lambda *given: newton(*given, steps=0))
    x, y = features(0, 8, 7, 3)
    with pytest.warns(UserWarning, match=r"did not converge: after \d+ iterations .* off by .* Raise reg"):
        OptimalTransport(0.05, max_iterations=3, tolerance=1e-9)(x, y)


def test_leaving_nearly_everything_behind_is_said():
    x = torch.zeros(3, 2)
    with pytest.warns(UserWarning, match="leaves nearly all mass behind"):
        value = OptimalTransport(0.1, unbalanced=0.1)(x, x + 1e3)
    torch.testing.assert_close(value, torch.tensor(0.1 + 0.2))


@pytest.mark.filterwarnings("ignore:.*leaves nearly all mass behind")
@pytest.mark.parametrize("reference, mass", [("product", 1.0), ("ones", 12.0)])
def test_out_of_reach_nothing_is_carried_and_the_value_is_the_price_of_both_sides_and_of_the_reference(reference, mass):
    """P = 0: rho KL(0 | a) = rho, and eps KL(0 | R) = eps sum R."""
    x = torch.zeros(4, 2).double()
    found = OptimalTransport(0.1, unbalanced=(0.2, 0.3), reference=reference).coupling(x, x[:3] + 1e4)
    assert not found.plan.any() and found.solver == "none: out of reach"
    torch.testing.assert_close(found.value.item(), 0.2 + 0.3 + 0.1 * mass)


@pytest.mark.parametrize("rho", [(math.inf, math.inf), (1.0, 1.0), (0.3, math.inf)])
@pytest.mark.parametrize("seed", range(6))
def test_no_step_of_newtons_method_lowers_the_dual(seed, rho):
    x, y = (side.numpy(force=True) for side in features(seed, 9, 7, 2))
    a, b = np.full(9, 1 / 9), np.full(7, 1 / 7)
    problem, cost = Problem(a, b, a, b, 0.02, rho), squared.squared_matrix(x, y)
    f, g = (np.random.default_rng(seed).normal(size=k) for k in (9, 7))
    start = dual_value(problem, f, g, float((np.exp((f[:, None] + g - cost) / 0.02) * a[:, None] * b).sum()))
    values = [start, *(newton(problem, cost, f, g, 1e-12, steps=k).value() for k in range(1, 30))]
    assert all(after >= before - 1e-9 * (1 + abs(before)) for before, after in itertools.pairwise(values))


@pytest.mark.parametrize("seed", range(3))
def test_newtons_method_arrives_from_potentials_drawn_at_random(seed):
    x, y = (side.numpy(force=True) for side in features(seed, 9, 7, 2))
    a, b = np.full(9, 1 / 9), np.full(7, 1 / 7)
    f, g = (0.1 * np.random.default_rng(seed).normal(size=k) for k in (9, 7))
    found = newton(Problem(a, b, a, b, 0.02, (1.0, 1.0)), squared.squared_matrix(x, y), f, g, 1e-10)
    assert found.error < 1e-9


@pytest.mark.filterwarnings("ignore:.*leaves nearly all mass behind")
@pytest.mark.parametrize("term", [Sinkhorn(reach=1.0), OptimalTransport(1.0, unbalanced=10.0)])
@pytest.mark.parametrize("n, m", [(56, 8), (63, 1), (40, 40)])
def test_features_far_beyond_reach_are_finite_in_float32(term, n, m):
    x, y = (side.float().requires_grad_() for side in features(0, n, m, 512))
    value = term(x, y)
    price = term.settings.rho[0]
    assert 1.9 * price < value <= 2 * price + term.settings.eps + 1e-6
    assert all(g.isfinite().all() for g in torch.autograd.grad(value, (x, y)))
