"""Terms at the edge: masses over many orders, collapsed or huge features, outliers, torch.func, a second backward."""

from __future__ import annotations

import math

import pytest
import torch
from test_terms import TERMS, every

from cotrain_losses import MMD, DomainAdversary, DomainClassifier, OptimalTransport, Rows, Sinkhorn
from cotrain_losses.terms import CORAL, EnergyDistance
from tests.drawn import features

TORCH_ONLY = {
    "MMD": MMD(),
    "MMD biased": MMD(1.0, estimator="biased"),
    "energy distance": EnergyDistance(),
    "CORAL": CORAL(mean=True),
    "classifier": DomainClassifier(3).double(),
    "adversary": DomainAdversary(3).double(),
}


MASSES = {
    "ten orders": [1e-10, 1.0, 1e-10, 3e-10, 1e-6, 1e-10],
    "fifty orders": [1e-30, 1e8, 1e8, 3e-10, 1e-6, 1e20],
    "one and nearly nothing": [1.0, 1e-30, 0.0, 0.0, 0.0, 0.0],
    "one, and it is small": [0.0, 0.0, 1e-30, 0.0, 0.0, 0.0],
    "sums that overflow": [1e38] * 6,
    "subnormal": [1e-40] * 6,
}


@every
@pytest.mark.parametrize("masses", MASSES)
def test_masses_of_any_size_give_in_float32_what_they_give_in_float64(name, masses):
    sides, mass = features(0, 6, 5, 3), torch.tensor(MASSES[masses], dtype=torch.float64)
    term = type(TERMS[name])(3).float() if isinstance(TERMS[name], DomainClassifier) else TERMS[name]
    if isinstance(term, OptimalTransport | Sinkhorn):
        term = type(term)(0.3)
    results = []
    for dtype in (torch.float64, torch.float32):
        x, y = (side.to(dtype).requires_grad_() for side in sides)
        value = term.to(dtype)(Rows(x, mass=mass.to(dtype)), Rows(y))
        results.append((value.item(), *(at.double() for at in torch.autograd.grad(value, (x, y)))))
    (wide, *expected), (narrow, *found) = results
    assert narrow == pytest.approx(wide, rel=2e-3, abs=1e-4)
    for at, other in zip(found, expected, strict=True):
        torch.testing.assert_close(at, other, rtol=5e-3, atol=1e-4)
    if masses.startswith("one") and term.min_samples > 1:
        assert wide == 0.0 and not any(at.any() for at in expected)


@pytest.mark.parametrize("bandwidth", [None, "mean", 1.0])
@pytest.mark.parametrize("scales", [(0.25, 1.0, 4.0), (0.3, 0.5, 0.9)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mmd_of_collapsed_features_is_zero_with_a_finite_gradient(bandwidth, scales, dtype):
    x = torch.full((5, 3), 0.7, dtype=dtype, requires_grad=True)
    value = MMD(bandwidth, scales=scales)(x, torch.full((4, 3), 0.7, dtype=dtype))
    value.backward()
    assert abs(value.item()) < 1e-6 and x.grad.isfinite().all()


def dual_by_loops(cost, a, b, eps, rho, rounds=3000):
    """Unbalanced entropic transport with R = a b', in the log domain: its dual value."""
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    for _ in range(rounds):
        f = rho / (rho + eps) * -eps * torch.logsumexp((g - cost) / eps + b.log(), 1)
        g = rho / (rho + eps) * -eps * torch.logsumexp((f[:, None] - cost) / eps + a.log()[:, None], 0)
    plan = (((f[:, None] + g - cost) / eps).exp() * a[:, None] * b).sum()
    return float(-rho * (a @ torch.expm1(-f / rho) + b @ torch.expm1(-g / rho)) + eps * (1 - plan))


@pytest.mark.parametrize("price", [0.5, 5.0])
@pytest.mark.parametrize("distance", [10.0, 1e3, 1e5])
def test_an_outlier_out_of_reach_is_left_behind_and_changes_nothing_else(price, distance):
    x, y = features(1, 12, 9, 2)
    x[0] += distance
    term = OptimalTransport(0.2, unbalanced=price, tolerance=1e-10)
    x.requires_grad_()
    value = term(x, y)
    (at_x,) = torch.autograd.grad(value, x)
    a, b = torch.full((12,), 1 / 12).double(), torch.full((9,), 1 / 9).double()
    expected = dual_by_loops(torch.cdist(x.detach(), y).square(), a, b, 0.2, price)
    assert value.item() == pytest.approx(expected, rel=1e-7) and at_x[0].abs().max() < 1e-6


@every
def test_features_whose_squares_overflow_are_refused_in_one_sentence(name):
    term = TERMS[name]
    with pytest.raises(
        ValueError, match=r"target features are so large that their squares overflow float32.*1\.0e\+20"
    ):
        term(torch.zeros(3, 3), torch.full((3, 3), 1e20))


def test_a_value_that_overflows_is_refused_in_one_sentence():
    x, y = (1e12 * side.float() for side in features(2, 6, 5, 3))
    with pytest.raises(ValueError, match="CORAL has no finite value for these features"):
        CORAL()(x, y)


@every
def test_a_second_backward_without_the_graph_raises_as_in_torch(name):
    x, y = features(3, 6, 5, 3)
    x.requires_grad_()
    value = 1.0 * TERMS[name](x, y)
    value.backward(retain_graph=True)
    first = x.grad.clone()
    value.backward()
    torch.testing.assert_close(x.grad, 2 * first)
    with pytest.raises(RuntimeError, match="second time"):
        value.backward()


@pytest.mark.parametrize("name", TORCH_ONLY)
def test_torch_func_takes_the_gradient_that_autograd_takes(name):
    x, y = features(4, 6, 5, 3)
    term, live = TORCH_ONLY[name], x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(term(live, y), live)
    torch.testing.assert_close(torch.func.grad(lambda z: term(z, y))(x), expected)
    both = torch.func.vmap(lambda z: term(z, y))(torch.stack([x, x + 1]))
    torch.testing.assert_close(both, torch.stack([term(x, y), term(x + 1, y)]))


@pytest.mark.parametrize("term", [Sinkhorn(0.5), OptimalTransport(0.3)])
def test_transport_says_that_torch_func_cannot_follow_it(term):
    x, y = features(5, 6, 5, 3)
    with pytest.raises(RuntimeError, match=r"torch\.func cannot follow"):
        torch.func.grad(lambda z: term(z, y))(x)


def test_the_unbiased_weights_are_those_of_the_definition():
    mass = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    x = features(6, 3, 4, 2)[0]
    y = features(6, 3, 4, 2)[1]
    kernel = lambda u, v: math.exp(-float((u - v).square().sum()) / 2)
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    total = sum(float(mass[i] * mass[j]) for i, j in pairs)
    within = sum(float(mass[i] * mass[j]) * kernel(x[i], x[j]) for i, j in pairs) / total
    within_y = sum(kernel(y[i], y[j]) for i in range(4) for j in range(4) if i != j) / 12
    across = sum(float(mass[i]) * kernel(x[i], y[j]) / 4 for i in range(3) for j in range(4))
    value = MMD(1.0, scales=(1.0,))(Rows(x, mass=mass), Rows(y))
    assert value.item() == pytest.approx(within + within_y - 2 * across, rel=1e-9)
