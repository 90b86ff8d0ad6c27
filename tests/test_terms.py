"""Laws that every term keeps, and what each does to the features."""

from __future__ import annotations

import copy

import pytest
import torch
from drawn import any_size, features, seeds, sizes
from hypothesis import given, settings
from torch import nn

from cotrain_losses import MMD, DomainAdversary, DomainClassifier, OptimalTransport, Regularizer, Rows, Sinkhorn, Term
from cotrain_losses._core.checks import check_finite
from cotrain_losses.policy.losses import mean_over_sources
from cotrain_losses.terms.mmd import CORAL, EnergyDistance
from cotrain_losses.terms.transport import fixed

PLAIN = {
    "MMD": MMD(),
    "MMD of given bandwidth": MMD(1.5),
    "MMD biased": MMD(estimator="biased"),
    "energy distance": EnergyDistance(),
    "CORAL": CORAL(mean=True),
    "Sinkhorn": Sinkhorn(0.3, tolerance=1e-11),
    "Sinkhorn with reach": Sinkhorn(0.3, reach=2.0, tolerance=1e-11),
    "exact transport": OptimalTransport(0.0),
    "exact unbalanced transport": OptimalTransport(0.0, unbalanced=2.0),
    "entropic transport": OptimalTransport(0.2, tolerance=1e-11),
    "entropic transport, ones": OptimalTransport(0.2, unbalanced=2.0, reference="ones", tolerance=1e-11),
    "unbalanced transport": OptimalTransport(0.2, unbalanced=(1.0, 3.0), tolerance=1e-11),
}
torch.manual_seed(0)
LEARNED = {"classifier": DomainClassifier(3).double(), "adversary": DomainAdversary(3).double()}
TERMS = PLAIN | LEARNED
WHOLE = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 6)
"""whether torch compiles a call of a module with other parameters, as the adversary makes it, without a graph break"""
every_plain = pytest.mark.parametrize("name", PLAIN)
every = pytest.mark.parametrize("name", TERMS)


def value_and_gradients(term: Term | Regularizer, *sides: Rows) -> tuple[torch.Tensor, list[torch.Tensor]]:
    live = [side.features.detach().requires_grad_() for side in sides]
    value = term(*(Rows(x, s.extras, s.mass, s.group, s.valid) for x, s in zip(live, sides, strict=True)))
    return value.detach(), list(torch.autograd.grad(value, live))


def assert_same(found, expected, tolerance=1e-8):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


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
@settings(max_examples=4)
@given(seeds, sizes, sizes)
def test_a_row_of_no_mass_is_a_row_that_is_not_there(name, seed, n, m):
    x, y = features(seed, n + 2, m, 3)
    mass = torch.ones(n + 2).double()
    mass[[0, 3]] = 0.0
    keep = mass > 0
    value, (at_x, at_y) = value_and_gradients(TERMS[name], Rows(x, mass=mass), Rows(y))
    expected, (at_kept, at_y_too) = value_and_gradients(TERMS[name], Rows(x[keep]), Rows(y))
    assert_same([value, at_x[keep], at_y], [expected, at_kept, at_y_too])
    assert not at_x[~keep].any()


@pytest.mark.parametrize(
    "name",  # "ones" counts pairs of rows, so there a row given twice is something else
    [n for n in TERMS if n not in ("MMD", "MMD biased", "MMD of given bandwidth", "CORAL", "entropic transport, ones")],
)
@settings(max_examples=4)
@given(seeds, sizes, sizes)
def test_a_mass_of_two_is_a_row_given_twice(name, seed, n, m):
    x, y = features(seed, n, m, 3)
    mass = torch.ones(n).double()
    mass[0] = 2.0
    value, (at_x, at_y) = value_and_gradients(TERMS[name], Rows(x, mass=mass), Rows(y))
    twice, (at_twice, at_y_too) = value_and_gradients(TERMS[name], Rows(torch.cat([x, x[:1]])), Rows(y))
    assert_same(value, twice, 1e-7)
    if name != "exact transport":  # its plan need not be unique, its value is
        at_twice[0] += at_twice[n]
        assert_same([at_x, at_y], [at_twice[:n], at_y_too], 1e-6)


@every
@settings(max_examples=4)
@given(seeds, sizes, sizes)
def test_a_group_on_one_side_only_is_not_there(name, seed, n, m):
    x, y = features(seed, n + 2, m, 3)
    source = Rows(x, group=torch.tensor([7] * n + [1, 1]))
    target = Rows(y, group=torch.full((m,), 7))
    value, (at_x, at_y) = value_and_gradients(TERMS[name], source, target)
    expected, (at_common, at_y_too) = value_and_gradients(TERMS[name], Rows(x[:n]), Rows(y))
    assert_same([value, at_x[:n], at_y], [expected, at_common, at_y_too])
    assert not at_x[n:].any()
    apart = TERMS[name](source, Rows(y, group=torch.zeros(m, dtype=torch.long)))
    assert apart == 0.0


