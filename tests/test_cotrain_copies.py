"""Copies, pickles, checkpoints and evaluations of a wrapped policy."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from cotrain_losses import CoTrain, DomainGuidance, Method
from tests.toy import batch
from tests.wrapped import LABELS, SEAM, Critic, policy, seeded


@pytest.mark.parametrize("quiet", ["eval", "no_grad"])
def test_nothing_is_captured_dropped_or_regularized_outside_training(quiet) -> None:
    p, guidance = policy(), DomainGuidance(4, drop=1.0)
    nn.init.normal_(guidance.table)
    cotrain = CoTrain(p, Method(regularizer=Critic(4), guidance=guidance, weights=lambda s: s.time), seam=SEAM)
    if quiet == "eval":
        cotrain.eval()
    with torch.set_grad_enabled(quiet == "eval"):
        losses = seeded(lambda: cotrain(batch(), domain=LABELS))
    assert losses.raw == {} and losses.regularizer == 0.0
    theirs = policy()
    theirs.encoder.register_forward_hook(lambda module, args, z: z + guidance.table.double()[LABELS.long()])
    torch.testing.assert_close(losses.policy, seeded(lambda: theirs.compute_loss(batch())).detach())


def test_copies_and_pickles_of_the_policy_are_bare_and_of_the_whole_are_whole() -> None:
    guidance = DomainGuidance(4, drop=0.0)
    nn.init.normal_(guidance.table)
    p, never = policy(), policy()
    untouched = seeded(lambda: never.compute_loss(batch()))
    cotrain = CoTrain(p, Method(regularizer=-0.1 * Critic(4), guidance=guidance), seam=SEAM)
    expected = seeded(lambda: cotrain(batch(), domain=LABELS))  # a step has run: nothing of its graph may be held
    for bare in (copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        assert torch.equal(seeded(lambda b=bare: b.compute_loss(batch())), untouched)
    for whole in (copy.deepcopy(cotrain), pickle.loads(pickle.dumps(cotrain))):
        assert torch.equal(seeded(lambda w=whole: w(batch(), domain=LABELS)).total, expected.total)
        whole.policy.head.net[0].weight.data.zero_()
    assert torch.equal(seeded(lambda: cotrain(batch(), domain=LABELS)).total, expected.total)


def test_a_run_resumes_from_state_dicts_to_equal_losses() -> None:
    def run(cotrain, optimizer, steps):
        found = []
        for step in steps:
            torch.manual_seed(step)
            losses = cotrain(batch(step), domain=LABELS, step=step)
            optimizer.zero_grad()
            losses.total.backward()
            optimizer.step()
            found.append(losses.total.item())
        return found

    def fresh():
        torch.manual_seed(1)
        cotrain = CoTrain(policy(), Method(regularizer=-0.1 * Critic(4), guidance=DomainGuidance(4)), seam=SEAM)
        return cotrain, torch.optim.Adam(cotrain.parameters(), 0.01)

    whole = run(*fresh(), range(6))
    first, optimizer = fresh()
    run(first, optimizer, range(3))
    saved = copy.deepcopy((first.state_dict(), optimizer.state_dict()))
    second, optimizer = fresh()
    second.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    assert run(second, optimizer, range(3, 6)) == whole[3:]


def test_plugin_parameters_are_the_methods_own() -> None:
    critic, guidance = Critic(4), DomainGuidance(4)
    cotrain = CoTrain(policy(), Method(regularizer=critic, guidance=guidance), seam=SEAM)
    assert list(cotrain.plugin_parameters()) == [*critic.parameters(), *guidance.parameters()]


def test_a_method_serves_one_policy_and_a_fresh_copy_another() -> None:
    method, p = Method(regularizer=-0.1 * Critic(4)), policy()
    first = CoTrain(p, method, seam=SEAM)
    with pytest.raises(RuntimeError, match=r"belong to one policy, got a Regularizer.*method\.fresh\(\)"):
        CoTrain(policy(), method, seam=SEAM)
    CoTrain(policy(), method.fresh(), seam=SEAM)
    assert first.unwrap() is p and not p.head._forward_hooks and not p.head._forward_pre_hooks
    CoTrain(policy(), method, seam=SEAM)
