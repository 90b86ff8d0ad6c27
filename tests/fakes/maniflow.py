"""ManiFlow c631661a (policy/maniflow_image_policy.py): the first 75 % of a batch train a flow, the rest a consistency
model, in two calls of one head; between them the average predicts without gradient."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from . import Case
from .parts import Steps

B, H, Da, To, D = 8, 4, 2, 2, 5


class DiTX(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.action, self.cond, self.steps, self.out = nn.Linear(Da, 8), nn.Linear(D, 8), Steps(8), nn.Linear(8, Da)

    def forward(self, sample: Tensor, timestep: Tensor, target_t: Tensor, vis_cond: Tensor) -> Tensor:
        time = self.steps(10 * timestep) + self.steps(5 * target_t)
        return self.out(torch.tanh(self.action(sample) + (time + self.cond(vis_cond).mean(1))[:, None]))


class ManiFlowPolicy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.obs_encoder, self.model = nn.Sequential(nn.Linear(3, D), nn.Tanh()), DiTX()

    def compute_loss(self, batch: Any, ema_model: Any = None) -> Tensor:
        flow, consistency = self.parts(batch, ema_model)
        return flow.mean() + consistency.mean()

    def parts(self, batch: Any, ema_model: Any = None) -> tuple[Tensor, Tensor]:
        actions, split = batch["action"], int(0.75 * len(batch["action"]))
        cond = self.obs_encoder(batch["obs"].flatten(0, 1)).reshape(len(actions), To, D)
        return (
            self.flow(actions[:split], cond[:split]),
            self.consistency(actions[split:], cond[split:], (ema_model or self).model),
        )

    def flow(self, actions: Tensor, cond: Tensor) -> Tensor:
        t, noise, dt = torch.rand(len(actions)), torch.randn_like(actions), torch.zeros(len(actions))
        x = t[:, None, None] * actions + (1 - t[:, None, None]) * noise
        v = self.model(sample=x, timestep=t, target_t=dt, vis_cond=cond)
        return (v - (actions - noise)).square().mean((1, 2))

    def consistency(self, actions: Tensor, cond: Tensor, average: nn.Module) -> Tensor:
        t, noise, dt = 0.8 * torch.rand(len(actions)), torch.randn_like(actions), 0.1 * torch.rand(len(actions))
        x = t[:, None, None] * actions + (1 - t[:, None, None]) * noise
        with torch.no_grad():
            ahead = average(sample=x, timestep=t + dt, target_t=dt, vis_cond=cond)
        return (self.model(sample=x, timestep=t, target_t=dt, vis_cond=cond) - ahead).square().mean((1, 2))

    def per_sample(self, batch: Any) -> Tensor:
        flow, consistency = self.parts(batch)
        return torch.cat([flow * B / len(flow), consistency * B / len(consistency)])

    @torch.no_grad()
    def predict_action(self, obs: Tensor) -> Tensor:
        cond = self.obs_encoder(obs.flatten(0, 1)).reshape(len(obs), To, D)
        x = torch.randn(len(obs), H, Da)
        for k in range(3):
            x = (
                x
                + self.model(x, torch.full((len(x),), k / 3), target_t=torch.full((len(x),), 1 / 3), vis_cond=cond) / 3
            )
        return x


def cases() -> list[Case]:
    batch = {"obs": torch.randn(B, To, 3), "action": torch.randn(B, H, Da)}
    return [Case(ManiFlowPolicy(), batch, lambda p: p.per_sample(batch), lambda p: p.predict_action(batch["obs"]), B)]


def averaged(policy: ManiFlowPolicy) -> ManiFlowPolicy:
    """What the codebase passes as `ema_model`."""
    return copy.deepcopy(policy)
