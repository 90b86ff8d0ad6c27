"""A flow-matching policy over chunks of actions, as anyone would write it.

    a^t = (1 - t) noise + t a        velocity v(a^t, t, z) ~ a - noise        z = f(two observations)

Lipman et al., "Flow Matching for Generative Modeling", ICLR 2023; chunks of actions as in Zhao et al., RSS 2023.
Nothing here knows of domains or co-training; `seam` says where the features pass.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import cotrain_losses as ctl

if TYPE_CHECKING:
    from .policies import Spaces


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers from width to width with SiLU between them."""
    layers = [layer for sizes in pairwise(widths) for layer in (nn.Linear(*sizes), nn.SiLU())]
    return nn.Sequential(*layers[:-1])


class Velocity(nn.Module):
    """The head: velocity of a noisy chunk (b, h, a) at times (b,), given a condition (b, width)."""

    frequencies: Tensor

    def __init__(self, horizon: int, action: int, width: int, hidden: int = 256) -> None:
        super().__init__()
        self.register_buffer("frequencies", math.pi * 2.0 ** torch.arange(8))
        self.net = mlp(horizon * action + 16 + width, hidden, hidden, hidden, horizon * action)

    def forward(self, noisy: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        angles = time[:, None] * self.frequencies
        inputs = torch.cat([noisy.flatten(1), angles.sin(), angles.cos(), condition], dim=1)
        velocity: Tensor = self.net(inputs)
        return velocity.view_as(noisy)


class FlowPolicy(nn.Module):
    """Observations (b, steps, o) -> actions (b, horizon, a)."""

    seam = ctl.Seam(head="velocity", condition="condition")
    encoder: nn.Module
    observation_mean: Tensor
    observation_std: Tensor
    action_mean: Tensor
    action_std: Tensor

    def __init__(
        self, observation: int, action: int, *, steps: int = 2, horizon: int = 8, width: int = 128, euler: int = 10
    ) -> None:
        super().__init__()
        self.horizon, self.action, self.width, self.euler = horizon, action, width, euler
        self.encoder = nn.Sequential(nn.Flatten(), *mlp(steps * observation, 256, 256, width))
        self.velocity = Velocity(horizon, action, width)
        for name, size in (("observation", observation), ("action", action)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))

    def fit_normalizer(self, observations: Tensor, actions: Tensor) -> None:
        """Take means and standard deviations from frames (n, o) and (n, a)."""
        for name, values in (("observation", observations), ("action", actions)):
            getattr(self, f"{name}_mean").copy_(values.mean(0))
            getattr(self, f"{name}_std").copy_(values.std(0).clamp_min(1e-3))

    def encode(self, observations: Tensor) -> Tensor:
        z: Tensor = self.encoder((observations - self.observation_mean) / self.observation_std)
        return z

    def compute_loss(self, batch: dict[str, Tensor]) -> Tensor:
        actions = (batch["actions"] - self.action_mean) / self.action_std
        noise, time = torch.randn_like(actions), torch.rand(len(actions))
        t = time[:, None, None]
        velocity = self.velocity((1 - t) * noise + t * actions, time, condition=self.encode(batch["observations"]))
        return F.mse_loss(velocity, actions - noise)

    @torch.no_grad()
    def predict_action(self, observations: Tensor) -> Tensor:
        z = self.encode(observations)
        chunk = torch.randn(len(z), self.horizon, self.action)
        for step in range(self.euler):
            time = torch.full((len(z),), step / self.euler)
            chunk = chunk + self.velocity(chunk, time, condition=z) / self.euler
        return chunk * self.action_std + self.action_mean


def flow(spaces: Spaces) -> FlowPolicy:
    """The suite's own policy."""
    policy = FlowPolicy(spaces.observation, spaces.action, steps=spaces.steps, horizon=spaces.horizon)
    policy.fit_normalizer(spaces.observations, spaces.actions)
    return policy
