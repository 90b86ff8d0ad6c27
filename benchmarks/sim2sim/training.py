"""The user's training loop, with the lines that co-training adds marked."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import cotrain_losses as ctl

from .demos import Demos
from .policy import FlowPolicy


@dataclass(frozen=True)
class Frames:
    """Training samples: two observations, the chunk of commands that follows, the domain."""

    observations: Tensor
    """(n, 2, 25)"""
    actions: Tensor
    """(n, horizon, 4)"""
    is_target: Tensor
    """(n,) bool"""
    episode: Tensor
    """(n,) which demonstration, numbered over both domains"""

    def __getitem__(self, rows: list[int]) -> dict[str, Tensor]:
        return {"observations": self.observations[rows], "actions": self.actions[rows]}


@dataclass(frozen=True)
class Budget:
    """How long and how a policy is trained; the same for every method."""

    steps: int = 2500
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    ema: float = 0.995


@dataclass(frozen=True)
class Trained:
    """A trained policy: its averaged weights, the object that guides it, and what the last losses were."""

    policy: FlowPolicy
    cotrain: ctl.CoTrain
    loss: float
    raw: dict[str, float]
    ratio: float
    """share of target samples that was realised"""


def frames(target: Demos, source: Demos, horizon: int = 8) -> Frames:
    """Every frame of both domains with its past and its chunk; ends are padded with the nearest frame."""
    parts = [_windows(demos, horizon) for demos in (target, source)]
    is_target = torch.arange(sum(len(part[0]) for part in parts)) < len(parts[0][0])
    observations, actions = (torch.cat(side) for side in zip(*parts, strict=True))
    lengths = torch.from_numpy(np.concatenate([target.lengths, source.lengths]))
    return Frames(observations, actions, is_target, torch.arange(len(lengths)).repeat_interleave(lengths))


def train(
    data: Frames,
    method: ctl.Method,
    budget: Budget,
    *,
    seed: int,
    extras: Callable[[Any], dict[str, Tensor]] | None = None,
    tick: Callable[[float], None] = lambda _: None,
) -> Trained:
    """Train a fresh policy with a method.

    Args:
        extras: what the method's terms read of a batch beside the features.
        tick: told the share of the steps that is done.
    """
    torch.manual_seed(seed)
    policy = FlowPolicy(data.observations.shape[-1], data.actions.shape[-1])
    policy.fit_normalizer(data.observations[:, -1], data.actions[:, 0])
    ema = AveragedModel(policy, multi_avg_fn=get_ema_multi_avg_fn(budget.ema))
    seam = ctl.Seam(head="velocity", condition="condition")
    cotrain = ctl.CoTrain(policy, method, seam=seam, loss="compute_loss", extras=extras)
    sampler = ctl.MixedBatchSampler(data.is_target, budget.batch_size, method.ratio, seed=seed)
    optimizer = torch.optim.AdamW(policy.parameters(), budget.learning_rate, weight_decay=budget.weight_decay)
    if plugins := list(cotrain.plugin_parameters()):
        optimizer.add_param_group({"params": plugins, "weight_decay": 0.0})
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, budget.steps)
    batches = itertools.chain.from_iterable(itertools.repeat(sampler))
    running = 0.0
    for step, rows in zip(range(budget.steps), batches, strict=False):
        losses = cotrain(data[rows], domain=data.is_target[rows], step=step)
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        schedule.step()
        ema.update_parameters(policy)
        running += (float(losses.policy) - running) / min(step + 1, 100)
        if step % 50 == 0:
            tick(step / budget.steps)
    raw = {name: float(value) for name, value in losses.raw.items()}
    return Trained(ema.module.eval(), cotrain, running, raw, sampler.realised(budget.steps)["target"])


def _windows(demos: Demos, horizon: int) -> tuple[Tensor, Tensor]:
    observations, actions = [], []
    ends = demos.lengths.cumsum()
    for start, end in zip(ends - demos.lengths, ends, strict=True):
        places = torch.arange(start, end)[:, None]
        observations.append((places + torch.tensor([-1, 0])).clamp(start, end - 1))
        actions.append((places + torch.arange(horizon)).clamp(start, end - 1))
    return (
        torch.from_numpy(demos.observations)[torch.cat(observations)],
        torch.from_numpy(demos.commands)[torch.cat(actions)],
    )
