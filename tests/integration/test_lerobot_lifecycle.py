"""Accelerate, and the queue, EMA and checkpoint of a LeRobot policy with a method attached."""

from __future__ import annotations

import copy
from typing import Any

import lerobot_policies as real
import pytest
import torch

from cotrain_losses import MMD, CoTrain, DomainClassifier, DomainGuidance, Method

pytestmark = pytest.mark.integration
HALF = torch.arange(real.B) % 2 == 0


def joined() -> tuple[CoTrain, Any]:
    torch.manual_seed(0)
    policy = real.act("state", "environment_state").train()
    return CoTrain(policy, Method(regularizer=0.1 * MMD() - 0.05 * DomainClassifier(32, hidden=(8,)))), policy


@pytest.mark.parametrize("inside", ["the policy", "the whole"])
def test_accelerate_prepares_the_policy_or_the_whole(inside: str) -> None:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    cotrain, policy = joined()
    data = real.batch(policy)
    optimizer = torch.optim.AdamW([*policy.parameters(), *cotrain.plugin_parameters()], lr=1e-3)
    torch.manual_seed(1)
    expected = cotrain(data, domain=HALF).total
    if inside == "the whole":
        step, optimizer = accelerator.prepare(cotrain, optimizer)
    else:
        method = cotrain.method.fresh()
        cotrain.unwrap()
        prepared, optimizer = accelerator.prepare(policy, optimizer)
        step = CoTrain(prepared, method)
    torch.manual_seed(1)
    losses = step(data, domain=HALF)
    torch.testing.assert_close(losses.total, expected)
    accelerator.backward(losses.total)
    optimizer.step()


def test_a_saved_policy_loads_without_the_method(tmp_path: Any) -> None:
    cotrain, policy = joined()
    cotrain.install(domain=lambda batch: HALF)
    policy.save_pretrained(tmp_path)
    loaded = type(policy).from_pretrained(tmp_path)
    torch.testing.assert_close(dict(loaded.state_dict()), dict(policy.state_dict()))
    ema = copy.deepcopy(policy)
    data = real.batch(policy)
    torch.manual_seed(1)
    expected = loaded.train().forward(data)[0]
    torch.manual_seed(1)
    torch.testing.assert_close(ema.forward(data)[0], expected)


def test_the_optimizer_groups_lerobot_asks_for_hold_the_method() -> None:
    policy = real.image_diffusion()
    cotrain = CoTrain(policy, Method(guidance=DomainGuidance()))
    cotrain.install(domain=lambda batch: HALF)
    held = {id(p) for group in policy.get_optim_params() for p in group["params"]}
    assert {id(p) for p in cotrain.plugin_parameters()} <= held
