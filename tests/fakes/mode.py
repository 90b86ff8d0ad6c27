"""MoDE 72cf8a25 (models/mode_agent.py, edm_diffusion/score_wrappers.py): the condition is an entry of a dict."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from . import Case
from .parts import Steps

B, H, Da, D, Tokens = 6, 3, 2, 4, 2


class MoDeDiT(nn.Module):
    """forward(states, actions, goals, sigma)."""

    def __init__(self) -> None:
        super().__init__()
        self.tok_emb, self.action_emb, self.goal_emb = nn.Linear(D, 8), nn.Linear(Da, 8), nn.Linear(3, 8)
        self.sigma_emb, self.out = Steps(8), nn.Linear(8, Da)

    def forward(self, states: dict[str, Tensor], actions: Tensor, goals: Tensor, sigma: Tensor) -> Tensor:
        seen = self.tok_emb(states["state_images"]).mean(1) + self.goal_emb(goals) + self.sigma_emb(sigma)
        return self.out(torch.tanh(self.action_emb(actions) + seen[:, None]))


class GCDenoiser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner_model = MoDeDiT()

    def losses(self, state: Any, action: Tensor, goal: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        noised = action + noise * sigma[:, None, None]
        target = (action - noised / 2) * 2
        return (self.inner_model(state, noised, goal, sigma) - target).square().mean((1, 2))

    def forward(self, state: Any, action: Tensor, goal: Tensor, sigma: Tensor) -> Tensor:
        return self.inner_model(state, action, goal, sigma) / 2 + action / 2


class MoDEAgent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.static_resnet, self.model = nn.Sequential(nn.Linear(3, D), nn.Tanh()), GCDenoiser()

    def compute_input_embeddings(self, batch: Any) -> tuple[dict[str, Tensor], Tensor]:
        tokens = self.static_resnet(batch["rgb"].flatten(0, 1)).reshape(len(batch["rgb"]), Tokens, D)
        return {"state_images": tokens, "robot_obs": batch["robot_obs"]}, batch["lang"]

    def per_sample(self, batch: Any) -> Tensor:
        state, goal = self.compute_input_embeddings(batch)
        sigma, noise = torch.rand(len(goal)) + 0.1, torch.randn_like(batch["actions"])
        return self.model.losses(state, batch["actions"], goal, noise, sigma)

    def training_step(self, batch: Any) -> Tensor:
        return self.per_sample(batch).mean()

    @torch.no_grad()
    def sample_loop(self, batch: Any) -> Tensor:
        state, goal = self.compute_input_embeddings(batch)
        x = torch.randn(len(goal), H, Da)
        for sigma in (1.0, 0.5, 0.1):
            x = x + 0.3 * (self.model(state, x, goal, torch.full((len(x),), sigma)) - x)
        return x


def cases() -> list[Case]:
    batch = {"rgb": torch.randn(B, Tokens, 3), "robot_obs": torch.randn(B, 2), "lang": torch.randn(B, 3)}
    batch["actions"] = torch.randn(B, H, Da)
    return [Case(MoDEAgent(), batch, lambda p: p.per_sample(batch), lambda p: p.sample_loop(batch), B)]
