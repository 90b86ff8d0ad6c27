"""LeRobot 0.4.4's Diffusion, ACT and VQ-BeT policies, wrapped as they are."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import lerobot_policies as real
import pytest
import torch
from torch import Tensor
from weighted import assert_truly_weighted

from cotrain_losses import MMD, CoTrain, DomainClassifier, DomainGuidance, Method, Sinkhorn

pytestmark = pytest.mark.integration
HALF = torch.arange(real.B) % 2 == 0


every = pytest.mark.parametrize("make", real.POLICIES.values(), ids=real.POLICIES.keys())
samplers = pytest.mark.parametrize("make", list(real.POLICIES.values())[:3], ids=list(real.POLICIES)[:3])


def made(make: Callable[[], Any]) -> tuple[Any, Any]:
    torch.manual_seed(0)
    policy = make().train()
    return policy, real.batch(policy)


@every
def test_sample_weights_are_the_truly_weighted_loss(make: Callable[[], Any]) -> None:
    (ours, data), (truth, _) = made(make), made(make)
    assert_truly_weighted(ours, truth, data, real.per_sample)


@every
def test_the_check_finds_features_and_weights_that_reach_all(make: Callable[[], Any]) -> None:
    policy, data = made(make)
    state_only = policy.config.type == "diffusion" and not policy.config.image_features
    found = CoTrain(policy, Method(regularizer=(0.0 if state_only else 0.1) * MMD())).check(data, domain=HALF)
    assert found.features is not None and found.features[0] == real.B
    assert found.weights_reach_all and found.gradient is not state_only


@samplers
def test_select_action_is_guided_and_so_is_an_averaged_copy(make: Callable[[], Any]) -> None:
    policy, data = made(make)
    cotrain = CoTrain(policy, Method(guidance=DomainGuidance()))
    ema, observation = copy.deepcopy(policy).eval(), {k: v[:, 0] for k, v in data.items() if "observation" in k}

    def action(which: Any, **guided: Any) -> Tensor:
        torch.manual_seed(2)
        which.reset()
        with cotrain.guided(which, **guided):
            return torch.stack([which.select_action(observation) for _ in range(4)], 1)

    torch.manual_seed(2)
    policy.eval().reset()
    bare = torch.stack([policy.select_action(observation) for _ in range(4)], 1)
    for scale in (0.0, 0.5, 1.0, 3.0):
        torch.testing.assert_close(action(policy, scale=scale), bare, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        cotrain.guidance.table.normal_()  # type: ignore[union-attr]
    assert not torch.allclose(action(policy, scale=1.0), bare, atol=1e-3)
    torch.testing.assert_close(action(ema, scale=3.0), action(policy, scale=3.0), rtol=1e-4, atol=1e-4)


@every
def test_a_wrapped_policy_trains(make: Callable[[], Any]) -> None:
    policy, data = made(make)
    width = CoTrain(policy, Method(regularizer=0.0 * MMD())).check(data, domain=HALF).features[1]  # type: ignore[index]
    terms = -0.05 * DomainClassifier(width, hidden=(16,)) + 0.05 * Sinkhorn(blur=0.5)
    frozen = policy.config.type == "diffusion" and not policy.config.image_features
    guidance = DomainGuidance() if policy.config.type == "diffusion" else None
    cotrain = CoTrain(policy, Method(regularizer=0.0 * terms if frozen else terms, guidance=guidance))
    parameters = [*policy.parameters(), *cotrain.plugin_parameters()]
    optimizer, losses = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0), []
    for step in range(30):
        torch.manual_seed(step % 2)
        found = cotrain(data, domain=HALF, step=step)
        found.total.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(found.policy))
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


def test_a_codebook_learned_first_leaves_the_seam_alone() -> None:
    policy, data = made(lambda: real.vqbet(steps=3))
    cotrain = CoTrain(policy, Method(regularizer=0.1 * MMD()))
    raws = [cotrain(data, domain=HALF).raw for _ in range(5)]
    assert [bool(raw) for raw in raws] == [False, False, False, True, True]


def test_check_leaves_a_codebook_that_is_being_learned_as_it_is() -> None:
    policy, data = made(lambda: real.vqbet(steps=2))
    cotrain, head = CoTrain(policy, Method(regularizer=0.1 * MMD())), policy.vqbet.action_head.vqvae_model
    before = copy.deepcopy(policy.state_dict())
    for _ in range(3):
        assert cotrain.check(data, domain=HALF).weights_reach_all is None
    assert head.optimized_steps == 0 and not bool(head.discretized)
    torch.testing.assert_close(dict(policy.state_dict()), dict(before), rtol=0, atol=0, equal_nan=True)


def test_low_rank_adapters_of_peft_are_looked_through() -> None:
    from peft import LoraConfig, get_peft_model

    policy, data = made(real.image_diffusion)
    model = get_peft_model(policy, LoraConfig(r=2, target_modules=r".*cond_encoder\.1"))
    method = Method(regularizer=0.1 * MMD(), guidance=DomainGuidance())
    with pytest.raises(ValueError, match="must carry a gradient"):  # the encoder is frozen now
        CoTrain(model, method)(data, domain=HALF)
    model.base_model.model.diffusion.rgb_encoder.requires_grad_(True)
    cotrain = CoTrain(model, method.fresh())
    losses = cotrain(data, domain=HALF, weight=torch.ones(real.B))
    losses.total.backward()
    learned = [name for name, p in model.named_parameters() if p.grad is not None]
    assert any("lora" in name for name in learned) and any("rgb_encoder" in name for name in learned)
    assert losses.regularizer != 0.0
