"""Frames without actions: they meet the terms, and the policy's loss is that of the other rows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cotrain_losses import MMD, CoTrain, Method, MixedBatchSampler, Rows, Seam
from cotrain_losses.datasets.labels import DomainDataset
from cotrain_losses.policy.memory import Memory
from tests.drawn import seeds
from tests.toy import Policy, batch
from tests.wrapped import SEAM, policy, seeded

DOMAINS = torch.tensor([False, True] * 5)
masks = st.lists(st.booleans(), min_size=10, max_size=10).map(torch.tensor)


def total(mask: Tensor | None, method: Method, seed: int = 0, **how) -> tuple[Policy, Tensor]:
    ours = policy(seed)
    cotrain = CoTrain(ours, method, seam=SEAM, **how)
    return ours, seeded(lambda: cotrain(batch(seed, 10), domain=DOMAINS, has_action=mask)).total


def gradients(loss: Tensor, module: torch.nn.Module) -> list[Tensor]:
    found = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(module.parameters(), found, strict=True)]


@given(masks, seeds)
@settings(max_examples=15)
def test_the_gradient_is_that_of_the_loss_on_rows_with_actions_and_of_terms_on_all_rows(mask, seed) -> None:
    ours, loss = total(mask, Method(regularizer=0.3 * MMD()), seed)
    theirs = policy(seed)
    each = seeded(lambda: theirs.per_sample(batch(seed, 10)))
    z = theirs.encoder(batch(seed, 10)["observation"])
    expected = 0.3 * MMD()(z[~DOMAINS], z[DOMAINS]) + (each[mask].mean() if mask.any() else 0.0)
    torch.testing.assert_close(gradients(loss, ours), gradients(expected, theirs), rtol=1e-9, atol=1e-12)


def test_a_whole_mask_changes_nothing_and_multiplies_with_weights() -> None:
    whole, none = (gradients(*reversed(total(mask, Method()))) for mask in (torch.ones(10, dtype=torch.bool), None))
    torch.testing.assert_close(whole, none, rtol=0, atol=0)
    ours, mask, weight = policy(), torch.arange(10) < 4, torch.rand(10, dtype=torch.float64)
    loss = seeded(
        lambda: CoTrain(ours, Method(), seam=SEAM)(batch(0, 10), domain=DOMAINS, weight=weight, has_action=mask)
    )
    theirs = policy()
    expected = (weight * seeded(lambda: theirs.per_sample(batch(0, 10))))[mask].mean()
    torch.testing.assert_close(gradients(loss.total, ours), gradients(expected, theirs), rtol=1e-9, atol=1e-12)


def test_shares_of_the_loss_count_rows_with_actions_and_counts_count_all() -> None:
    cotrain = CoTrain(policy(), Method(), seam=SEAM)
    losses = cotrain(batch(0, 10), domain=DOMAINS, has_action=torch.arange(10) < 3)
    assert losses.counts == {"source": 5, "target": 5}
    assert losses.shares == {"source": pytest.approx(2 / 3), "target": pytest.approx(1 / 3)}


@pytest.mark.parametrize("mask", [torch.ones(10), torch.ones(9, dtype=torch.bool), [True] * 10])
def test_another_kind_of_mask_is_refused(mask) -> None:
    with pytest.raises(ValueError, match="has_action has one bool per sample"):
        CoTrain(policy(), Method(), seam=SEAM)(batch(0, 10), domain=DOMAINS, has_action=mask)


def test_an_installed_method_reads_the_mask_from_the_batch() -> None:
    mask, ours = torch.arange(10) % 3 > 0, policy()
    cotrain = CoTrain(ours, Method(), seam=SEAM)
    cotrain.install(domain=lambda _: DOMAINS, has_action=lambda b: b["has"])
    loss = seeded(lambda: ours.compute_loss({**batch(0, 10), "has": mask}))
    other, expected = total(mask, Method())
    torch.testing.assert_close(gradients(loss, ours), gradients(expected, other), rtol=0, atol=0)


def test_labels_of_a_block_bring_the_mask_too() -> None:
    mask, ours = torch.arange(10) % 3 > 0, policy()
    cotrain = CoTrain(ours, Method(), seam=SEAM)
    cotrain.install()
    with cotrain.labelled(DOMAINS, has_action=mask):
        loss = seeded(lambda: ours.compute_loss(batch(0, 10)))
    other, expected = total(mask, Method())
    torch.testing.assert_close(gradients(loss, ours), gradients(expected, other), rtol=0, atol=0)


@given(masks, seeds)
@settings(max_examples=10)
def test_rows_without_mass_are_as_if_they_were_not_there_for_a_term(mask, seed) -> None:
    cotrain = CoTrain(policy(seed), Method(regularizer=1.0 * MMD()), seam=SEAM, mass=lambda b: mask)
    losses = seeded(lambda: cotrain(batch(seed, 10), domain=DOMAINS))
    z = policy(seed).encoder(batch(seed, 10)["observation"])
    sides = z[~DOMAINS & mask], z[DOMAINS & mask]
    expected = MMD()(*sides) if min(map(len, sides)) >= 2 else z.new_zeros(())
    torch.testing.assert_close(losses.regularizer, expected, rtol=1e-9, atol=1e-12)


def test_rows_without_mass_neither_fill_a_memory_nor_push_out_those_that_count() -> None:
    memory, labels = Memory(4), torch.ones(4, dtype=torch.long)
    counts, none = (Rows(torch.full((4, 1), float(mass)), mass=torch.full((4,), float(mass))) for mass in (1, 0))
    memory.filled(counts, labels)
    rows, domain = memory.filled(none, labels)
    assert rows.features.flatten().tolist() == [0.0] * 4 + [1.0] * 4 and domain.tolist() == [1] * 8
    rows, _ = memory.filled(Rows(torch.zeros(2, 1), mass=torch.ones(2)), torch.zeros(2, dtype=torch.long))
    assert rows.mass.tolist() == [1.0] * 6


def test_a_joined_dataset_tells_frames_of_a_domain_from_its_demonstrations() -> None:
    rows = [{name: x[i] for name, x in batch().items()} for i in range(6)]
    parts = {"sim": rows, "frames": rows[:4], "real": rows[:2]}
    data = DomainDataset(parts, frames_of={"frames": "real"})
    assert data.names == ("sim", "real") and data.parts == ("sim", "frames", "real")
    assert (
        data.domain.tolist() == [0] * 6 + [1] * 6 and data.has_action.tolist() == [True] * 6 + [False] * 4 + [True] * 2
    )
    for i, first in ((0, 0), (3, 0), (7, 6), (9, 6), (11, 10)):
        assert data[i].sample is parts[data.parts[int(data.part[i])]][i - first]
    shares = {"sim": 0.5, "frames": 0.25, "real": 0.25}
    (first, *_) = MixedBatchSampler(data.part, 4, shares, domains=data.parts, target="real")
    cotrain = CoTrain(
        Policy(), Method(), seam=Seam(head="head", condition="condition"), domains=data.names, target="real"
    )
    both = {name: torch.stack([data[i].sample[name] for i in first]) for name in rows[0]}
    losses = cotrain(both, domain=data.domain[first], has_action=data.has_action[first])
    assert losses.counts == {"sim": 2, "real": 2} and losses.shares["sim"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("frames_of", [{"other": "real"}, {"real": "other"}, {"real": "real"}])
def test_frames_are_of_a_dataset_that_is_there(frames_of) -> None:
    with pytest.raises(ValueError, match="frames_of says"):
        DomainDataset({"sim": [1], "real": [2]}, frames_of=frames_of)
