"""Known codebases' policies: the seam is found, losses are theirs, terms and weights reach what they should."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cotrain_losses import MMD, CoTrain, DomainGuidance, Method, Seam
from cotrain_losses.policy import adapters, collect_features
from cotrain_losses.policy.adapters import Adapter, over_tokens
from cotrain_losses.policy.paths import network
from tests.adapted import case, joined, named
from tests.fakes import Case, diffusion_policy, gr00t, multi_task_dit, robomimic, vla
from tests.toy import Policy
from tests.toy import batch as toy_batch

FROZEN = [(diffusion_policy, 1), (diffusion_policy, 2)]  # no encoder before the head


def domain(c: Case) -> Tensor:
    return torch.arange(c.samples) % 2 == 0


def gradients(policy: Any) -> dict[str, Tensor]:
    return {name: p.grad for name, p in network(policy).named_parameters() if p.grad is not None}


@named
def test_a_wrapped_policy_has_the_loss_and_gradients_of_the_bare_one_to_the_bit(module: Any, k: int) -> None:
    bare, wrapped = case(module, k), case(module, k)
    torch.manual_seed(1)
    bare.per_sample(bare.policy).mean().backward()
    cotrain = joined(wrapped, Method(guidance=DomainGuidance()))  # attaching guidance changes nothing at step 0
    torch.manual_seed(1)
    losses = cotrain(wrapped.batch, domain=domain(wrapped))
    losses.total.backward()
    torch.testing.assert_close(gradients(wrapped.policy), gradients(bare.policy), rtol=1e-6, atol=1e-7)
    assert (
        cotrain.guidance is not None and cotrain.guidance.table is not None and cotrain.guidance.table.grad is not None
    )


@named
def test_sample_weights_are_the_truly_weighted_loss(module: Any, k: int) -> None:
    weighted, truth = case(module, k), case(module, k)
    weight = torch.tensor([0.0, 2.0, 0.5, 1.0, 3.0, 0.1])
    torch.manual_seed(1)
    joined(weighted, Method())(weighted.batch, domain=domain(weighted), weight=weight).total.backward()
    torch.manual_seed(1)
    (weight * truth.per_sample(truth.policy)).mean().backward()
    torch.testing.assert_close(gradients(weighted.policy), gradients(truth.policy), rtol=1e-5, atol=1e-7)


@named
def test_check_finds_the_seam_and_weights_that_reach_all(module: Any, k: int) -> None:
    c = case(module, k)
    weight = 0.0 if (module, k) in FROZEN else 0.1
    found = joined(c, Method(regularizer=weight * MMD())).check(c.batch, domain=domain(c))
    assert found.features is not None and found.features[0] == c.samples
    assert found.weights_reach_all and found.gradient is ((module, k) not in FROZEN)


@named
def test_a_term_at_the_seam_trains_what_lies_before_it(module: Any, k: int) -> None:
    c = case(module, k)
    cotrain = joined(c, Method(regularizer=0.1 * MMD()))
    if (module, k) in FROZEN:
        with pytest.raises(ValueError, match="must carry a gradient"):
            cotrain(c.batch, domain=domain(c))
        return
    bare = case(module, k)
    for run, policy in ((cotrain, c.policy), (joined(bare, Method()), bare.policy)):
        torch.manual_seed(1)
        run(c.batch, domain=domain(c)).total.backward()
        assert gradients(policy)
    ours, theirs = gradients(c.policy), gradients(bare.policy)
    changed = [name for name in theirs if not torch.allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-9)]
    behind = (cotrain.seam.head or "").removeprefix("nets.")  # type: ignore[union-attr]
    assert changed and not any(behind in name for name in changed)


def test_tokens_that_are_padding_do_not_enter_the_features() -> None:
    c = case(gr00t, 0)
    cotrain = CoTrain(c.policy, Method(regularizer=0.0 * MMD()))
    value = lambda: cotrain(c.batch, domain=domain(c)).raw["mmd"]
    before = value()
    c.batch["tokens"][~c.batch["mask"]] = 100.0
    assert torch.equal(value(), before)


def test_an_algo_that_keeps_its_loss_to_itself_says_how_to_train_it() -> None:
    algo, batch = robomimic.DiffusionPolicyUNet(), robomimic.cases()[0].batch
    with pytest.raises(ValueError, match=r"keeps its loss inside train_on_batch.*cotrain\.install"):
        CoTrain(algo, Method())(batch, domain=torch.arange(6) % 2)


def test_the_features_of_gr00t_are_the_mean_of_the_tokens_that_are_not_padding() -> None:
    c = case(gr00t, 0)
    seam, labels = CoTrain(c.policy, Method()).seam, torch.zeros(6, dtype=torch.bool)
    collected = collect_features(c.policy, [c.batch], seams=[seam], domain=lambda batch: labels)
    embedded, mask = c.policy.action_head.vlln(c.policy.backbone(c.batch["tokens"])), c.batch["mask"]
    expected = torch.stack([embedded[i][mask[i]].mean(0) for i in range(6)])
    torch.testing.assert_close(next(iter(collected.source.layers.values())), expected)


def test_a_frozen_encoder_refuses_a_term_and_keeps_the_rest() -> None:
    policy, batch = vla.SmolVLAPolicy(), vla.lerobot_batch()  # frozen by default
    is_target = torch.arange(vla.B) % 2 == 0
    with pytest.raises(ValueError, match="must carry a gradient"):
        CoTrain(policy, Method(regularizer=0.1 * MMD()))(batch, domain=is_target)
    method = Method(regularizer=0.0 * MMD(), guidance=DomainGuidance())
    losses = CoTrain(policy, method)(batch, domain=is_target, weight=torch.ones(vla.B))
    assert losses.raw["mmd"] != 0.0


class Owner(nn.Module):
    """A policy of no codebase listed: a loss of its own name, features from a module, a head called `net`."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Policy()

    def objective(self, batch: Any) -> Tensor:
        return self.inner.compute_loss(batch)


