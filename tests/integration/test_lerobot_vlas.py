"""The adapters of LeRobot's vision-language-action policies, against LeRobot 0.4.4's own classes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import lerobot_vlas as real
import pytest
import torch
from torch import Tensor
from weighted import assert_truly_weighted

from cotrain_losses import MMD, CoTrain, DomainGuidance, Method
from cotrain_losses.policy import adapters

pytestmark = pytest.mark.integration
HALF = torch.arange(real.B) % 2 == 0
every = pytest.mark.parametrize("kind", real.POLICIES)


def made(kind: str, folder: Path) -> tuple[Any, dict[str, Tensor]]:
    torch.manual_seed(0)
    policy = real.POLICIES[kind](folder)
    policy.train()
    return policy, real.batch()


@every
def test_sample_weights_are_the_truly_weighted_loss(kind: str, tmp_path: Path) -> None:
    ours, data = made(kind, tmp_path)
    truth = copy.deepcopy(ours)
    assert_truly_weighted(ours, truth, data, real.per_sample)


@every
def test_the_check_finds_features_and_weights_that_reach_all(kind: str, tmp_path: Path) -> None:
    policy, data = made(kind, tmp_path)
    found = CoTrain(policy, Method(regularizer=0.1 * MMD())).check(data, domain=HALF)
    assert found.features is not None and found.features[0] == real.B
    assert found.weights_reach_all and found.gradient


@every
def test_sampled_chunks_are_guided_and_so_is_an_averaged_copy(kind: str, tmp_path: Path) -> None:
    policy, data = made(kind, tmp_path)
    cotrain = CoTrain(policy, Method(guidance=DomainGuidance()))
    ema = copy.deepcopy(policy).eval()

    def chunk(which: Any, **guided: Any) -> Tensor:
        torch.manual_seed(2)
        with cotrain.guided(which, **guided):
            return which.predict_action_chunk(dict(data))

    torch.manual_seed(2)
    bare = policy.predict_action_chunk(dict(data))
    assert bare.shape == (real.B, real.H, real.ACTION)
    for scale in (0.0, 0.5, 1.0, 3.0):
        torch.testing.assert_close(chunk(policy, scale=scale), bare, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        cotrain.guidance.table.normal_()  # type: ignore[union-attr]
    assert not torch.allclose(chunk(policy, scale=1.0), bare, atol=1e-3)
    assert not torch.allclose(chunk(policy, scale=3.0), chunk(policy, scale=1.0), atol=1e-3)
    torch.testing.assert_close(chunk(ema, scale=3.0), chunk(policy, scale=3.0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["pi0", "pi05"])
def test_the_released_pi_policies_have_the_parts_their_adapters_name(kind: str) -> None:
    policy = real.as_released(kind)
    seam = CoTrain(policy, Method(guidance=DomainGuidance(), regularizer=0.1 * MMD())).seam
    assert seam is not None and seam.condition_width(policy) == 1024  # Gemma 300M
    assert adapters.find(policy).seam_of(policy) is seam  # type: ignore[union-attr]


def test_a_frozen_smolvla_refuses_a_term_and_keeps_the_rest(tmp_path: Path) -> None:
    torch.manual_seed(0)
    policy, data = real.smolvla(tmp_path).train(), real.batch()  # frozen by default
    with pytest.raises(ValueError, match="must carry a gradient"):
        CoTrain(policy, Method(regularizer=0.1 * MMD()))(data, domain=HALF)
    method = Method(regularizer=0.0 * MMD(), guidance=DomainGuidance())
    losses = CoTrain(policy, method)(data, domain=HALF, weight=torch.ones(real.B))
    losses.total.backward()
    assert losses.raw["mmd"] != 0.0
