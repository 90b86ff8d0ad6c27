"""What the tests of policies of one's own share: frames, and the smallest policy there is."""

from __future__ import annotations

import torch
from cotrain_bench.sim2sim import policies
from cotrain_bench.sim2sim.frames import Frames
from torch import nn

import cotrain_losses as ctl

O, A, H, STEPS = 5, 3, 4, 2


def drawn(target: int = 40, source: int = 200) -> Frames:
    n = target + source
    observations = torch.randn(n, STEPS, O) * 3 + 1
    actions = observations[:, -1:, :A].expand(-1, H, -1) + 0.1 * torch.randn(n, H, A)
    return Frames(observations, actions, torch.arange(n) < target, torch.arange(n) // 20)


class Regression(nn.Module):
    """The smallest policy there is."""

    seam = ctl.Seam(feature="encoder", head="decoder", sampler=False)

    def __init__(self, spaces: policies.Spaces) -> None:
        super().__init__()
        self.chunk = (spaces.horizon, spaces.action)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(spaces.steps * spaces.observation, 16), nn.Tanh())
        self.decoder = nn.Linear(16, spaces.horizon * spaces.action)

    def predict_action(self, observations):
        return self.decoder(self.encoder(observations)).unflatten(1, self.chunk)

    def compute_loss(self, batch):
        return (self.predict_action(batch["observations"]) - batch["actions"]).square().mean()
