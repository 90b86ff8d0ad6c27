"""Diagnostics of a policy: features collected, gradients compared, actions of neighbours, a watch on training."""

from __future__ import annotations

import pytest
import torch
from toy import Policy, batch

from cotrain_losses import CoTrain, DomainClassifier, Method, Seam
from cotrain_losses.measures import action_gap, domain_losses, neighbour_contribution
from cotrain_losses.policy import Watch, collect_features
from cotrain_losses.terms.term import Regularizer

SEAM = Seam(head="head", condition="condition", time="time")


def labelled(seed: int, b: int = 6):
    return {**batch(seed, b), "is_target": torch.arange(b) % 3 == 0, "episode": torch.arange(b) // 2}


def test_collected_features_are_what_the_modules_gave_split_by_domain():
    policy, batches = Policy(), [labelled(0), labelled(1, 4)]
    found = collect_features(policy, batches, seams=["encoder.0", "encoder", SEAM], groups="episode")
    observed = torch.cat([b["observation"] for b in batches])
    target = torch.cat([b["is_target"] for b in batches])
    deep = policy.encoder(observed).float()
    torch.testing.assert_close(found.target.layers["encoder"], deep[target])
    torch.testing.assert_close(found.source.layers["head(condition)"], deep[~target])
    torch.testing.assert_close(found.source.layers["encoder.0"], policy.encoder[0](observed).float()[~target])
    assert found.target.groups.tolist() == [0, 1, 0, 1]


def test_collecting_leaves_the_policy_as_it_was():
    policy = Policy()
    policy.train()
    collect_features(policy, [labelled(0)], seams=["encoder"], limit=1)
    assert policy.training and not policy.encoder._forward_hooks


def test_a_module_that_does_not_run_and_a_key_that_is_not_there_are_named():
    with pytest.raises(ValueError, match="not called"):
        collect_features(
            Policy(), [labelled(0)], seams=["head"], run=lambda policy, b: policy.encoder(b["observation"])
        )
    with pytest.raises(ValueError, match="'domain' for a dict with observation"):
        collect_features(Policy(), [labelled(0)], seams=["encoder"], domain="domain")


def test_gradient_cosine_is_one_for_one_domain_and_minus_one_for_opposite_ones():
    weight = torch.nn.Parameter(torch.zeros(3))
    batches = [torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 5.0])]
    same = domain_losses(lambda b: b @ weight + 1, batches, batches, parameters=[weight])
    opposite = domain_losses(lambda b: b @ weight + 1, batches, [-b for b in batches], parameters=[weight])
    assert same.cosine == pytest.approx(1.0) and opposite.cosine == pytest.approx(-1.0)
    assert same.source == 1.0 and same.source_standard_error == 0.0 and weight.grad is None
    assert same.source_norm == pytest.approx(21**0.5)


def test_domain_losses_leave_the_random_state_and_share_its_draws():
    policy, state = Policy(), torch.get_rng_state()
    batches = [batch(0), batch(1)]
    found = domain_losses(policy.compute_loss, batches, batches, parameters=policy.encoder.parameters())
    assert found.source == found.target and found.cosine == pytest.approx(1.0)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_action_gap_is_one_where_near_features_ask_alike_and_large_where_they_do_not():
    g = torch.Generator().manual_seed(0)
    z_s, z_t = (torch.randn(300, 2, generator=g) for _ in range(2))
    rule = torch.tensor([[1.0, 0.5], [-0.5, 1.0]])
    alike = action_gap(z_s, z_t, z_s @ rule, z_t @ rule)
    opposed = action_gap(z_s, z_t, -z_s @ rule, z_t @ rule)
    assert alike.gap == pytest.approx(1.0, abs=0.2) and opposed.gap > 5
    assert alike.feature_distance == pytest.approx(1.0, abs=0.2) and alike.within < alike.chance


def test_actions_of_another_number_are_refused():
    z = torch.randn(9, 2)
    with pytest.raises(ValueError, match="every row of features has an action"):
        action_gap(z, z, torch.randn(8, 2), torch.randn(9, 2))


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
def test_the_target_contributes_the_ratio_where_domains_coincide(ratio):
    """Two copies of three points far from one another: every kernel sum is the same in both domains."""
    points = 10 * torch.eye(3).repeat(4, 1)
    found = neighbour_contribution(points, points, ratio=ratio, bandwidth=0.5, target_groups=range(12))
    kept = 3 / 11 / (4 / 12)  # a row's own episode is left out: 3 of 11 others coincide, 4 of 12 in the source
    assert found == pytest.approx(ratio * kept / (ratio * kept + 1 - ratio), abs=1e-9)


def test_the_source_contributes_nothing_from_afar():
    z = torch.randn(50, 2)
    assert neighbour_contribution(z + 1000, z, ratio=0.01) == 1.0


def wrapped(every: int, received: list):
    method = Method(ratio=0.5, regularizer=Regularizer([(0.0, DomainClassifier(4))]))
    cotrain = CoTrain(Policy(), method, seam=SEAM)
    return cotrain, Watch(cotrain, every=every, to=lambda values, step: received.append((step, values)))


def test_a_watch_records_at_its_interval_what_the_step_was_made_of():
    received: list = []
    cotrain, _ = wrapped(2, received)
    for step in range(5):
        each = labelled(step)
        losses = cotrain(each, domain=each["is_target"], step=step)
    assert [step for step, _ in received] == [0, 2, 4]
    values = received[-1][1]
    assert values["policy"] == pytest.approx(float(losses.policy)) and values["ratio"] == pytest.approx(1 / 3)
    assert values["raw/domain_classifier"] == pytest.approx(float(losses.raw["domain_classifier"]))
    z = cotrain.policy.encoder(each["observation"]).detach()
    assert values["norm/target"] == pytest.approx(float(z[each["is_target"]].square().sum(1).mean().sqrt()), rel=1e-5)
    logits = cotrain.regularizer.terms["domain_classifier"].logits(z)
    right = [(logits[~each["is_target"]] < 0).float().mean(), (logits[each["is_target"]] > 0).float().mean()]
    assert values["accuracy/domain_classifier"] == pytest.approx(float(sum(right) / 2))
    assert values["share/domain_classifier"] == 0.0 and values["loss_share/target"] == pytest.approx(1 / 3)


def test_a_watch_changes_no_gradient_and_can_be_taken_off():
    plain, watched = (wrapped(1, [])[0], wrapped(1, []))
    watched[0].load_state_dict(plain.state_dict())
    each = labelled(0)
    for cotrain in (plain, watched[0]):
        torch.manual_seed(0)
        cotrain(each, domain=each["is_target"], step=0).total.backward()
    for one, other in zip(plain.parameters(), watched[0].parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=0)
    watched[1].remove()
    assert not watched[0]._forward_hooks and not watched[0]._forward_pre_hooks


def test_a_watch_needs_the_step():
    cotrain, _ = wrapped(1, [])
    with pytest.raises(ValueError, match="got step=None"):
        cotrain(labelled(0), domain=labelled(0)["is_target"])
