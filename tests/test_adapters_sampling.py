"""Guided sampling of known codebases' policies: caches, copies, queues and compiled samplers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from cotrain_losses import CoTrain, DomainGuidance, Method
from tests.adapted import COUNTS, case, joined, named, sampled
from tests.fakes import gr00t, vla


@named
def test_guidance_mixes_the_two_predictions_of_every_sampling_step(module: Any, k: int) -> None:
    c = case(module, k)
    cotrain = joined(c, Method(guidance=DomainGuidance()))
    assert c.sample is not None and cotrain.guidance is not None and cotrain.guidance.table is not None

    torch.manual_seed(2)
    bare = c.sample(c.policy)
    for scale in (0.0, 0.5, 1.0, 3.0):  # a zero table: any mixture of equal predictions is the prediction
        torch.testing.assert_close(sampled(cotrain, c, scale), bare, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        cotrain.guidance.table.copy_(torch.randn_like(cotrain.guidance.table))
    torch.testing.assert_close(sampled(cotrain, c, 0.0), bare, rtol=1e-5, atol=1e-5)
    conditional = sampled(cotrain, c, 1.0)
    assert not torch.allclose(conditional, bare) and not torch.allclose(sampled(cotrain, c, 3.0), conditional)
    torch.manual_seed(2)
    torch.testing.assert_close(c.sample(c.policy), bare)  # outside the block it is the bare policy again


@named
def test_an_averaged_copy_is_guided_like_the_policy(module: Any, k: int) -> None:
    c = case(module, k)
    cotrain = joined(c, Method(guidance=DomainGuidance()))
    assert cotrain.guidance is not None and cotrain.guidance.table is not None
    with torch.no_grad():
        cotrain.guidance.table.add_(1.0)
    ema = copy.deepcopy(c.policy)
    torch.manual_seed(3)
    with cotrain.guided():
        expected = c.sample(c.policy)  # type: ignore[misc]
    torch.manual_seed(3)
    with cotrain.guided(ema):
        torch.testing.assert_close(c.sample(ema), expected)  # type: ignore[misc]
    torch.manual_seed(3)
    assert not torch.allclose(c.sample(ema), expected)  # type: ignore[misc]


@pytest.mark.parametrize("k", range(COUNTS[gr00t]))
def test_keys_kept_for_one_condition_do_not_serve_the_other(k: int) -> None:
    c = case(gr00t, k)
    cotrain = CoTrain(c.policy, Method(guidance=DomainGuidance()))
    with torch.no_grad():
        cotrain.guidance.table.normal_()  # type: ignore[union-attr]

    model = getattr(c.policy, "_groot_model", c.policy)
    cached = sampled(cotrain, c, 3.0)
    head = model.action_head.model
    head.register_forward_pre_hook(
        lambda _, args, kw: (args, {**kw, "kv_cache": None} if "kv_cache" in kw else kw), with_kwargs=True
    )
    torch.testing.assert_close(cached, sampled(cotrain, c, 3.0))
    assert not torch.allclose(cached, sampled(cotrain, c, 1.0))


def test_a_copy_of_the_whole_guides_a_sampler_whose_steps_are_a_method() -> None:
    c = case(vla, 0)
    cotrain = CoTrain(c.policy, Method(guidance=DomainGuidance()))
    with torch.no_grad():
        cotrain.guidance.table.add_(1.0)  # type: ignore[union-attr]
    twin = copy.deepcopy(cotrain)
    torch.manual_seed(2)
    with cotrain.guided(scale=3.0):
        expected = c.sample(c.policy)  # type: ignore[misc]
    torch.manual_seed(2)
    with twin.guided(scale=3.0):
        torch.testing.assert_close(c.sample(twin.policy), expected)  # type: ignore[misc]


def test_action_queues_keep_what_was_sampled_until_they_are_reset() -> None:
    policy, batch = vla.PI0Policy(), vla.lerobot_batch()
    cotrain = CoTrain(policy, Method(guidance=DomainGuidance()))
    assert cotrain.guidance is not None and cotrain.guidance.table is not None
    with torch.no_grad():
        cotrain.guidance.table.add_(1.0)
    torch.manual_seed(0)
    with cotrain.guided():
        first = policy.predict_action_chunk(batch)
        torch.manual_seed(0)
        queued = [policy.select_action(batch)]
    queued += [policy.select_action(batch) for _ in range(vla.H - 1)]
    torch.testing.assert_close(torch.stack(queued, 1), first)


@pytest.mark.filterwarnings("ignore")  # dynamo's, of its own doings
def test_a_sampler_compiled_and_run_before_wrapping_is_guided_like_an_eager_one() -> None:
    policy, c = vla.PI0Pytorch(gradient_checkpointing=False).eval(), case(vla, 5)
    policy.sample_actions = torch.compile(policy.sample_actions, backend="eager")  # as openpi's constructor does

    def sampled() -> Tensor:
        torch.manual_seed(0)
        return policy.sample_actions("cpu", c.batch[0])

    bare = sampled()
    cotrain = CoTrain(policy, Method(guidance=DomainGuidance()))
    with torch.no_grad():
        cotrain.guidance.table.add_(1.0)  # type: ignore[union-attr]
    with cotrain.guided(scale=3.0):
        guided = sampled()
    torch.testing.assert_close(sampled(), bare)
    del policy.sample_actions
    with cotrain.guided(scale=3.0):
        torch.testing.assert_close(guided, sampled())
    assert not torch.allclose(guided, bare)