def test_one_object_teaches_a_codebase_not_listed() -> None:
    with pytest.raises(ValueError, match=r"for a Owner, which no adapter knows\. Say where the features are"):
        CoTrain(Owner(), Method(regularizer=0.1 * MMD()))

    class DiffusionPolicies(nn.Module):
        """Of no codebase listed, but of such a name."""

    with pytest.raises(ValueError, match=r"no adapter knows \(it knows lerobot DiffusionPolicy.*\)\. Say where"):
        CoTrain(DiffusionPolicies(), Method(regularizer=0.1 * MMD()))
    seam = Seam(head="inner.head", condition="condition", width=4)
    adapters.register(taught := Adapter("test_adapters", "Owner", seam, "objective"))
    try:
        batch, is_target = toy_batch(), torch.arange(6) % 2 == 0
        losses = CoTrain(Owner(), Method(regularizer=0.1 * MMD()))(batch, domain=is_target)
        assert losses.regularizer != 0.0
        compiled = torch.compile(Owner(), backend="eager")
        assert adapters.find(compiled) is adapters.find(Owner()) is not None
    finally:
        adapters.unregister(taught)


def test_a_subclass_of_a_known_policy_is_known() -> None:
    class Mine(multi_task_dit.MultiTaskDiTPolicy):
        pass

    assert adapters.find(Mine()) is adapters.find(multi_task_dit.MultiTaskDiTPolicy()) is not None


def test_a_batch_that_gr00t_expands_weighs_and_compares_as_its_samples() -> None:
    weighted, truth, weight = case(gr00t, 3), case(gr00t, 3), torch.tensor([0.0, 2.0, 0.5, 1.0, 3.0, 0.1])
    for c in (weighted, truth):
        c.policy._groot_model.action_head.config.expand_batch = 3
    cotrain = joined(weighted, Method(regularizer=0.0 * MMD()))
    check = cotrain.check(weighted.batch, domain=domain(weighted))
    assert check.features is not None and check.features[0] == 6
    assert check.turned is not None and check.turned < 1e-6
    torch.manual_seed(1)
    cotrain(weighted.batch, domain=domain(weighted), weight=weight).total.backward()
    torch.manual_seed(1)
    each = truth.policy._groot_model(truth.batch)["action_loss"].sum((1, 2)).reshape(3, 6)
    ((weight * each).sum() / (3 * truth.batch["action_mask"].sum())).backward()
    ours, theirs = gradients(weighted.policy), gradients(truth.policy)
    torch.testing.assert_close(ours, {name: theirs[name] for name in ours}, rtol=1e-5, atol=1e-7)


def test_a_setting_that_has_no_seam_is_refused() -> None:
    local = diffusion_policy.DiffusionUnetHybridImagePolicy()
    local.condition = lambda obs: {"local_cond": None, "global_cond": None}
    with pytest.raises(TypeError, match="reads argument 'global_cond' of model as a tensor, got NoneType"):
        CoTrain(local, Method(regularizer=0.1 * MMD()))(diffusion_policy.cases()[0].batch, domain=torch.arange(6) % 2)


def test_a_policy_without_the_parts_of_its_adapter_is_told_so() -> None:
    policy = multi_task_dit.MultiTaskDiTPolicy()
    policy.predictor = policy.noise_predictor
    del policy.noise_predictor
    with pytest.raises(ValueError, match="has the parts of none"):
        CoTrain(policy, Method())


def test_features_of_tokens_are_their_mean() -> None:
    z = torch.randn(2, 3, 4)
    expected = [[sum(z[i, t, k].item() for t in range(3)) / 3 for k in range(4)] for i in range(2)]
    torch.testing.assert_close(over_tokens(z), torch.tensor(expected))
