"""Laws that hold for every term: order, shifts, symmetry, scale, precision, gradients, compilation."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from torch import nn

from cotrain_losses import MMD, DomainAdversary, DomainClassifier, OptimalTransport, Rows, Sinkhorn, Term
from cotrain_losses._core.checks import check_finite
from cotrain_losses._core.flags import common
from cotrain_losses.terms.mmd import CORAL, EnergyDistance
from tests.drawn import any_size, features, seeds, sizes
from tests.every_term import PLAIN, TERMS, assert_same, every, value_and_gradients

WHOLE = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 6)
"""whether torch compiles a call of a module with other parameters, as the adversary makes it, without a graph break"""
every_plain = pytest.mark.parametrize("name", PLAIN)


@every
@settings(max_examples=4)
@given(seeds, sizes, sizes)
def test_the_order_of_rows_changes_nothing_and_a_second_call_gives_the_same(name, seed, n, m):
    x, y = map(Rows, features(seed, n, m, 3))
    value, (at_x, at_y) = value_and_gradients(TERMS[name], x, y)
    again, flipped = value_and_gradients(TERMS[name], x[torch.arange(n).flip(0)], y)
    assert_same(again, value)
    assert_same(flipped, [at_x.flip(0), at_y])
    assert torch.equal(TERMS[name](x, y), TERMS[name](x, y))


@every_plain
@settings(max_examples=4)
@given(seeds, sizes, sizes)
def test_a_common_shift_changes_nothing(name, seed, n, m):
    x, y = features(seed, n, m, 3)
    assert_same(PLAIN[name](x + 70.0, y + 70.0), PLAIN[name](x, y), 1e-7)


@pytest.mark.parametrize("name", [name for name in PLAIN if name != "unbalanced transport"])
@settings(max_examples=4)
@given(seeds, sizes, sizes)
def test_both_sides_are_treated_alike(name, seed, n, m):
    x, y = map(Rows, features(seed, n, m, 3))
    value, (at_x, at_y) = value_and_gradients(PLAIN[name], x, y)
    exchanged, (at_y_too, at_x_too) = value_and_gradients(PLAIN[name], y, x)
    assert_same([exchanged, at_x_too, at_y_too], [value, at_x, at_y])


@every
@settings(max_examples=5)
@given(seeds, any_size, any_size)
def test_any_number_of_rows_gives_a_finite_value_on_the_graph(name, seed, n, m):
    value, gradients = value_and_gradients(TERMS[name], *map(Rows, features(seed, n, m, 3)))
    assert value.isfinite() and all(g.isfinite().all() for g in gradients)
    if min(n, m) < TERMS[name].min_samples:
        assert value == 0.0 and not any(g.any() for g in gradients)


@pytest.mark.filterwarnings("ignore:.*leaves nearly all mass behind")
@every
@pytest.mark.parametrize("scale", [0.0, 1e-4, 1.0, 1e3])
def test_equal_rows_at_any_scale_are_finite(name, scale):
    x = scale * torch.ones(4, 3).double()
    y = torch.cat([x[:2], 2 * x[:3]])
    for sides in ((x, x[:3]), (x, y), (y, y)):
        value, gradients = value_and_gradients(TERMS[name], *map(Rows, sides))
        assert value.isfinite() and all(g.isfinite().all() for g in gradients)


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(name, dtype, device):
    x, y = (side.to(dtype) for side in features(0, 6, 4, 3))
    term = copy.deepcopy(TERMS[name]).float()
    if isinstance(term, (OptimalTransport, Sinkhorn)):
        term = type(term)(0.3)
    x.requires_grad_()
    with torch.autocast(device.type if device.type == "cuda" else "cpu", torch.bfloat16):
        value = term(x, y)
    assert value.dtype == torch.float32
    assert_same(value, term(x.float(), y.float()), 1e-6)
    (gradient,) = torch.autograd.grad(value, x)
    assert gradient.dtype == dtype and gradient.isfinite().all() and gradient.any()


@every
def test_a_scaled_loss_has_a_scaled_gradient(name):
    x, y = features(1, 6, 4, 3)
    x.requires_grad_()
    (plain,) = torch.autograd.grad(TERMS[name](x, y), x)
    (scaled,) = torch.autograd.grad(2.0**16 * TERMS[name](x, y), x)
    assert torch.equal(scaled, 2.0**16 * plain)


@every
def test_a_step_along_the_gradient_aligns_and_a_step_against_it_parts(name):
    toward, apart = (distance_after(copy.deepcopy(TERMS[name]), sign) for sign in (1.0, -1.0))
    before = 3.0**0.5 * 1.5
    assert toward < 0.9 * before if name != "CORAL" else toward < before
    assert apart > 1.05 * before if name != "CORAL" else apart > before


def distance_after(term: Term, sign: float, steps: int = 40) -> float:
    """Distance of the means after moving a translated cloud along (sign 1) or against what the term asks for."""
    follow = sign if not isinstance(term, DomainClassifier) or isinstance(term, DomainAdversary) else -sign
    x, y = features(5, 24, 16, 3, shift=0.0)
    shift = torch.full((3,), 1.5, dtype=torch.float64, requires_grad=True)
    heads = torch.optim.Adam(term.parameters(), 1e-2) if list(term.parameters()) else None
    for step in range(steps):
        (follow * term)(x, y + shift).backward()
        if heads is not None:
            heads.step()
            heads.zero_grad()
        with torch.no_grad():
            if heads is None or step >= 10:  # a head first has to learn to see
                shift -= 0.1 * shift.grad / shift.grad.norm()
        shift.grad = None
    return (x.mean(0) - (y + shift).mean(0)).norm().item()


def test_all_terms_compile_without_a_graph_break(compiled):
    terms = nn.ModuleList([MMD(), EnergyDistance(), CORAL(), Sinkhorn(1.0), OptimalTransport(1.0, unbalanced=1.0)])
    terms.append(DomainClassifier(3, penalty=0.1))
    if WHOLE:
        terms.append(DomainAdversary(3))
    x, y = (side.float() for side in features(2, 6, 4, 3))

    def total(x, y):
        return sum(0.5 * term(x, y) for term in terms)

    whole = torch.compile(total, fullgraph=True, backend="eager")
    x.requires_grad_()
    value = whole(x, y)
    assert_same(value, total(x, y), 1e-4)
    found, expected = (torch.autograd.grad(v, [x, *terms.parameters()]) for v in (whole(x, y), total(x, y)))
    assert_same(found, expected, 1e-4)


def test_a_second_derivative_is_refused_not_wrong():
    x = torch.randn(4, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(MMD()(x, torch.randn(3, 2)), x, create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        gradient.sum().backward()


def test_features_whose_squares_overflow_are_finite_on_the_cpu_and_one_that_is_not_is_found(device):
    x, here = torch.full((3, 2), 1e30), device.type == "cpu"
    check_finite("the features", x if here else torch.ones(3, 2))  # without a warning: here warnings are errors
    x[1, 1] = float("nan")
    said = "got 1 .* of 6, the first in row 1" if here else "or values whose squares overflow, in 1 batches"
    with pytest.raises(ValueError, match=said):
        check_finite("the features", x)
        common.read()  # on a device
