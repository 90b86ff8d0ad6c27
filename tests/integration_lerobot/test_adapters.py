"""The adapters of LeRobot's policies, against the classes of LeRobot 0.6.1."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import lerobot_policies
import pytest
import torch
import vlas
from torch import Tensor
from torch._dynamo import config
from torch._dynamo.utils import counters
from weighted import assert_truly_weighted

from cotrain_losses import MMD, CoTrain, DomainClassifier, DomainGuidance, Method

pytestmark = pytest.mark.integration_lerobot


SMALL: dict[str, Callable[[Path], Any]] = {
    name: lambda _, make=make: make()  # type: ignore[misc]
    for name, make in lerobot_policies.POLICIES.items()
}
POLICIES = SMALL | vlas.POLICIES
SAMPLED = [*list(SMALL)[:3], *vlas.SAMPLED]
HALF = torch.arange(vlas.B) % 2 == 0
every = pytest.mark.parametrize("kind", POLICIES)


def made(kind: str, folder: Path) -> tuple[Any, dict[str, Any]]:
    torch.manual_seed(0)
    policy = POLICIES[kind](folder).train()
    return policy, (lerobot_policies if kind in SMALL else vlas).batch(policy)


@every
def test_sample_weights_are_the_truly_weighted_loss(kind: str, tmp_path: Path) -> None:
    ours, data = made(kind, tmp_path)
    truth = copy.deepcopy(ours)
    assert_truly_weighted(ours, truth, data, (lerobot_policies if kind in SMALL else vlas).per_sample)


@every
def test_the_check_finds_features_and_weights_that_reach_all(kind: str, tmp_path: Path) -> None:
    policy, data = made(kind, tmp_path)
    state_only = kind == "diffusion, state"
    found = CoTrain(policy, Method(regularizer=(0.0 if state_only else 0.1) * MMD())).check(data, domain=HALF)
    assert found.features is not None and found.features[0] == vlas.B
    assert found.weights_reach_all and found.gradient is not state_only


@every
def test_terms_reach_the_encoder_and_their_own_parameters(kind: str, tmp_path: Path) -> None:
    policy, data = made(kind, tmp_path)
    if kind == "diffusion, state":
        return  # nothing to align: no parameter before the seam
    width = CoTrain(policy, Method(regularizer=0.0 * MMD())).check(data, domain=HALF).features[1]  # type: ignore[index]
    bare = gradients(policy, lambda: policy.forward(data)[0])
    classifier = DomainClassifier(width, hidden=(16,))
    cotrain = CoTrain(policy, Method(regularizer=-0.05 * classifier + 0.05 * MMD()))
    aligned = gradients(policy, lambda: cotrain(data, domain=HALF).total)
    assert {name for name in bare if not torch.equal(bare[name], aligned[name])}
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in classifier.parameters())


def gradients(policy: Any, loss: Callable[[], Tensor]) -> dict[str, Tensor]:
    policy.zero_grad()
    torch.manual_seed(1)
    loss().backward()
    return {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", SAMPLED)
def test_sampled_chunks_are_guided_and_so_is_an_averaged_copy(kind: str, tmp_path: Path) -> None:
    policy, data = made(kind, tmp_path)
    names, chunk = set(policy.state_dict()), lerobot_policies if kind in SMALL else vlas
    cotrain = CoTrain(policy, Method(guidance=DomainGuidance()))
    ema = copy.deepcopy(policy).eval()
    assert set(policy.state_dict()) == names

    def actions(which: Any, **guided: Any) -> Tensor:
        torch.manual_seed(2)
        which.reset()
        with cotrain.guided(which, **guided):
            return sampled(which, data)

    policy.eval().reset()
    torch.manual_seed(2)
    bare = sampled(policy, data)
    assert len(bare) == chunk.B
    for scale in (0.0, 0.5, 1.0, 3.0):
        torch.testing.assert_close(actions(policy, scale=scale), bare, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        cotrain.guidance.table.normal_()  # type: ignore[union-attr]
    assert torch.equal(actions(policy, scale=0.0), bare)
    assert not torch.allclose(actions(policy, scale=1.0), bare, atol=1e-3)
    assert not torch.allclose(actions(policy, scale=3.0), actions(policy, scale=1.0), atol=1e-3)
    torch.testing.assert_close(actions(ema, scale=3.0), actions(policy, scale=3.0), rtol=1e-4, atol=1e-4)


def sampled(policy: Any, data: dict[str, Any]) -> Tensor:
    """(b, steps, action) what the policy does with the last of a batch's observations."""
    if policy.name in ("diffusion", "act", "vqbet", "multi_task_dit"):
        now = {name: x[:, 0] if "language" not in name else x for name, x in data.items() if "observation" in name}
        return torch.stack([policy.select_action(dict(now)) for _ in range(4)], 1)
    return policy.predict_action_chunk({name: x for name, x in data.items() if name != "action"})  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore")  # of the compiler's doings while it traces
@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_a_compiled_step_under_checkpointing_is_the_plain_one(checkpointed: bool, told: bool) -> None:
    """One graph, where no checkpoint may repeat a side effect."""
    method = Method(
        regularizer=0.1 * MMD(),
        guidance=DomainGuidance(drop=0.0),
        weights=lambda samples: 1.0 + samples.is_target.float(),
    )
    found, real = [], torch.compile
    for compiled in (False, True):
        torch.manual_seed(0)
        torch.compiler.reset()
        counters.clear()
        with patch.object(torch, "compile", lambda call, mode: real(call, backend="aot_eager")):
            policy = vlas.pi("pi05", gradient_checkpointing=checkpointed, compile_model=compiled).train()
        cotrain, data = CoTrain(policy, method.fresh()), vlas.batch(policy)

        def total(cotrain: CoTrain = cotrain, data: Any = data) -> Tensor:
            torch.manual_seed(1)
            return cotrain(data, domain=HALF).total

        with config.patch(skip_fwd_side_effects_in_bwd_under_checkpoint=told):
            found.append({"total": total().detach(), **gradients(policy, total)})
    torch.testing.assert_close(*found)
    assert bool(counters["graph_break"]) == (checkpointed and not told)
    assert counters["stats"]["unique_graphs"] == 1 or (checkpointed and not told)
