"""LeRobot's own DiffusionPolicy and ACT as cells of the suite: trained, evaluated and measured like any other."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cotrain_bench.sim2sim import policies
from cotrain_bench.sim2sim.batches import Budget
from cotrain_bench.sim2sim.cell import Cell
from cotrain_bench.sim2sim.compute import compute
from cotrain_bench.sim2sim.frames import Frames
from cotrain_bench.sim2sim.training import train
from torch import Tensor

import cotrain_losses as ctl

pytestmark = pytest.mark.integration
PAGE = Path(__file__).parents[2] / "docs" / "your-policy.md"
LEROBOT = ("lerobot-diffusion", "lerobot-act")
CELL = Cell(gap="physics", ratio=0.3, target_demos=20, source_demos=60, episodes=20)


def drawn(n: int = 60) -> Frames:
    torch.manual_seed(0)
    return Frames(torch.randn(n, 2, 5), torch.randn(n, 8, 3), torch.arange(n) < n // 4, torch.arange(n) // 10)


def bare(policy: str) -> policies.Factory:
    """The factory without dropout, so that two calls see the same function."""
    make = policies.factory(policy)
    return (lambda spaces: make(spaces, dropout=0.0)) if policy == "lerobot-act" else make


@pytest.mark.parametrize(
    ("policy", "method", "steps"), [("lerobot-diffusion", "cfg", 1000), ("lerobot-act", "adda", 400)]
)
def test_a_cell_of_lerobots_policy_learns_the_task(policy: str, method: str, steps: int) -> None:
    """Plain co-training solved 8 of the 20 episodes with DiffusionPolicy (1000 steps) and 20 with ACT (1000 steps)."""
    row = compute(replace(CELL, policy=policy, method=method, budget=Budget(steps=steps)), lambda share: None)
    assert row["policy"] == policy and row["ratio"] == pytest.approx(0.3, abs=0.01)
    assert math.isfinite(row["loss"]) and row["successes"] >= 1
    assert row["regime"] and len(row["picture"]["features"]["source"]) == 150
    assert ("raw_domain_classifier" in row) == (method == "adda")


@pytest.mark.parametrize(
    ("policy", "method", "reason"),
    [
        ("lerobot-diffusion", "adda", "adda stopped at step 0: .*must carry a gradient"),
        ("lerobot-diffusion", "ot", "ot stopped at step 0: .*must carry a gradient"),
        ("lerobot-act", "cfg", "head is a regression"),
    ],
)
def test_a_method_that_means_nothing_there_is_refused_with_its_reason(policy: str, method: str, reason: str) -> None:
    from cotrain_bench.sim2sim.methods import METHODS, Setting

    with pytest.raises(ValueError, match=reason):
        train(drawn(), lambda w: METHODS[method](Setting(w, 0.3, 1)), Budget(), seed=0, policy=policy, name=method)


@pytest.mark.parametrize("policy", LEROBOT)
def test_sample_weights_reach_the_whole_loss(policy: str) -> None:
    """With all weights zero, three steps of AdamW only decay the parameters."""
    budget = Budget(steps=3, batch_size=16, weight_decay=0.1)
    method = ctl.Method(ratio=0.25, weights=lambda samples: torch.zeros(len(samples.domain)))
    data = drawn()
    trained = train(data, method, budget, seed=0, policy=policy)
    torch.manual_seed(0)
    fresh = dict(policies.made(policy, data.spaces()).named_parameters())
    kept = math.prod(1 - 1e-3 * 0.1 * 0.5 * (1 + math.cos(math.pi * step / 3)) for step in range(3))
    for name, parameter in trained.cotrain.policy.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter, kept * fresh[name])


@pytest.mark.parametrize("policy", LEROBOT)
def test_the_wrapper_gives_lerobot_what_its_own_loop_would(policy: str) -> None:
    """The loss of the wrapper is LeRobot's own on its own processors' batch, and commands come back in their units."""
    data, make = drawn(), bare(policy)
    learner = make(data.spaces()).train()
    few = data[[0, 1, 2, 3]]
    torch.manual_seed(1)
    loss = learner.compute_loss(few)
    actions = few["actions"]
    low, high = (f(data.actions[:, 0], 0) for f in (torch.amin, torch.amax))
    mean, std = data.actions[:, 0].mean(0), data.actions[:, 0].std(0)
    scaled = (actions - mean) / std if policy == "lerobot-act" else 2 * (actions - low) / (high - low) - 1
    torch.manual_seed(1)
    torch.testing.assert_close(loss, own_loss(learner, few["observations"], scaled, data), rtol=1e-4, atol=1e-5)
    chunk = learner.eval().predict_action(data.observations[:7])
    assert chunk.shape == (7, 8, 3) and torch.isfinite(chunk).all()


def own_loss(learner: policies.Policy, observations: Tensor, actions: Tensor, data: Frames) -> Tensor:
    seen, now = observations.flatten(1), data.observations[:, -1].repeat(1, 2)
    padded = torch.zeros(actions.shape[:2], dtype=torch.bool)
    named = {"action": actions, "action_is_pad": padded}
    if learner.policy.config.type == "act":
        seen = (seen - now.mean(0)) / now.std(0)
        named |= {"observation.state": seen, "observation.environment_state": seen}
    else:
        seen = (2 * (seen - now.amin(0)) / (now.amax(0) - now.amin(0)) - 1)[:, None]
        named |= {"observation.state": seen, "observation.environment_state": seen[..., :0]}
    return learner.policy.forward(named)[0]


def test_the_unguided_branch_is_the_bare_policy_and_the_token_changes_it() -> None:
    data = drawn()
    trained = train(data, lambda width: ctl.recipes.cfg(width, ratio=0.25), Budget(steps=3), seed=0, policy=LEROBOT[0])
    with torch.no_grad():
        trained.cotrain.guidance.table.normal_()  # type: ignore[union-attr]

    def act(scale: float | None) -> Tensor:
        torch.manual_seed(2)
        if scale is None:
            return trained.policy.predict_action(data.observations[:5])
        with trained.cotrain.guided(trained.policy, scale=scale):
            return trained.policy.predict_action(data.observations[:5])

    torch.testing.assert_close(act(0.0), act(None))
    assert not torch.allclose(act(1.0), act(None), atol=1e-3)


def test_the_factory_that_the_page_shows_is_another_policy() -> None:
    (block,) = re.findall(r"```py\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, policies.Factory] = {}
    exec(compile(block, str(PAGE), "exec"), names)
    large, small = (policies.made(make, drawn().spaces()) for make in (names["large"], LEROBOT[0]))
    assert sum(p.numel() for p in large.parameters()) > 10 * sum(p.numel() for p in small.parameters())