@pytest.mark.parametrize("name", [name for name, term in TERMS.items() if term.min_samples == 2])
def test_a_group_with_one_row_of_mass_is_not_compared_by_a_term_that_needs_two(name):
    x, y = features(0, 5, 6, 3)
    group_x, group_y = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 0, 0, 1, 1, 1])
    mass = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0]).double()  # of the group 1, one row counts
    value, (at_x, at_y) = value_and_gradients(TERMS[name], Rows(x, mass=mass, group=group_x), Rows(y, group=group_y))
    expected, (at_x_too, at_y_too) = value_and_gradients(TERMS[name], Rows(x[:3]), Rows(y[:3]))
    assert_same([value, at_x[:3], at_y[:3]], [expected, at_x_too, at_y_too])
    assert not at_x[3:].any() and not at_y[3:].any()


@every
def test_rows_of_no_mass_on_both_sides_are_rows_that_are_not_there(name):
    x, y = features(0, 6, 7, 3)
    a, b = torch.tensor([0, 1, 2, 0, 1, 1]).double(), torch.tensor([1, 0, 0, 3, 1, 1, 1]).double()
    value, (at_x, at_y) = value_and_gradients(TERMS[name], Rows(x, mass=a), Rows(y, mass=b))
    sides = Rows(x[a > 0], mass=a[a > 0]), Rows(y[b > 0], mass=b[b > 0])
    expected, (at_kept, at_kept_too) = value_and_gradients(TERMS[name], *sides)
    assert_same([value, at_x[a > 0], at_y[b > 0]], [expected, at_kept, at_kept_too])
    assert not at_x[a == 0].any() and not at_y[b == 0].any()


SHARING = ("unbalanced", "reach", "ones")  # where mass may stay behind, groups share what is left


@pytest.mark.parametrize(
    "name", [n for n in TERMS if n not in ("MMD", "MMD biased") and not any(word in n for word in SHARING)]
)
def test_a_group_is_not_moved_by_another_groups_features(name):
    x, y = features(3, 9, 7, 3)
    group_x, group_y = torch.tensor([0] * 5 + [1] * 4), torch.tensor([1] * 3 + [0] * 4)
    _, (at_x, at_y) = value_and_gradients(TERMS[name], Rows(x, group=group_x), Rows(y, group=group_y))
    x, y = x.where(group_x[:, None] == 0, 5 - x), y.where(group_y[:, None] == 0, 2 * y)
    _, (at_x_too, at_y_too) = value_and_gradients(TERMS[name], Rows(x, group=group_x), Rows(y, group=group_y))
    assert_same([at_x[group_x == 0], at_y[group_y == 0]], [at_x_too[group_x == 0], at_y_too[group_y == 0]], 1e-6)


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(name, dtype):
    x, y = (side.to(dtype) for side in features(0, 6, 4, 3))
    term = copy.deepcopy(TERMS[name]).float()
    if isinstance(term, (OptimalTransport, Sinkhorn)):
        term = type(term)(0.3)
    x.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
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


def test_all_terms_compile_without_a_graph_break(monkeypatch):
    monkeypatch.setattr(fixed, "LEVELS", 1)
    monkeypatch.setattr(fixed, "ROUNDS", 2)
    monkeypatch.setattr(fixed, "LAST", 3)
    terms = nn.ModuleList([MMD(), EnergyDistance(), CORAL(), Sinkhorn(1.0), OptimalTransport(1.0, unbalanced=1.0)])
    terms.append(DomainClassifier(3, penalty=0.0))
    if WHOLE:
        terms.append(DomainAdversary(3))
    x, y = (side.float() for side in features(2, 6, 4, 3))

    def total(x, y):
        return sum(0.5 * term(x, y) for term in terms)

    compiled = torch.compile(total, fullgraph=True, backend="eager")
    x.requires_grad_()
    value = compiled(x, y)
    assert_same(value, total(x, y), 1e-2)
    (found,), (expected,) = (torch.autograd.grad(v, x) for v in (compiled(x, y), total(x, y)))
    assert_same(found, expected, 2e-2)


def test_a_second_derivative_is_refused_not_wrong():
    x = torch.randn(4, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(MMD()(x, torch.randn(3, 2)), x, create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        gradient.sum().backward()


def test_rows_without_a_partner_group_are_counted():
    x, y = features(0, 5, 3, 2)
    regularizer = 1.0 * MMD()
    found = regularizer.evaluate(Rows(x, group=torch.tensor([0, 0, 1, 2, 2])), Rows(y, group=torch.tensor([0, 0, 3])))
    assert found.unmatched == 4
    assert regularizer.evaluate(x, y).unmatched == 0
    assert mean_over_sources([("one", found), ("other", found)]).unmatched == 8


def test_negative_mass_and_one_sided_groups_are_refused():
    x = torch.randn(3, 2)
    with pytest.raises(ValueError, match="must not be negative, got -1 in row 1"):
        MMD()(Rows(x, mass=torch.tensor([1.0, -1.0, 1.0])), x)
    with pytest.raises(ValueError, match="group on the source side only"):
        MMD()(Rows(x, group=torch.zeros(3)), x)


def test_features_whose_squares_overflow_are_finite_and_one_that_is_not_is_found():
    x = torch.full((3, 2), 1e30)
    check_finite("the features", x)  # without a warning: here warnings are errors
    x[1, 1] = float("nan")
    with pytest.raises(ValueError, match="got 1 NaN or infinite values of 6, the first in row 1"):
        check_finite("the features", x)
