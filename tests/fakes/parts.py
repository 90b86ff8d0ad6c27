"""Small modules with the interface of the ones they stand for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """A convolution modulated by (step embedding, global condition)."""

    def __init__(self, inputs: int, outputs: int, cond_dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, 3, padding=1)
        self.cond_encoder = nn.Sequential(nn.Mish(), nn.Linear(cond_dim, outputs))

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        return torch.tanh(self.conv(x) + self.cond_encoder(cond)[..., None])


class ConditionalUnet1D(nn.Module):
    """forward(sample, timestep, local_cond, global_cond) -> like sample; diffusion_policy 5ba07ac6."""

    def __init__(self, input_dim: int, global_cond_dim: int, diffusion_step_embed_dim: int = 6) -> None:
        super().__init__()
        width = diffusion_step_embed_dim
        self.diffusion_step_encoder = nn.Sequential(Steps(width), nn.Linear(width, width))
        block = ResidualBlock(input_dim, 8, width + global_cond_dim)
        self.down_modules = nn.ModuleList([nn.ModuleList([block, nn.Identity()])])
        self.final_conv = nn.Sequential(nn.Conv1d(8, input_dim, 1))

    def forward(
        self, sample: Tensor, timestep: Any, local_cond: Any = None, global_cond: Any = None, **kwargs: Any
    ) -> Tensor:
        steps = torch.as_tensor(timestep).reshape(-1).expand(len(sample))
        cond = torch.cat([self.diffusion_step_encoder(steps), global_cond], -1)
        return self.final_conv(self.down_modules[0][0](sample.transpose(1, 2), cond)).transpose(1, 2)


class Steps(nn.Module):
    """Sines of a diffusion step."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("frequency", torch.linspace(0.1, 2.0, width))

    def forward(self, steps: Tensor) -> Tensor:
        return torch.sin(steps.to(self.frequency)[:, None] * self.frequency)


class Scheduler:
    """add_noise and a deterministic step over ten levels."""

    levels = 10

    def __init__(self) -> None:
        self.timesteps = torch.arange(self.levels).flip(0)

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        share = (timesteps.to(clean) / self.levels).reshape(-1, *[1] * (clean.ndim - 1))
        return (1 - share) * clean + share * noise

    def step(self, output: Tensor, timestep: Any, sample: Tensor) -> Tensor:
        return sample - output / self.levels


def images(b: int, *lead: int) -> Tensor:
    """(b, *lead, 3, 6, 6) images."""
    return torch.rand(b, *lead, 3, 6, 6)
