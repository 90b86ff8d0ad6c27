"""A head that predicts an extra: its value, what it does to the features, padding, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import cotrain_losses as ctl
from cotrain_losses import Rows
from cotrain_losses.terms import AuxiliaryRegression
from tests.drawn import features, seeds, sizes


def regression(width=3, outputs=6, **options) -> AuxiliaryRegression:
    torch.manual_seed(1)
    return AuxiliaryRegression(width, "path", outputs, hidden=(8,), **options).double()


def sides(seed: int, n: int, m: int, **more) -> tuple[Rows, Rows]:
    draws = torch.Generator().manual_seed(seed)
    drawn = features(seed, n, m, 3)
    return tuple(Rows(x, {"path": torch.randn(len(x), 3, 2, generator=draws).double()}, **more) for x in drawn)


@given(seeds, sizes, sizes)
def test_the_value_is_the_sum_of_both_sides_mean_squared_errors_whatever_the_counts(seed, n, m):
    term, expected = regression(), 0.0
    source, target = sides(seed, n, m)
    for side in (source, target):
        errors = []
        for z, path in zip(side.features, side.extras["path"], strict=True):
            predicted = term.head(z)
            errors.append(sum((predicted[k] - path.flatten()[k]) ** 2 for k in range(6)) / 6)
        expected = expected + sum(errors) / len(errors)
    torch.testing.assert_close(term(source, target), expected)
    doubled = Rows(source.features.repeat(3, 1), {"path": source.extras["path"].repeat(3, 1, 1)})
    torch.testing.assert_close(term(doubled, target), expected)


@given(seeds, st.integers(2, 6), st.integers(1, 6))
def test_a_row_of_mass_zero_is_a_row_that_is_not_there_and_the_order_of_rows_changes_nothing(seed, n, m):
    term, (source, target) = regression(), sides(seed, n, m)
    kept = torch.arange(n) < n - 1
    without = term(source[kept], target)
    massless = Rows(source.features, source.extras, kept.double())
    torch.testing.assert_close(term(massless, target), without)
    torch.testing.assert_close(term(massless[torch.arange(n).flip(0)], target), without)


@given(seeds, st.integers(0, 3))
def test_padded_steps_count_nothing_whatever_they_hold(seed, steps):
    term, (source, target) = regression(), sides(seed, 4, 3)
    real = torch.arange(3) < torch.tensor([[steps], [3], [1], [2]])
    source.extras["path"][~real] = float("nan")
    source.features.requires_grad_()
    leaf = source.extras["path"].clone().requires_grad_()
    value = term(Rows(source.features, {"path": leaf}, valid=real), target)
    expected = term(target, target) / 2
    for z, path, own in zip(source.features, source.extras["path"], real, strict=True):
        error = (term.head(z).view(3, 2) - path)[own].square()
        expected = expected + (error.mean() if own.any() else 0.0) / 4
    torch.testing.assert_close(value, expected)
    value.backward()
    assert source.features.grad.isfinite().all() and leaf.grad is None  # what is predicted learns nothing


def test_a_positive_strength_makes_features_tell_the_extra_in_both_domains_and_a_negative_one_unlearns_it():
    def error_after(strength: float) -> float:
        torch.manual_seed(0)
        encoder, seen = torch.nn.Linear(4, 2), torch.randn(64, 4)
        wanted = seen[:, 3:]  # which the encoder shows badly at first
        with torch.no_grad():
            encoder.weight[:, 3] = 0.1
        term = strength * AuxiliaryRegression(2, "y", 1)
        optimizer = torch.optim.Adam([*encoder.parameters(), *term.parameters()], 1e-2)
        for _ in range(200):
            z = encoder(seen)
            optimizer.zero_grad()
            term(Rows(z[:40], {"y": wanted[:40]}), Rows(z[40:], {"y": wanted[40:]})).backward()
            optimizer.step()
        z = torch.cat([encoder(seen), torch.ones(64, 1)], 1).detach()
        return (z @ torch.linalg.lstsq(z, wanted).solution - wanted).square().mean().item()

    told, alone, hidden = map(error_after, (1.0, 0.0, -1.0))
    assert told < 0.1 * alone < 0.2 * hidden


def test_frames_without_actions_are_learned_from_in_a_step_of_cotrain():
    torch.manual_seed(0)

    class Policy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.head = torch.nn.Linear(4, 3), torch.nn.Linear(3, 2)

        def compute_loss(self, batch):
            return (self.head(self.encoder(batch["seen"])) - batch["action"]).square().mean(1)

    policy, seam = Policy(), ctl.Seam(feature="encoder", head="head")
    method = ctl.Method(regularizer=0.5 * AuxiliaryRegression(3, "path", 6))
    cotrain = ctl.CoTrain(policy, method, seam=seam, extras=lambda batch: {"path": batch["path"]})
    batch = {"seen": torch.randn(6, 4), "action": torch.randn(6, 2), "path": torch.randn(6, 3, 2)}
    target, has_action = torch.tensor([False] * 3 + [True] * 3), torch.tensor([True] * 4 + [False] * 2)
    losses = cotrain(batch, domain=target, has_action=has_action)
    other = {**batch, "path": torch.cat([batch["path"][:5], batch["path"][5:] + 1])}
    changed = cotrain(other, domain=target, has_action=has_action)
    assert losses.policy == changed.policy and losses.raw != changed.raw
    assert losses.raw.keys() == {"auxiliary_regression"} and losses.total > losses.policy


def test_it_compiles_without_a_graph_break_and_a_side_without_rows_is_an_exact_zero(compiled):
    term, (source, target) = regression(), sides(0, 4, 3)
    whole = torch.compile(lambda z: term(Rows(z, source.extras), target), fullgraph=True, backend="eager")
    torch.testing.assert_close(whole(source.features), term(source, target))
    value = term(source, target[:0])
    assert value == 0.0 and value.requires_grad


@pytest.mark.parametrize(
    ("wrong", "kind", "says"),
    [
        ({}, ValueError, r"reads rows.extras\['path'\], got extras \[\]"),
        ({"path": torch.randn(4, 5)}, ValueError, r"got outputs=6 for \(4, 5\)\.\nPass outputs=5"),
        ({"path": torch.ones(4, 6, dtype=torch.long)}, TypeError, r"predicts numbers, got int64 in the extra 'path'"),
        ({"path": torch.full((4, 6), float("nan"))}, ValueError, r"predicts finite numbers, got some in the extra"),
    ],
)
def test_an_extra_that_cannot_be_predicted_is_refused(wrong, kind, says):
    with pytest.raises(kind, match=says):
        regression()(Rows(torch.zeros(4, 3).double(), wrong), sides(0, 4, 3)[1])


def test_padding_of_other_steps_than_the_extras_is_refused_and_a_flat_extra_has_none():
    source, target = sides(0, 4, 3)
    other = torch.ones(4, 5, dtype=torch.bool)
    with pytest.raises(
        ValueError, match=r"the steps of the extra 'path', got 5 of them for \(4, 3, 2\)\.\nPass as many"
    ):
        regression()(Rows(source.features, source.extras, valid=other), target)
    flat = Rows(source.features, {"path": source.extras["path"].flatten(1)}, valid=other)
    torch.testing.assert_close(regression()(flat, target), regression()(source, target))


def test_features_and_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"got width 3 for features of width 4\.\nBuild it with that"):
        regression()(*(Rows(torch.zeros(2, 4).double(), {"path": torch.zeros(2, 6).double()}) for _ in range(2)))
    for how in ({"width": 0}, {"outputs": 0}, {"hidden": (0,)}):
        with pytest.raises(ValueError, match=r"is a whole number"):
            AuxiliaryRegression(**({"width": 3, "extra": "path", "outputs": 6} | how))
