"""ARISE-Initiative/robomimic v0.5 d309eaec: algo/diffusion_policy.py, an algo that is no module and whose
train_on_batch keeps forward, loss, backward, step and EMA to itself."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from . import Case, named
from .parts import ConditionalUnet1D, Scheduler

B, To, H, Da = 6, 2, 4, 2


class EMAModel:
    """averaged_model is a deepcopy of the nets."""

    def __init__(self, model: nn.Module) -> None:
        self.averaged_model = copy.deepcopy(model).eval()

    @torch.no_grad()
    def step(self, model: nn.Module) -> None:
        for mine, theirs in zip(self.averaged_model.parameters(), model.parameters(), strict=True):
            mine.lerp_(theirs, 0.1)


@named("robomimic.algo.diffusion_policy")
class DiffusionPolicyUNet:
    def __init__(self) -> None:
        encoder = nn.Sequential(nn.Linear(3, 5), nn.Tanh())
        unet = ConditionalUnet1D(Da, To * 5)
        policy = nn.ModuleDict({"obs_encoder": encoder, "noise_pred_net": unet})
        self.nets = nn.ModuleDict({"policy": policy})
        self.noise_scheduler, self.ema = Scheduler(), EMAModel(self.nets)
        self.optimizers = {"policy": torch.optim.SGD(self.nets["policy"].parameters(), lr=0.1)}

    def losses(self, batch: Any, nets: Any = None) -> Tensor:
        nets = self.nets if nets is None else nets
        actions = batch["actions"]
        cond = nets["policy"]["obs_encoder"](batch["obs"].flatten(0, 1)).reshape(B, -1)
        noise = torch.randn(actions.shape)
        timesteps = torch.randint(0, Scheduler.levels, (B,)).long()
        noisy = self.noise_scheduler.add_noise(actions, noise, timesteps)
        predicted = nets["policy"]["noise_pred_net"](noisy, timesteps, global_cond=cond)
        return nn.functional.mse_loss(predicted, noise, reduction="none").flatten(1).mean(1)

    def train_on_batch(self, batch: Any, epoch: int, validate: bool = False) -> dict[str, Any]:
        with torch.set_grad_enabled(not validate):
            loss = self.losses(batch).mean()
            if not validate:
                self.optimizers["policy"].zero_grad()
                loss.backward()
                self.optimizers["policy"].step()
                self.ema.step(self.nets)
        return {"losses": {"l2_loss": loss.detach()}}

    @torch.no_grad()
    def _get_action_trajectory(self, obs: Tensor) -> Tensor:
        nets = self.ema.averaged_model
        action, cond = torch.randn(B, H, Da), nets["policy"]["obs_encoder"](obs.flatten(0, 1)).reshape(B, -1)
        for k in self.noise_scheduler.timesteps:
            output = nets["policy"]["noise_pred_net"](sample=action, timestep=k, global_cond=cond)
            action = self.noise_scheduler.step(output, k, action)
        return action


def cases() -> list[Case]:
    batch = {"obs": torch.randn(B, To, 3), "actions": torch.randn(B, H, Da), "goal_obs": None}
    algo = DiffusionPolicyUNet()
    return [Case(algo, batch, lambda a: a.losses(batch), lambda a: a._get_action_trajectory(batch["obs"]), B)]
