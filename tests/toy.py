"""A ten-line policy as users write them: it knows nothing of the library."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Head(nn.Module):
    """Noise prediction from a noised action, a time and a condition."""

    def __init__(self, width: int, actions: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(width + actions + 1, 16), nn.SiLU(), nn.Linear(16, actions))

    def forward(self, noisy: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        return self.net(torch.cat([noisy, time[:, None], condition], -1))


class Policy(nn.Module):
    """A diffusion-like policy: encoder, head, a loss and a sampler."""

    def __init__(self, observations: int = 3, width: int = 4, actions: int = 2) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(observations, 8), nn.SiLU(), nn.Linear(8, width))
        self.head = Head(width, actions)
        self.double()

    def compute_loss(self, batch: dict[str, Tensor]) -> Tensor:
        return self.per_sample(batch).mean()

    def per_sample(self, batch: dict[str, Tensor]) -> Tensor:
        action = batch["action"]
        noise, time = torch.randn_like(action), torch.rand(len(action), dtype=action.dtype, device=action.device)
        noisy = (1 - time[:, None]) * action + time[:, None] * noise
        predicted = self.head(noisy, time, condition=self.encoder(batch["observation"]))
        return (predicted - (noise - action)).square().mean(1)

    @torch.no_grad()
    def sample(self, observation: Tensor, steps: int = 4) -> Tensor:
        action = observation.new_ones(len(observation), 2)
        condition = self.encoder(observation)
        for k in range(steps):
            time = action.new_full((len(action),), 1 - k / steps)
            action = action - self.head(action, time, condition=condition) / steps
        return action


def batch(seed: int = 0, b: int = 6) -> dict[str, Tensor]:
    """b samples of 3 observed numbers and 2 actions."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda d: torch.randn(b, d, generator=generator, dtype=torch.float64)
    return {"observation": draw(3), "action": draw(2)}
