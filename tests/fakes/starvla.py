"""starVLA 0ed0aad2, QwenGR00T: a batch is a list of dicts, repeated eight times for a flow-matching action head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from . import Case
from .parts import Steps

B, H, Da, D, Tokens = 6, 3, 2, 4, 3


class DiT(nn.Module):
    """Action tokens that attend to the backbone's."""

    def __init__(self) -> None:
        super().__init__()
        self.keys, self.time = nn.Linear(D, 8), Steps(8)

    def forward(self, hidden_states: Tensor, encoder_hidden_states: Tensor, timestep: Tensor) -> Tensor:
        keys = self.keys(encoder_hidden_states)
        asked = hidden_states + self.time(timestep)[:, None]
        return torch.tanh(asked + torch.softmax(asked @ keys.transpose(1, 2), -1) @ keys)


class FlowmatchingActionHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.action_encoder, self.model, self.action_decoder = nn.Linear(Da, 8), DiT(), nn.Linear(8, Da)

    def velocity(self, actions: Tensor, vl_embs: Tensor, t: Tensor) -> Tensor:
        output = self.model(
            hidden_states=self.action_encoder(actions), encoder_hidden_states=vl_embs, timestep=(t * 10).long()
        )
        return self.action_decoder(output)[:, -H:]

    def forward(self, vl_embs: Tensor, actions: Tensor) -> Tensor:
        noise, t = torch.randn(actions.shape), torch.rand(actions.shape[0])
        noisy = (1 - t[:, None, None]) * noise + t[:, None, None] * actions
        return ((self.velocity(noisy, vl_embs, t) - (actions - noise)) ** 2).mean((1, 2))

    @torch.no_grad()
    def predict_action(self, vl_embs: Tensor) -> Tensor:
        actions = torch.randn(len(vl_embs), H, Da)
        for k in range(3):
            actions = actions + self.velocity(actions, vl_embs, torch.full((len(actions),), k / 3)) / 3
        return actions


class QwenGR00T(nn.Module):
    """forward(examples) -> {"action_loss": ...}."""

    def __init__(self, repeated_diffusion_steps: int = 8) -> None:
        super().__init__()
        self.qwen, self.action_model, self.k = nn.Linear(2, D), FlowmatchingActionHead(), repeated_diffusion_steps

    def embedded(self, examples: list[dict[str, Any]]) -> Tensor:
        return torch.tanh(self.qwen(torch.stack([example["image"] for example in examples])))

    def losses(self, examples: list[dict[str, Any]]) -> Tensor:
        actions, hidden = torch.stack([example["action"] for example in examples]), self.embedded(examples)
        return self.action_model(hidden.repeat(self.k, 1, 1), actions.repeat(self.k, 1, 1))

    def forward(self, examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        return {"action_loss": self.losses(examples).mean()}

    def per_sample(self, examples: list[dict[str, Any]]) -> Tensor:
        return self.losses(examples).reshape(self.k, len(examples)).mean(0)

    def predict_action(self, examples: list[dict[str, Any]]) -> Tensor:
        return self.action_model.predict_action(self.embedded(examples))


def cases() -> list[Case]:
    batch = [
        {"image": torch.randn(Tokens, 2), "lang": f"task {i}", "action": torch.randn(H, Da), "step": i}
        for i in range(B)
    ]
    return [
        Case(QwenGR00T(k), batch, lambda p: p.per_sample(batch), lambda p: p.predict_action(batch), B) for k in (8, 4)
    ]
