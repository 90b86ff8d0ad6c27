"""huggingface/lerobot 7427f318, policies/multi_task_dit/modeling_multi_task_dit.py: the observation encoder is called
through its method `encode`, the noise predictor as a module with `conditioning_vec`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from . import Case, named
from .parts import Steps, images

B, To, H, Da = 6, 2, 4, 2


class ObservationEncoder(nn.Module):
    conditioning_dim = To * 7

    def __init__(self) -> None:
        super().__init__()
        self.vision_encoder = nn.Conv2d(3, 4, 3)

    def encode(self, batch: Any) -> Tensor:
        seen = self.vision_encoder(batch["observation.images"].flatten(0, 1)).mean((2, 3)).reshape(B, To, -1)
        return torch.cat([seen, batch["observation.state"]], -1).flatten(1)


class DiffusionTransformer(nn.Module):
    def __init__(self, conditioning_dim: int, width: int = 8) -> None:
        super().__init__()
        self.conditioning_dim = conditioning_dim
        self.time_mlp = nn.Sequential(Steps(width), nn.Linear(width, width))
        self.input_proj, self.output_proj = nn.Linear(Da, width), nn.Linear(width, Da)
        self.modulation = nn.Linear(width + conditioning_dim, width)

    def forward(self, x: Tensor, timestep: Tensor, conditioning_vec: Tensor) -> Tensor:
        cond = torch.cat([self.time_mlp(timestep), conditioning_vec], -1)
        return self.output_proj(torch.tanh(self.input_proj(x) + self.modulation(cond)[:, None]))


@named("lerobot.policies.multi_task_dit.modeling_multi_task_dit")
class MultiTaskDiTPolicy(nn.Module):
    """The flow-matching objective, integrated by Runge and Kutta's method (four head calls a step)."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_encoder = ObservationEncoder()
        self.noise_predictor = DiffusionTransformer(ObservationEncoder.conditioning_dim)

    def losses(self, batch: Any) -> Tensor:
        cond, data = self.observation_encoder.encode(batch), batch["action"]
        noise, t = torch.randn_like(data), torch.rand(B)
        x_t = t[:, None, None] * data + (1 - t[:, None, None]) * noise
        velocity = self.noise_predictor(x_t, t, conditioning_vec=cond)
        return (velocity - (data - noise)).square().flatten(1).mean(1)

    def forward(self, batch: Any) -> tuple[Tensor, None]:
        return self.losses(batch).mean(), None

    @torch.no_grad()
    def predict_action_chunk(self, batch: Any) -> Tensor:
        self.eval()
        cond, x, dt = self.observation_encoder.encode(batch), torch.randn(B, H, Da), 0.5
        velocity = lambda x, t: self.noise_predictor(x, torch.full((B,), t), conditioning_vec=cond)
        for t in (0.0, 0.5):
            k1 = velocity(x, t)
            k2 = velocity(x + dt * k1 / 2, t + dt / 2)
            k3 = velocity(x + dt * k2 / 2, t + dt / 2)
            x = x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + velocity(x + dt * k3, t + dt))
        return x


def cases() -> list[Case]:
    batch = {
        "observation.images": images(B, To),
        "observation.state": torch.randn(B, To, 3),
        "action": torch.randn(B, H, Da),
    }
    policy = MultiTaskDiTPolicy()
    return [Case(policy, batch, lambda p: p.losses(batch), lambda p: p.predict_action_chunk(batch), B)]
