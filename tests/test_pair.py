"""The two sides that a step compares: checked once, shared by all terms, with or without rows of no mass."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from test_terms import TERMS, every, value_and_gradients

import cotrain_losses.terms.pair as pair_module
from cotrain_losses import MMD, DomainClassifier, Rows, Sinkhorn
from cotrain_losses.terms import CORAL, EnergyDistance, Pair
from tests.drawn import features, seeds, sizes


@every
@settings(max_examples=4)
@given(seeds, sizes, sizes)
def test_all_rows_of_a_batch_on_both_sides_with_masses_of_zero_are_the_split_rows(name, seed, n, m):
    x, y = features(seed, n, m, 3)
    z, is_target = torch.cat([x, y]), torch.arange(n + m) >= n
    value, (at_x, at_y) = value_and_gradients(TERMS[name], Rows(x), Rows(y))
    both = Rows(z, mass=(~is_target).double()), Rows(z, mass=is_target.double())
    masked, (at_source, at_target) = value_and_gradients(TERMS[name], *both)
    torch.testing.assert_close(masked, value, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(at_source + at_target, torch.cat([at_x, at_y]), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", [name for name, term in TERMS.items() if term.min_samples == 2])
def test_one_row_of_mass_is_too_few_for_a_term_that_needs_two(name, device):
    x, y = features(0, 5, 4, 3)
    mass = torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0]).double()
    value, gradients = value_and_gradients(TERMS[name], Rows(x, mass=mass), Rows(y))
    assert value == 0.0 and not any(g.any() for g in gradients)
    skipped = (0.1 * TERMS[name]).evaluate(Rows(x, mass=mass), y).skipped
    assert bool(skipped) == (device.type == "cpu")  # elsewhere the host does not know


def test_four_grouped_terms_make_the_masks_and_masses_once(monkeypatch):
    made = []
    original = pair_module.with_shared_groups
    monkeypatch.setattr(pair_module, "with_shared_groups", lambda *a: made.append(a) or original(*a))
    x, y = features(1, 6, 5, 3)
    sides = Rows(x, group=torch.tensor([0, 0, 0, 1, 1, 1])), Rows(y, group=torch.tensor([0, 0, 1, 1, 1]))
    (MMD() + Sinkhorn(0.5) + EnergyDistance() - 0.1 * DomainClassifier(3).double()).evaluate(*sides)
    assert len(made) == 4  # two sides, for terms that need one row of a group and for MMD, which needs two


def test_the_masks_of_a_pair_are_those_of_its_groups_and_shared_with_its_copies(device):
    x, y = features(2, 3, 4, 2)
    pair = Pair.of("a test", Rows(x, group=torch.tensor([0, 1, 1])), Rows(y, group=torch.tensor([1, 0, 0, 2])))
    expected = torch.tensor([[False, True, True, False], [True, False, False, False], [True, False, False, False]])
    assert torch.equal(pair.across, expected) and pair.unmatched == (device.type == "cpu") and pair.grouped
    moved = pair.map(lambda z: 2 * z)
    assert moved.across is pair.across and torch.equal(moved.source.features, 2 * x)
    assert moved.masses()[0] is pair.masses()[0]
    assert len(pair.present().target) == 3


def test_a_regularizer_checks_its_sides_once_and_names_what_compares_them():
    with pytest.raises(ValueError, match="CORAL compares features of one width"):
        (0.1 * CORAL())(torch.zeros(3, 2), torch.zeros(3, 4))
    with pytest.raises(ValueError, match="A regularizer: the target features must be finite"):
        regularizer = MMD() + CORAL()
        regularizer(torch.zeros(3, 2), torch.full((3, 2), torch.nan))
        regularizer.flags.read()  # on a device


def test_a_classifier_of_another_width_names_the_right_one():
    with pytest.raises(ValueError, match=r"(?s)width 16 for features of width 32.*DomainClassifier\(32\)"):
        DomainClassifier(16)(torch.randn(3, 32), torch.randn(2, 32))
