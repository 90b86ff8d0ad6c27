"""Transport on another device: as right as on the CPU, decided without looking, and said where it is not."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cotrain_losses import OptimalTransport, Rows, Sinkhorn
from cotrain_losses.terms import Block, Pair
from cotrain_losses.terms.transport import rounds
from cotrain_losses.terms.transport.rounds import solved
from cotrain_losses.terms.transport.settings import Settings
from tests.drawn import features, seeds, sizes
from tests.elsewhere import another_device, rows

DEFAULTS = {
    "Sinkhorn()": lambda **k: Sinkhorn(**k),
    "Sinkhorn(0.2)": lambda **k: Sinkhorn(0.2, **k),
    "Sinkhorn(0.5, reach=1)": lambda **k: Sinkhorn(0.5, reach=1.0, **k),
    "OptimalTransport()": lambda **k: OptimalTransport(**k),
    "OptimalTransport(0.01)": lambda **k: OptimalTransport(0.01, **k),
    "OptimalTransport(1)": lambda **k: OptimalTransport(1.0, **k),
    "OptimalTransport(0.1, unbalanced=1)": lambda **k: OptimalTransport(0.1, unbalanced=1.0, **k),
}


def gradients(term, x, y):
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
    value = term(x, y)
    return value.detach(), torch.cat(torch.autograd.grad(value, (x, y)))


@pytest.mark.filterwarnings("ignore:.*leaves nearly all mass behind")
@pytest.mark.parametrize("name", DEFAULTS)
@pytest.mark.parametrize("n, m, d", [(58, 6, 64), (64, 64, 32), (64, 64, 512), (128, 64, 128)])
def test_the_gradient_of_every_default_is_within_a_thousandth_of_the_converged_one(name, n, m, d):
    x, y = rows(n, d, 1), rows(m, d, 2, 0.1)
    expected, at = gradients(DEFAULTS[name](tolerance=1e-9), x.double(), y.double())
    with another_device():
        value, found = gradients(DEFAULTS[name](), x, y)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-5)
    assert (found.double() - at).norm() <= 1e-3 * at.norm() + 1e-6


@pytest.mark.parametrize("steep", [1e2, 1e4, 1e5])
@pytest.mark.parametrize("kind", ["normal", "clusters", "outlier", "equal rows", "masses that span orders"])
@pytest.mark.parametrize("rho", [(math.inf, math.inf), (1.0, 3.0), (math.inf, 0.5), (0.5, math.inf)])
def test_rounds_reach_the_tolerance_whatever_the_rows(kind, steep, rho):
    x, y = rows(33, 8, 3).double(), rows(20, 8, 4).double()
    a, b = torch.full((33,), 1 / 33).double(), torch.full((20,), 1 / 20).double()
    if kind == "clusters":
        x, y = 0.01 * x + (torch.arange(33) % 5)[:, None], 0.01 * y + (torch.arange(20) % 3)[:, None]
    if kind == "outlier":
        x[0] *= 100
    if kind == "equal rows":
        x, y = x[torch.arange(33) % 3], y[torch.arange(20) % 2]
    if kind.startswith("masses"):
        a, b = (w / w.sum() for w in (x[:, 0].abs() ** 8 + 1e-12, (torch.arange(20) % 4 == 0).double()))
    cost = torch.cdist(x, y).square()
    plan = solved(cost, a, b, Settings(float(cost.max()) / steep, rho), None)
    wanted = [w if r == math.inf else w * torch.exp(-h / r) for w, h, r in zip((a, b), plan[1:3], rho, strict=True)]
    assert plan.error <= 1e-4 and plan.rounds <= 0.8 * rounds.ROUNDS
    for marginal, asked in zip((plan.plan.sum(1), plan.plan.sum(0)), wanted, strict=True):
        assert (marginal - asked).abs().sum() <= 1.01e-4


@settings(max_examples=8)
@given(seeds, sizes, sizes, st.sampled_from([None, 2.0]), st.booleans())
def test_the_plan_is_the_cpus_with_groups_and_prices(seed, n, m, price, grouped):
    x, y = (side.requires_grad_() for side in features(seed, n, m, 3))
    group = (torch.arange(n) % 2, torch.arange(m) % 2) if grouped else (None, None)
    sides = Rows(x, group=group[0]), Rows(y, group=group[1])
    for term in (OptimalTransport(0.5, unbalanced=price, tolerance=1e-11), Sinkhorn(0.7, reach=price, tolerance=1e-11)):
        expected, found = term(*sides), term.evaluate(Pair(*sides, eager=False))
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)
        at, of = (torch.autograd.grad(v, (x, y), retain_graph=True) for v in (found, expected))
        torch.testing.assert_close(at, of, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("options", [{"value": "linear"}, {"cost": [Block(), Block("action", 0.5, detach=True)]}])
@pytest.mark.parametrize("pairing", [None, lambda s, t: torch.linspace(0.5, 1, len(s))[:, None].expand(-1, len(t))])
@pytest.mark.parametrize("reference, price", [("product", None), ("ones", 2.0), ("diagonal", 1.0)])
def test_every_slot_gives_the_cpus_value_and_gradient(options, pairing, reference, price):
    x, y = (side.requires_grad_() for side in features(1, 6, 6, 3))
    sides = (Rows(z, {"action": torch.arange(6.0)[:, None].double()}) for z in (x, y))
    source, target = sides
    term = OptimalTransport(0.3, unbalanced=price, reference=reference, pairing=pairing, tolerance=1e-10, **options)
    expected = term(source, target)
    with another_device():
        found = term(source, target)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)
    at, of = (torch.autograd.grad(v, (x, y)) for v in (found, expected))
    torch.testing.assert_close(at, of, rtol=1e-6, atol=1e-6)


def test_rounds_after_convergence_change_no_bit(monkeypatch):
    cost = torch.cdist(rows(20, 4, 0), rows(15, 4, 1)).square().double()
    masses = torch.full((20,), 1 / 20).double(), torch.full((15,), 1 / 15).double()
    early = solved(cost, *masses, Settings(0.05), None)
    monkeypatch.setattr(rounds.Pending, "known", lambda self, flag: False)
    late = solved(cost, *masses, Settings(0.05), None)
    assert all(torch.equal(one, other) for one, other in zip(early, late, strict=True)) and early.rounds < 20


@pytest.mark.parametrize("make, name", [(Sinkhorn, "Sinkhorn"), (OptimalTransport, "OptimalTransport")])
def test_a_solve_that_stops_early_is_told_once_the_flags_are_read(monkeypatch, make, name):
    monkeypatch.setattr(rounds, "ROUNDS", 2)
    monkeypatch.setenv("COTRAIN_LOSSES_TRITON", "0")  # rounds are torch's
    regularizer = 0.1 * make(0.05)
    with another_device():
        regularizer(rows(20, 8, 0), rows(15, 8, 1))
        with pytest.warns(UserWarning, match=rf"{name} did not converge: after .* rounds .* off by .* Raise reg"):
            regularizer.flags.read()


@pytest.mark.parametrize("price", [None, 2.0])
def test_rows_of_no_mass_have_no_potential_whichever_side_has_fewer_rows(price):
    for n, m in ((5, 6), (6, 5)):
        x, y = Rows(rows(n, 2, 0), mass=torch.arange(n) % 2.0), Rows(rows(m, 2, 1), mass=torch.arange(m) % 3.0)
        with another_device():
            found = OptimalTransport(0.4, unbalanced=price).coupling(x, y)
        for side, potential in zip((x, y), found.potentials, strict=True):
            assert not potential[side.mass == 0].any() and potential[side.mass > 0].all()


def test_leaving_nearly_everything_behind_is_told_once_the_flags_are_read():
    regularizer = 0.1 * OptimalTransport(0.1, unbalanced=1.0)
    with another_device():
        regularizer(torch.zeros(3, 2), torch.full((3, 2), 4.0))
        with pytest.warns(UserWarning, match="leaves nearly all mass behind"):
            regularizer.flags.read()


@pytest.mark.parametrize("price", [None, 2.0])
def test_exact_transport_goes_through_the_cpu_and_says_so_once(price, recwarn):
    x, y = (side.requires_grad_() for side in features(0, 6, 4, 2))
    term = OptimalTransport(0.0, unbalanced=price)
    expected = term(Rows(x, group=torch.arange(6) % 2), Rows(y, group=torch.arange(4) % 2))
    with another_device():
        term(x, y)
        found = term(Rows(x, group=torch.arange(6) % 2), Rows(y, group=torch.arange(4) % 2))
    torch.testing.assert_close(found, expected)
    at, of = (torch.autograd.grad(v, (x, y)) for v in (found, expected))
    torch.testing.assert_close(at, of)
    assert len([w for w in recwarn if "solved on the CPU" in str(w.message)]) == 1


def test_exact_transport_does_not_compile():
    # older versions of torch (2.7 does, 2.13 does not) keep an error's words to themselves
    with pytest.raises(Exception, match=r"Use a small reg there|Observed exception"):
        torch.compile(OptimalTransport(0.0), fullgraph=True, backend="eager")(*features(0, 3, 2, 1))


def test_a_coupling_tells_its_rounds():
    with another_device():
        found = OptimalTransport(0.2).coupling(*features(0, 3, 2, 1))
    assert found.solver == "Sinkhorn and Newton in rounds" and 0 < found.iterations < 20
