"""A flow-matching policy that sees: two views through small convolutions, beside the robot's own state.

    z = f(conv(view 1), conv(view 2), proprioception)          two observations are stacked as channels of one picture

Everything after z is `FlowPolicy`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .images import PIXELS, PROPRIOCEPTION
from .policy import FlowPolicy, mlp

if TYPE_CHECKING:
    from .policies import Spaces


class ImageFlowPolicy(FlowPolicy):
    """Observations (b, steps, 2 pixels^2 3 + 4), as `images` lays them out, -> actions (b, horizon, a)."""

    def __init__(
        self, action: int, *, pixels: int = PIXELS, steps: int = 2, horizon: int = 8, width: int = 128, euler: int = 10
    ) -> None:
        super().__init__(PROPRIOCEPTION, action, steps=steps, horizon=horizon, width=width, euler=euler)
        self.encoder = _Encoder(pixels, steps, width)

    def fit_normalizer(self, observations: Tensor, actions: Tensor) -> None:
        """Take means and standard deviations from frames (n, o) and (n, a); pixels are left as they are."""
        super().fit_normalizer(observations[:, -PROPRIOCEPTION:].float(), actions)

    def encode(self, observations: Tensor) -> Tensor:
        pixels, own = observations.float().tensor_split([-PROPRIOCEPTION], dim=-1)
        z: Tensor = self.encoder(pixels / 255 - 0.5, (own - self.observation_mean) / self.observation_std)
        return z


class _Encoder(nn.Module):
    def __init__(self, pixels: int, steps: int, width: int) -> None:
        super().__init__()
        self.pixels, side = pixels, -(-pixels // 8)
        self.views = nn.ModuleList(_convolutions(3 * steps) for _ in range(2))
        self.head = mlp(2 * 64 * side * side + steps * PROPRIOCEPTION, 256, width)

    def forward(self, pixels: Tensor, own: Tensor) -> Tensor:
        pictures = pixels.view(*pixels.shape[:2], 2, self.pixels, self.pixels, 3)
        seen = pictures.permute(2, 0, 1, 5, 3, 4).flatten(2, 3)  # view, b, step and colour, row, column
        features = [view(picture).flatten(1) for view, picture in zip(self.views, seen, strict=True)]
        z: Tensor = self.head(torch.cat([*features, own.flatten(1)], dim=1))
        return z


def _convolutions(channels: int) -> nn.Module:
    sizes = ((channels, 16, 5), (16, 32, 3), (32, 64, 3))
    layers = [nn.Conv2d(into, out, size, stride=2, padding=size // 2) for into, out, size in sizes]
    return nn.Sequential(*(module for layer in layers for module in (layer, nn.SiLU())))


def image_flow(spaces: Spaces) -> ImageFlowPolicy:
    """The suite's own policy that sees; how many pixels follows from how many numbers an observation has."""
    pixels = math.isqrt((spaces.observation - PROPRIOCEPTION) // 6)
    policy = ImageFlowPolicy(spaces.action, pixels=pixels, steps=spaces.steps, horizon=spaces.horizon)
    policy.fit_normalizer(spaces.observations, spaces.actions)
    return policy
