"""Mass and groups of rows, in every term."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings

from cotrain_losses import MMD, Rows
from cotrain_losses._core.flags import common
from cotrain_losses.policy.losses import mean_over_sources
from tests.drawn import features, seeds, sizes
from tests.every_term import TERMS, assert_same, every, value_and_gradients


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


def test_rows_without_a_partner_group_are_counted_on_the_cpu(device):
    x, y = features(0, 5, 3, 2)
    regularizer = 1.0 * MMD()
    found = regularizer.evaluate(Rows(x, group=torch.tensor([0, 0, 1, 2, 2])), Rows(y, group=torch.tensor([0, 0, 3])))
    assert found.unmatched == 4 * (device.type == "cpu")
    assert regularizer.evaluate(x, y).unmatched == 0
    assert mean_over_sources([("one", found), ("other", found)]).unmatched == 2 * found.unmatched


def test_negative_mass_and_one_sided_groups_are_refused(device):
    x = torch.randn(3, 2)
    with pytest.raises(ValueError, match="must not be negative, got -1" + " in row 1" * (device.type == "cpu")):
        MMD()(Rows(x, mass=torch.tensor([1.0, -1.0, 1.0])), x)
        common.read()  # on a device
    with pytest.raises(ValueError, match="group on the source side only"):
        MMD()(Rows(x, group=torch.zeros(3)), x)
