"""act-plus-plus 26bab078 (policy.py): a class that defines `__call__`, for training and for sampling."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from . import Case
from .parts import ConditionalUnet1D, Scheduler

B, H, Da = 6, 4, 2


class DiffusionPolicy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        policy = nn.ModuleDict({"linears": nn.Linear(3, 5), "noise_pred_net": ConditionalUnet1D(Da, 7)})
        self.nets, self.noise_scheduler = nn.ModuleDict({"policy": policy}), Scheduler()

    def __call__(self, qpos: Tensor, image: Tensor, actions: Any = None, is_pad: Any = None) -> Any:
        net = self.nets["policy"]
        cond = torch.cat([torch.tanh(net["linears"](image)), qpos], 1)  # type: ignore[index]
        if actions is None:
            return self.sampled(cond)
        each = self.losses(cond, actions, is_pad)
        return {"l2_loss": each.mean(), "loss": each.mean()}

    def losses(self, cond: Tensor, actions: Tensor, is_pad: Tensor) -> Tensor:
        noise = torch.randn(actions.shape)
        timesteps = torch.randint(0, Scheduler.levels, (len(actions),))
        noisy = self.noise_scheduler.add_noise(actions, noise, timesteps)
        predicted = self.nets["policy"]["noise_pred_net"](noisy, timesteps, global_cond=cond)  # type: ignore[index]
        return ((predicted - noise).square() * ~is_pad[..., None]).mean((1, 2))

    def per_sample(self, qpos: Tensor, image: Tensor, actions: Tensor, is_pad: Tensor) -> Tensor:
        net = self.nets["policy"]
        return self.losses(torch.cat([torch.tanh(net["linears"](image)), qpos], 1), actions, is_pad)  # type: ignore[index]

    @torch.no_grad()
    def sampled(self, cond: Tensor) -> Tensor:
        action = torch.randn(len(cond), H, Da)
        for k in self.noise_scheduler.timesteps:
            net = self.nets["policy"]["noise_pred_net"]  # type: ignore[index]
            action = self.noise_scheduler.step(net(sample=action, timestep=k, global_cond=cond), k, action)
        return action


def cases() -> list[Case]:
    batch = (torch.randn(B, 2), torch.randn(B, 3), torch.randn(B, H, Da), torch.rand(B, H) > 0.8)
    return [Case(DiffusionPolicy(), batch, lambda p: p.per_sample(*batch), lambda p: p(*batch[:2]), B)]
