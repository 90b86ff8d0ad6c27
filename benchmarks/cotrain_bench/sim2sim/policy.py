"""A flow-matching policy over chunks of actions, as anyone would write it.

    a^t = (1 - t) noise + t a        velocity v(a^t, t, z) ~ a - noise        z = f(two observations)

Lipman et al., "Flow Matching for Generative Modeling", ICLR 2023; chunks of actions as in Zhao et al., RSS 2023.
Nothing here knows of domains or co-training; `seam` says where the features pass.  A policy that sees differs in f:

    z = f(conv(view 1), conv(view 2), proprioception)          two observations are stacked as channels of one picture
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import cotrain_losses as ctl

from .images import PIXELS, PROPRIOCEPTION
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
        noise, time = torch.randn_like(actions), torch.rand(len(actions), device=actions.device)
        t = time[:, None, None]
        velocity = self.velocity((1 - t) * noise + t * actions, time, condition=self.encode(batch["observations"]))
        return F.mse_loss(velocity, actions - noise)

    @torch.no_grad()
    def predict_action(self, observations: Tensor) -> Tensor:
        z = self.encode(observations)
        chunk = torch.randn(len(z), self.horizon, self.action, device=z.device)
        for step in range(self.euler):
            time = torch.full((len(z),), step / self.euler, device=z.device)
            chunk = chunk + self.velocity(chunk, time, condition=z) / self.euler
        return chunk * self.action_std + self.action_mean


def flow(spaces: Spaces) -> FlowPolicy:
    """The suite's own policy."""
    policy = FlowPolicy(spaces.observation, spaces.action, steps=spaces.steps, horizon=spaces.horizon)
    policy.fit_normalizer(spaces.observations, spaces.actions)
    return policy


class StemmedFlowPolicy(FlowPolicy):
    """One stem a domain, one trunk: observations end in two columns that tell the domain and so choose its stem."""

    def __init__(self, observation: int, action: int, *, steps: int = 2, width: int = 128, **how: int) -> None:
        super().__init__(observation, action, steps=steps, width=width, **how)
        self.stems = nn.ModuleList(nn.Linear(steps * (observation - 2), 256) for _ in range(2))
        self.encoder = nn.Sequential(nn.SiLU(), *mlp(256, 256, width))

    def encode(self, observations: Tensor) -> Tensor:
        seen = ((observations - self.observation_mean) / self.observation_std)[..., :-2].flatten(1)
        own = sum(observations[:, -1, k - 2, None] * stem(seen) for k, stem in enumerate(self.stems))
        z: Tensor = self.encoder(own)
        return z


def stemmed(spaces: Spaces) -> StemmedFlowPolicy:
    """The suite's own policy with a stem for each domain; a cell of it tells the domain (`label`)."""
    policy = StemmedFlowPolicy(spaces.observation, spaces.action, steps=spaces.steps, horizon=spaces.horizon)
    policy.fit_normalizer(spaces.observations, spaces.actions)
    return policy


class ImageFlowPolicy(FlowPolicy):
    """Observations (b, steps, 2 pixels^2 3 + 4), as `images` lays them out, -> actions (b, horizon, a)."""

    def __init__(
        self, action: int, *, pixels: int = PIXELS, steps: int = 2, horizon: int = 8, width: int = 128, euler: int = 10
    ) -> None:
        super().__init__(PROPRIOCEPTION, action, steps=steps, horizon=horizon, width=width, euler=euler)
        self.pixels, self.encoder = pixels, PictureEncoder(pixels, steps, width)

    def fit_normalizer(self, observations: Tensor, actions: Tensor) -> None:
        """Take means and standard deviations from frames (n, o) and (n, a); pixels are left as they are."""
        super().fit_normalizer(observations[:, -PROPRIOCEPTION:].float(), actions)

    def encode(self, observations: Tensor) -> Tensor:
        pixels, own = observations.float().tensor_split([-PROPRIOCEPTION], dim=-1)
        z: Tensor = self.encoder(pixels / 255 - 0.5, (own - self.observation_mean) / self.observation_std)
        return z


class PictureEncoder(nn.Module):
    """Both views through convolutions of their own, then joined with the robot's own state."""

    def __init__(self, pixels: int, steps: int, width: int) -> None:
        super().__init__()
        self.pixels, side = pixels, -(-pixels // 8)
        self.views = nn.ModuleList(_convolutions(3 * steps) for _ in range(2))
        self.head = mlp(2 * 64 * side * side + steps * PROPRIOCEPTION, 256, width)

    def forward(self, pixels: Tensor, own: Tensor) -> Tensor:
        pictures = pixels.view(*pixels.shape[:2], 2, self.pixels, self.pixels, 3)
        seen = pictures.permute(2, 0, 1, 5, 3, 4).flatten(2, 3)  # view, b, step and colour, row, column
        features = [view(self.prepared(picture)).flatten(1) for view, picture in zip(self.views, seen, strict=True)]
        z: Tensor = self.head(torch.cat([*features, own.flatten(1)], dim=1))
        return z

    def prepared(self, pictures: Tensor) -> Tensor:
        """(b, steps * 3, pixels, pixels) of one view, as its convolutions are given them."""
        return pictures


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
