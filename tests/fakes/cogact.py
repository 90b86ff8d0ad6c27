"""CogACT b174a1b8 (vla/cogactvla.py, action_model/): the batch is repeated four times for the action model, whose
network's `forward` is handed to the sampling loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from . import Case
from .parts import Scheduler, Steps

B, T, Da, D = 6, 3, 2, 5


class DiT(nn.Module):
    """forward(x, t, z): (n, T, Da), (n,), (n, 1, D) -> (n, T, Da)."""

    def __init__(self) -> None:
        super().__init__()
        self.x_embedder, self.t_embedder, self.z_embedder = nn.Linear(Da, 8), Steps(8), nn.Linear(D, 8)
        self.final_layer = nn.Linear(8, Da)

    def forward(self, x: Tensor, t: Tensor, z: Tensor) -> Tensor:
        c = self.t_embedder(t)[:, None] + self.z_embedder(z)
        return self.final_layer(torch.tanh(self.x_embedder(x) + c))


class ActionModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net, self.diffusion = DiT(), Scheduler()

    def losses(self, x: Tensor, z: Tensor) -> Tensor:
        noise = torch.randn_like(x)
        timestep = torch.randint(0, self.diffusion.levels, (x.size(0),))
        return ((self.net(self.diffusion.add_noise(x, noise, timestep), timestep, z) - noise) ** 2).mean((1, 2))

    def loss(self, x: Tensor, z: Tensor) -> Tensor:
        return self.losses(x, z).mean()


class CogACT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.vlm, self.action_model = nn.Sequential(nn.Linear(4, D), nn.Tanh()), ActionModel()

    def forward(self, batch: Any, repeated_diffusion_steps: int = 4) -> Any:
        k, cognition = repeated_diffusion_steps, self.vlm(batch["pixels"])[:, None]
        return self.action_model.loss(batch["actions"].repeat(k, 1, 1), cognition.repeat(k, 1, 1)), cognition

    def per_sample(self, batch: Any) -> Tensor:
        actions, z = batch["actions"].repeat(4, 1, 1), self.vlm(batch["pixels"])[:, None].repeat(4, 1, 1)
        return self.action_model.losses(actions, z).reshape(4, B).mean(0)

    @torch.no_grad()
    def predict_action(self, pixels: Tensor) -> Tensor:
        return self._loop(self.action_model.net.forward, {"z": self.vlm(pixels)[:, None]})

    def _loop(self, model: Callable[..., Tensor], model_kwargs: Any) -> Tensor:
        x = torch.randn(len(model_kwargs["z"]), T, Da)
        for level in self.action_model.diffusion.timesteps:
            x = self.action_model.diffusion.step(model(x, level.expand(len(x)), **model_kwargs), level, x)
        return x


def cases() -> list[Case]:
    batch = {"pixels": torch.randn(B, 4), "actions": torch.randn(B, T, Da)}
    return [Case(CogACT(), batch, lambda p: p.per_sample(batch), lambda p: p.predict_action(batch["pixels"]), B)]
