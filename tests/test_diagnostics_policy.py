"""Diagnostics of a policy: features collected, gradients compared, actions of neighbours, a watch on training."""

from __future__ import annotations

import pytest
import torch

from cotrain_losses import MMD, CoTrain, DomainClassifier, Method, Seam
from cotrain_losses.measures import action_gap, domain_losses, neighbour_contribution
from cotrain_losses.policy import collect_features
from cotrain_losses.terms.term import Regularizer
from tests.fakes import robomimic, vla
from tests.toy import Policy, batch

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
    assert policy.training


@pytest.mark.parametrize("labels", [torch.tensor([0, 1, 1, 0, 1, 1]), ["real", "sim", "sim", "real", "sim", "sim"]])
def test_collected_sides_are_those_that_cotrain_counts(labels):
    policy, each = Policy(), {**batch(), "domain": labels}
    names = {"domains": ("real", "sim"), "target": "real"}
    counts = CoTrain(policy, Method(), seam=SEAM, **names)(each, domain=labels).counts
    collected = collect_features(policy, [each], seams=["encoder"], domain="domain", **names)
    sides = {"real": len(collected.target.layers["encoder"]), "sim": len(collected.source.layers["encoder"])}
    assert sides == counts == {"real": 2, "sim": 4}
    torch.testing.assert_close(collected.target.layers["encoder"], policy.encoder(each["observation"])[[0, 3]].float())


def test_every_domain_but_the_target_is_collected_as_source_and_others_are_refused():
    policy, names = Policy(), {"domains": ("a", "real", "b"), "target": "real"}
    three = {**batch(), "domain": torch.tensor([0, 1, 2, 2, 1, 2])}
    collected = collect_features(policy, [three], seams=["encoder"], domain="domain", **names)
    assert len(collected.target.layers["encoder"]) == 2 and len(collected.source.layers["encoder"]) == 4
    with pytest.raises(ValueError, match="positions among the domains source, target, got values from 0 to 2"):
        collect_features(policy, [three], seams=["encoder"], domain="domain")
    with pytest.raises(TypeError, match=r"domain > 0\.5"):
        collect_features(policy, [{**three, "domain": torch.rand(6)}], seams=["encoder"], domain="domain")


class Normalised(Policy):
    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Sequential(*self.encoder, torch.nn.BatchNorm1d(4)).double()


@pytest.mark.filterwarnings("error")
def test_a_frozen_batch_norm_stays_frozen_in_every_tool_and_is_not_warned_of():
    policy = Normalised()
    norm = policy.encoder[3].eval()
    before = norm.running_mean.clone()
    collect_features(policy, [labelled(0)], seams=["encoder"])
    assert policy.training and not norm.training
    cotrain = CoTrain(policy, Method(regularizer=0.1 * MMD()), seam=SEAM)
    cotrain.check(batch(), domain=torch.arange(6) % 2)
    cotrain.hold_out(batch(9))
    cotrain(batch(), domain=torch.arange(6) % 2)
    assert policy.training and not norm.training and torch.equal(norm.running_mean, before)


@pytest.mark.parametrize("k", [5, 6])
def test_features_are_collected_through_the_adapter_that_cotrain_goes_through(k):
    case = vla.cases()[k]
    seam = CoTrain(case.policy, Method()).seam
    is_target = torch.arange(case.samples) % 2 == 0
    collected = collect_features(case.policy, [case.batch], seams=[seam], domain=lambda batch: is_target)
    assert collected.target.layers[seam.place].shape[0] == collected.source.layers[seam.place].shape[0] == 3
    assert case.policy.training


def test_an_algo_that_is_no_module_is_evaluated_and_put_back():
    algo = robomimic.DiffusionPolicyUNet()
    encoder, modes = algo.nets["policy"]["obs_encoder"], []
    encoder.register_forward_hook(lambda module, args, output: modes.append(module.training))
    each = {**robomimic.cases()[0].batch, "is_target": torch.arange(6) % 2 == 0}
    seam = CoTrain(algo, Method()).seam
    collect_features(algo, [each], seams=[seam], run=lambda algo, batch: algo.losses(batch))
    assert modes == [False] and encoder.training and not algo.ema.averaged_model.training


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
    return cotrain, cotrain.watch(every=every, to=lambda values, step: received.append((step, values)))


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
    received: list = []
    plain, watched = (wrapped(1, [])[0], wrapped(1, received))
    watched[0].load_state_dict(plain.state_dict())
    each = labelled(0)
    for cotrain in (plain, watched[0]):
        torch.manual_seed(0)
        cotrain(each, domain=each["is_target"], step=0).total.backward()
    for one, other in zip(plain.parameters(), watched[0].parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=0)
    watched[1].remove()
    watched[0](each, domain=each["is_target"], step=1)
    assert [step for step, _ in received] == [0]


def test_a_watch_records_the_steps_of_an_installed_method_too():
    received: list = []
    cotrain, _ = wrapped(1, received)
    cotrain.install(domain=lambda batch: batch["is_target"], step=lambda: 7)
    cotrain.policy.compute_loss(labelled(0))
    ((step, values),) = received
    assert step == 7 and values["raw/domain_classifier"] > 0


def test_checks_and_evaluations_are_not_recorded():
    received: list = []
    cotrain, watch = wrapped(1, received)
    each = labelled(0)
    cotrain.check(each, domain=each["is_target"])
    with torch.no_grad():
        cotrain(each, domain=each["is_target"], step=0)
    assert not received and not watch.values


def test_a_watch_needs_the_step():
    cotrain, _ = wrapped(1, [])
    with pytest.raises(ValueError, match="got step=None"):
        cotrain(labelled(0), domain=labelled(0)["is_target"])
