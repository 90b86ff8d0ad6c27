"""A method at one seam of a policy: what the policy computes, and what each part of it receives."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cotrain_losses import (
    CoTrain,
    DomainAdversary,
    DomainClassifier,
    DomainGuidance,
    Method,
    OptimalTransport,
    Seam,
)
from tests.drawn import seeds
from tests.toy import batch
from tests.training import Gap
from tests.wrapped import LABELS, SEAM, Critic, policy, seeded


def gradients(loss: Tensor, module: nn.Module) -> dict[str, Tensor]:
    named = dict(module.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True, retain_graph=True)
    return {k: torch.zeros_like(p) if g is None else g for (k, p), g in zip(named.items(), found, strict=True)}


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor], **tolerance: float) -> None:
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], **tolerance)


@pytest.mark.parametrize(
    "method", [Method(ratio=0.1), Method(guidance=DomainGuidance(4)), Method(regularizer=0.0 * Gap())]
)
def test_wrapping_changes_neither_loss_nor_gradient_by_a_bit(method) -> None:
    bare, wrapped = policy(), policy()
    expected = seeded(lambda: bare.compute_loss(batch()))
    losses = seeded(lambda: CoTrain(wrapped, method, seam=SEAM)(batch(), domain=LABELS))
    assert torch.equal(losses.policy, expected) and torch.equal(losses.total, expected)
    assert_same(gradients(losses.total, wrapped), gradients(expected, bare), rtol=0, atol=0)


def test_the_policys_module_tree_and_state_dict_keys_do_not_change() -> None:
    bare, wrapped = policy(), policy()
    CoTrain(wrapped, Method(regularizer=Critic(4), guidance=DomainGuidance(4)), seam=SEAM)
    assert list(wrapped.state_dict()) == list(bare.state_dict())
    assert [n for n, _ in wrapped.named_modules()] == [n for n, _ in bare.named_modules()]


@given(seeds, st.floats(-2, 2).filter(lambda w: abs(w) > 1e-3))
@settings(max_examples=10)
def test_the_total_is_the_policys_loss_plus_the_regularizer_on_the_features_before_the_head(seed, weight):
    ours, theirs = policy(seed), policy(seed)
    losses = seeded(lambda: CoTrain(ours, Method(regularizer=weight * Gap()), seam=SEAM)(batch(seed), domain=LABELS))
    z = theirs.encoder(batch(seed)["observation"])
    expected = seeded(lambda: theirs.compute_loss(batch(seed))) + weight * Gap()(z[~LABELS], z[LABELS])
    torch.testing.assert_close(losses.total, expected, rtol=1e-12, atol=1e-12)
    assert_same(gradients(losses.total, ours), gradients(expected, theirs), rtol=1e-9, atol=1e-12)
    assert losses.counts == {"source": 4, "target": 2} and losses.strengths == {"gap": weight}


def test_terms_see_the_features_before_the_token() -> None:
    p, guidance = policy(), DomainGuidance(4, drop=0.0)
    nn.init.normal_(guidance.table)
    losses = CoTrain(p, Method(regularizer=Gap(), guidance=guidance), seam=SEAM)(batch(), domain=LABELS)
    z = p.encoder(batch()["observation"])
    torch.testing.assert_close(losses.raw["gap"], Gap()(z[~LABELS], z[LABELS]).detach())


def test_the_token_enters_the_heads_condition_and_learns() -> None:
    ours, theirs, guidance = policy(), policy(), DomainGuidance(4, drop=0.0)
    nn.init.normal_(guidance.table)
    losses = seeded(lambda: CoTrain(ours, Method(guidance=guidance), seam=SEAM)(batch(), domain=LABELS))
    theirs.encoder.register_forward_hook(lambda module, args, z: z + guidance.table.double()[LABELS.long()])
    torch.testing.assert_close(losses.total, seeded(lambda: theirs.compute_loss(batch())))
    assert gradients(losses.total, guidance)["table"].abs().sum() > 0


@given(seeds)
@settings(max_examples=10)
def test_sample_weights_equal_the_weighted_loss_and_leave_the_reported_one_alone(seed):
    ours, theirs = policy(seed), policy(seed)
    weight = torch.rand(6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3
    losses = seeded(lambda: CoTrain(ours, Method(), seam=SEAM)(batch(seed), domain=LABELS, weight=weight))
    plain = seeded(lambda: theirs.per_sample(batch(seed)))
    assert torch.equal(losses.policy, plain.mean().detach())
    assert_same(gradients(losses.total, ours), gradients((weight * plain).mean(), theirs), rtol=1e-9, atol=1e-12)


def test_weights_given_and_the_methods_weights_multiply_and_know_the_samples() -> None:
    seen = []

    def hook(samples):
        seen.append(samples)
        return samples.time * samples.is_target

    ours, theirs, weight, index = policy(), policy(), torch.arange(6.0).double(), torch.arange(6) + 10
    cotrain = CoTrain(ours, Method(weights=hook), seam=SEAM)
    losses = seeded(lambda: cotrain(batch(), domain=LABELS, weight=weight, index=index, step=3))
    assert seen[0].step == 3 and torch.equal(seen[0].index, index) and seen[0].domain.tolist() == [0, 0, 0, 0, 1, 1]
    expected = (weight * seen[0].time * LABELS * seeded(lambda: theirs.per_sample(batch()))).mean()
    assert_same(gradients(losses.total, ours), gradients(expected, theirs), rtol=1e-9, atol=1e-12)


def test_a_loss_per_sample_is_weighed_once_with_or_without_a_seam_and_its_weighted_value_reported() -> None:
    weight = torch.arange(6.0).double()
    theirs = policy()
    plain = seeded(lambda: theirs.per_sample(batch()))
    for seam in (None, SEAM):
        ours = policy()
        cotrain = CoTrain(ours, Method(), seam=seam, loss="per_sample")
        losses = seeded(lambda c=cotrain: c(batch(), domain=LABELS, weight=weight))
        torch.testing.assert_close(losses.weighted, (weight * plain).mean().detach())
        torch.testing.assert_close(losses.policy, plain.mean().detach())
        assert_same(gradients(losses.total, ours), gradients((weight * plain).mean(), theirs), rtol=1e-9, atol=1e-12)


def test_regularizer_gradients_are_not_scaled_by_sample_weights() -> None:
    ours, theirs = policy(), policy()
    cotrain = CoTrain(ours, Method(regularizer=Gap()), seam=SEAM)
    losses = cotrain(batch(), domain=LABELS, weight=torch.zeros(6))
    z = theirs.encoder(batch()["observation"])
    assert_same(gradients(losses.total, ours), gradients(Gap()(z[~LABELS], z[LABELS]), theirs), rtol=1e-9, atol=1e-12)


def test_features_may_be_a_modules_output_folded_over_steps_and_cameras() -> None:
    class Folded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.eye, self.head = nn.Linear(3, 2).double(), nn.Linear(8, 2).double()

        def forward(self, observation: Tensor) -> Tensor:  # (b, 2 steps, 3), two cameras
            views = [self.eye(view.flatten(0, 1)).reshape(len(view), -1) for view in (observation, -observation)]
            return self.head(torch.cat(views, -1)).square().mean()

    p, observation = Folded(), torch.randn(6, 2, 3, dtype=torch.float64)
    cotrain = CoTrain(p, Method(regularizer=Critic(8)), seam=Seam(feature="eye", head="head"))
    check = cotrain.check(observation, domain=LABELS)
    assert check.features == (6, 8) and check.gradient and check.head_calls == 1
    z = torch.cat([p.eye(o.flatten(0, 1)).reshape(6, -1) for o in (observation, -observation)], -1)
    critic = cotrain.regularizer.terms["critic"]
    torch.testing.assert_close(
        cotrain(observation, domain=LABELS).raw["critic"], critic(z[~LABELS], z[LABELS]).detach()
    )


def test_extras_groups_and_valid_reach_the_terms() -> None:
    seen = []

    class Watcher(Critic):
        def compare(self, pair) -> Tensor:
            source, target = pair.source, pair.target
            seen.extend([source, target])
            return super().compare(pair)

    b = {**batch(), "task": torch.tensor([0, 0, 1, 1, 0, 1]), "valid": torch.ones(6, 3, dtype=torch.bool)}
    cotrain = CoTrain(
        policy(),
        Method(regularizer=0.1 * Watcher(6, extra="action")),
        seam=SEAM,
        extras=lambda b: {"action": b["action"]},
        groups=lambda b: b["task"],
        valid=lambda b: b["valid"],
    )
    cotrain(b, domain=LABELS)
    source, target = seen
    assert torch.equal(source.extras["action"], b["action"][:4]) and target.group.tolist() == [0, 1]
    assert target.valid.shape == (2, 3)


def test_three_domains_pooled_and_each_in_turn() -> None:
    labels, domains = ["sim_a", "sim_b", "real", "real", "sim_a", "sim_b"], ("real", "sim_a", "sim_b")
    p = policy()
    z = p.encoder(batch()["observation"])
    a, b, real = z[[0, 4]], z[[1, 5]], z[[2, 3]]
    pooled = CoTrain(p, Method(regularizer=2.0 * Gap()), seam=SEAM, domains=domains, target="real")
    losses = pooled(batch(), domain=labels)
    torch.testing.assert_close(losses.raw["gap"], Gap()(z[[0, 1, 4, 5]], real).detach())
    assert losses.counts == {"real": 2, "sim_a": 2, "sim_b": 2}
    each = CoTrain(p, Method(regularizer=2.0 * Gap()), seam=SEAM, domains=domains, target="real", sources="each")
    losses = each(batch(), domain=torch.tensor([1, 2, 0, 0, 1, 2]))
    torch.testing.assert_close(losses.raw["gap[sim_b]"], Gap()(b, real).detach())
    torch.testing.assert_close(losses.regularizer, (Gap()(a, real) + Gap()(b, real)).detach())


SURPRISES: list[tuple[str, Callable[[], Any], str]] = [
    ("a ratio above one", lambda: Method(ratio=3), r"ratio is the share .* got 3\. .* use 0\.25"),
    ("a ratio in words", lambda: Method(ratio="a"), "ratio is the share"),
    ("a share that is none", lambda: Method(ratio={"real": 0.5, "sim": math.nan}), r"ratio\['sim'\] is the share"),
    ("a cost in words", lambda: OptimalTransport(cost="zz"), "are functions .* got cost='zz'"),
    ("half an iteration", lambda: OptimalTransport(max_iterations=1.5), "max_iterations is a whole number"),
    ("no width", lambda: DomainClassifier(0), "width is a whole number, 1 or more"),
    ("a hidden layer below none", lambda: DomainAdversary(4, hidden=(-1,)), "hidden is a whole number"),
    ("no policy", lambda: CoTrain(None, Method()), "a policy that was made, got None"),
    ("a class of policies", lambda: CoTrain(type(policy()), Method()), "a policy that was made"),
    ("a method by name", lambda: CoTrain(policy(), "mmd"), "takes a Method, got 'mmd'"),
    ("a seam by name", lambda: CoTrain(policy(), Method(), seam="head"), r"Write Seam\(head='head', \.\.\.\)"),
    ("a number for a loss", lambda: CoTrain(policy(), Method(), loss=3), "a method's name or a function"),
    ("a word for a switch", lambda: CoTrain(policy(), Method(), gather="yes"), "is True or False, got 'yes'"),
    ("a number for a reader", lambda: CoTrain(policy(), Method(), extras=3), r"extras=\.\.\.\) is a function"),
    ("half a row", lambda: CoTrain(policy(), Method(), memory=1.5), "memory is a whole number, 0 or more"),
    ("a step in words", lambda: CoTrain(policy(), Method(), seam=SEAM)(batch(), domain=LABELS, step="a"), "step is"),
]


@pytest.mark.parametrize(("make", "words"), [each[1:] for each in SURPRISES], ids=[each[0] for each in SURPRISES])
def test_what_cannot_be_is_refused_in_one_sentence(make: Callable[[], Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        make()
