"""Domain guidance: the token, its null row, dropped labels, and the combination at sampling."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cotrain_losses import DomainGuidance
from cotrain_losses.guidance import guide
from tests.drawn import seeds


@given(seeds, st.floats(-3, 3))
def test_guide_is_uncond_plus_scale_times_the_difference(seed, scale):
    c, u = torch.randn(2, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(guide(c, u, scale), u + scale * (c - u), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        guide(c, u, 1 + scale), (1 + scale) * c - scale * u, rtol=1e-9, atol=1e-9
    )  # Lei's lambda


def test_guide_is_exact_at_zero_one_and_the_mean_at_a_half() -> None:
    c, u = torch.randn(2, 1000)
    assert torch.equal(guide(c, u, 1.0), c) and torch.equal(guide(c, u, 0.0), u)
    torch.testing.assert_close(guide(c, u, 0.5), (c + u) / 2)


def test_attaching_changes_nothing_and_the_null_row_stays_zero() -> None:
    condition, domain = torch.randn(3, 4), torch.tensor([0, 1, -1])
    guidance = DomainGuidance(width=4).to(condition.device)
    assert torch.equal(guidance(condition, domain), condition)
    guidance(condition, domain).square().sum().backward()
    torch.testing.assert_close(guidance.table.grad, 2 * condition[:2])
    with torch.no_grad():
        guidance.table += 1.0
    assert torch.equal(guidance(condition, torch.full((3,), -1)), condition)
    assert torch.equal(guidance(condition, domain)[:2], condition[:2] + 1.0)


def test_the_token_is_the_same_for_every_step_of_a_sequence_and_keeps_the_dtype() -> None:
    condition = torch.zeros(2, 5, 4, dtype=torch.bfloat16)
    guidance = DomainGuidance(width=4).to(condition.device)
    torch.nn.init.normal_(guidance.table)
    found = guidance(condition, torch.tensor([1, 0]))
    assert found.dtype == torch.bfloat16 and found.shape == condition.shape
    assert torch.equal(found, guidance.table[[1, 0]].bfloat16()[:, None].expand(2, 5, 4))


def test_one_hot_columns_are_appended_and_null_is_all_zeros() -> None:
    found = DomainGuidance(domains=3, one_hot=True)(torch.full((3, 2), 7.0), torch.tensor([2, -1, 0]))
    assert found.tolist() == [[7, 7, 0, 0, 1], [7, 7, 0, 0, 0], [7, 7, 1, 0, 0]]


def test_labels_are_dropped_per_sample_at_the_asked_rate_without_touching_the_policys_random_numbers() -> None:
    guidance, labels = DomainGuidance(width=2, drop=0.2), torch.ones(20_000, dtype=torch.long)
    before = torch.random.get_rng_state()
    dropped = (guidance.dropped(labels) == -1).double()
    assert torch.equal(before, torch.random.get_rng_state())
    assert abs(dropped.mean() - 0.2) < 4 * (0.2 * 0.8 / 20_000) ** 0.5
    assert not torch.equal(dropped, (guidance.dropped(labels) == -1).double())


def test_labels_are_dropped_by_torchs_seed() -> None:
    torch.manual_seed(5)
    dropped = DomainGuidance(drop=0.5, width=2).dropped(torch.ones(50, dtype=torch.long)) == -1
    assert torch.equal(dropped, torch.rand(50, generator=torch.Generator().manual_seed(5)) < 0.5)


def test_by_default_a_fifth_of_the_labels_is_dropped_and_the_label_alone_predicts() -> None:
    guidance = DomainGuidance(width=2)
    assert (guidance.drop, guidance.scale, guidance.domains, guidance.one_hot) == (0.2, 1.0, 2, False)
    dropped = guidance.dropped(torch.ones(20_000, dtype=torch.long)) == -1
    assert abs(dropped.double().mean() - 0.2) < 4 * (0.2 * 0.8 / 20_000) ** 0.5


@pytest.mark.parametrize(("drop", "kept"), [(0.0, 50), (1.0, 0)])
def test_drop_zero_keeps_all_and_one_keeps_none(drop, kept) -> None:
    assert (DomainGuidance(width=2, drop=drop).dropped(torch.zeros(50, dtype=torch.long)) == 0).sum() == kept


def test_the_draws_resume_from_a_checkpoint_and_survive_copies() -> None:
    guidance, labels = DomainGuidance(width=2, drop=0.5), torch.zeros(64, dtype=torch.long)
    guidance.dropped(labels)
    others = [copy.deepcopy(guidance), pickle.loads(pickle.dumps(guidance)), DomainGuidance(width=2, drop=0.5)]
    others[2].load_state_dict(guidance.state_dict())
    expected = guidance.dropped(labels)
    for other in others:
        assert torch.equal(other.dropped(labels), expected)


def test_a_condition_of_another_width_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"token of width 4.*shape \(3, 6\)\. Pass width=6"):
        DomainGuidance(width=4)(torch.zeros(3, 6, device="cpu"), torch.zeros(3, dtype=torch.long, device="cpu"))


def test_a_token_without_a_width_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs the width.*got width=None"):
        DomainGuidance()(torch.zeros(3, 6), torch.zeros(3, dtype=torch.long))


def test_a_drop_that_is_no_probability_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lies in \[0, 1\], got 1.5"):
        DomainGuidance(width=2, drop=1.5)


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), -float("inf")])
def test_a_scale_that_is_not_finite_is_refused(scale) -> None:
    with pytest.raises(ValueError, match=rf"scale .* is a finite number, got {scale}\."):
        DomainGuidance(width=2, scale=scale)


@pytest.mark.parametrize("width", [0, -4, 2.5, True, "4"])
def test_a_width_counts_from_one(width):
    with pytest.raises(ValueError, match="width is a whole number, 1 or more"):
        DomainGuidance(width)
