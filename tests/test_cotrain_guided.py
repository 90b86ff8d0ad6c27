"""Guided sampling: two predictions combined in every call of the head."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from cotrain_losses import CoTrain, DomainGuidance, Method
from cotrain_losses.guidance import guide
from tests.toy import Policy, batch
from tests.wrapped import LABELS, SEAM, policy


def test_three_domains_have_three_tokens_and_guide_towards_any() -> None:
    p, guidance = policy(), DomainGuidance(4, domains=3)
    nn.init.normal_(guidance.table)
    domains = ("real", "sim_a", "sim_b")
    cotrain = CoTrain(p, Method(guidance=guidance), seam=SEAM, domains=domains, target="real")
    observation = batch()["observation"]
    found = []
    for name in domains:
        with cotrain.guided(domain=name, scale=1.0):
            found.append(p.sample(observation))
    assert not torch.allclose(found[0], found[1]) and not torch.allclose(found[1], found[2])
    with cotrain.guided(scale=1.0):
        assert torch.equal(p.sample(observation), found[0])


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("scale", [-1.0, 0.0, 0.5, 1.0, 3.0])
def test_guided_sampling_combines_both_predictions_in_every_call_of_the_head(scale, copied) -> None:
    p, guidance = policy(), DomainGuidance(4)
    nn.init.normal_(guidance.table)
    cotrain = CoTrain(p, Method(guidance=guidance), seam=SEAM)
    by_hand = policy()
    head = by_hand.head.forward
    token = guidance.table[1].double()
    by_hand.head.forward = lambda x, t, condition: guide(head(x, t, condition + token), head(x, t, condition), scale)
    sampler = copy.deepcopy(p) if copied else p
    observation = batch()["observation"]
    with cotrain.guided(sampler if copied else None, scale=scale):
        torch.testing.assert_close(sampler.sample(observation), by_hand.sample(observation))
    assert torch.equal(sampler.sample(observation), policy().sample(observation))  # outside, the bare policy


def test_scale_one_and_zero_run_one_branch_and_others_both_in_one_call() -> None:
    p, rows = policy(), []
    p.head.net.register_forward_hook(lambda _, args, __: rows.append(len(args[0])))
    cotrain = CoTrain(p, Method(guidance=DomainGuidance(4)), seam=SEAM)
    for scale, expected in ((0.0, [6] * 4), (1.0, [6] * 4), (0.5, [12] * 4)):
        rows.clear()
        with cotrain.guided(scale=scale):
            p.sample(batch()["observation"])
        assert rows == expected


def test_guided_without_guidance_is_the_bare_policy() -> None:
    p = policy()
    with CoTrain(p, Method(ratio=0.1)).guided():
        assert torch.equal(p.sample(batch()["observation"]), policy().sample(batch()["observation"]))


def test_one_hot_columns_reach_a_head_built_with_them_in_both_branches() -> None:
    torch.manual_seed(0)
    p = Policy(width=4)
    p.encoder = nn.Sequential(nn.Linear(3, 2)).double()  # two features and two columns make the head's four
    cotrain = CoTrain(p, Method(guidance=DomainGuidance(one_hot=True, drop=0.5)), seam=SEAM)
    cotrain(batch(), domain=LABELS).total.backward()
    with cotrain.guided(scale=0.5):
        assert p.sample(batch()["observation"]).shape == (6, 2)


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_guided_refuses_a_scale_that_is_not_finite(scale) -> None:
    cotrain = CoTrain(policy(), Method(guidance=DomainGuidance(4)), seam=SEAM)
    with pytest.raises(ValueError, match=rf"scale .* is a finite number, got {scale}\."), cotrain.guided(scale=scale):
        pass


@pytest.mark.parametrize("installed", [False, True])
def test_a_step_of_training_inside_a_guided_block_is_refused(installed: bool) -> None:
    policy, half = Policy(), torch.arange(6) % 2 == 0
    cotrain = CoTrain(policy, Method(guidance=DomainGuidance(width=4)), seam=SEAM)
    if installed:
        cotrain.install(domain=lambda batch: half)
    with pytest.raises(RuntimeError, match="trained outside of its guided blocks"), cotrain.guided(scale=2.0):
        policy.compute_loss(batch()) if installed else cotrain(batch(), domain=half)
    with cotrain.guided(scale=2.0), torch.no_grad():  # a loss that is only looked at
        assert policy.compute_loss(batch()).isfinite()
    average = copy.deepcopy(policy)
    with cotrain.guided(average, scale=2.0):
        policy.compute_loss(batch()) if installed else cotrain(batch(), domain=half)
        average.sample(batch()["observation"])
