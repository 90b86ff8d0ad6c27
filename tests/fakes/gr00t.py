"""NVIDIA/Isaac-GR00T 2d1e82fe (N1.7), gr00t/model/gr00t_n1d7/gr00t_n1d7.py: a transformer over action tokens that cross
attends to the backbone's tokens, and a decoder per embodiment that takes its output straight on to velocities."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from . import Case, named
from .parts import Steps

B, H, Da, S, E = 6, 3, 2, 5, 8


class CategorySpecificMLP(nn.Module):
    """A matrix per embodiment, not linear in its input."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, inputs, outputs) / inputs**0.5)

    def forward(self, x: Tensor, embodiment_id: Tensor) -> Tensor:
        return torch.bmm(nn.functional.silu(x), self.weight[embodiment_id])


class DiT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.timestep_encoder, self.keys, self.values = Steps(E), nn.Linear(E, E), nn.Linear(E, E)

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        timestep: Tensor,
        encoder_attention_mask: Tensor | None = None,
        return_all_hidden_states: bool = False,
    ) -> Any:
        keys, values = self.keys(encoder_hidden_states), self.values(encoder_hidden_states)
        query = hidden_states + self.timestep_encoder(timestep)[:, None]
        scores = query @ keys.transpose(1, 2)
        if encoder_attention_mask is not None:
            scores = scores.masked_fill(~encoder_attention_mask[:, None].bool(), -1e9)
        output = torch.tanh(query + torch.softmax(scores, -1) @ values)
        return (output, [query, output]) if return_all_hidden_states else output


class Gr00tN1d7ActionHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(backbone_embedding_dim=E)
        self.model, self.vlln, self.vl_self_attention = DiT(), nn.LayerNorm(E), nn.Identity()
        self.action_encoder, self.action_decoder = nn.Linear(Da, E), CategorySpecificMLP(E, Da)

    def forward(self, backbone_output: Any, action_input: Any) -> dict[str, Tensor]:
        embeds = self.vl_self_attention(self.vlln(backbone_output["backbone_features"]))
        actions = action_input["action"]
        noise, t = torch.randn_like(actions), torch.rand(len(actions))
        noisy = (1 - t[:, None, None]) * noise + t[:, None, None] * actions
        output, _ = self.model(
            hidden_states=self.action_encoder(noisy),
            encoder_hidden_states=embeds,
            encoder_attention_mask=backbone_output["backbone_attention_mask"],
            timestep=t,
            return_all_hidden_states=True,
        )
        predicted = self.action_decoder(output, action_input["embodiment_id"])
        loss = nn.functional.mse_loss(predicted, actions - noise, reduction="none")
        return {"loss": loss.mean(), "action_loss": loss, "backbone_features": embeds}

    @torch.no_grad()
    def get_action_with_features(self, embeds: Tensor, embodiment_id: Tensor) -> Tensor:
        actions = torch.randn(len(embeds), H, Da)
        for k in range(3):
            timestep = torch.full((len(embeds),), k / 3)
            hidden = self.action_encoder(actions)
            output = self.model(hidden_states=hidden, encoder_hidden_states=embeds, timestep=timestep)
            actions = actions + self.action_decoder(output, embodiment_id) / 3
        return actions


@named("gr00t.model.gr00t_n1d7.gr00t_n1d7")
class Gr00tN1d7(nn.Module):
    """forward(inputs) -> a mapping with loss, as a Hugging Face Trainer calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.action_head = nn.Linear(4, E), Gr00tN1d7ActionHead()

    def _backbone(self, inputs: Any) -> dict[str, Tensor]:
        return {"backbone_features": self.backbone(inputs["tokens"]), "backbone_attention_mask": inputs["mask"]}

    def forward(self, inputs: Any) -> dict[str, Tensor]:
        return self.action_head(self._backbone(inputs), inputs)

    def get_action(self, inputs: Any) -> Tensor:
        embeds = self.action_head.vl_self_attention(self.action_head.vlln(self._backbone(inputs)["backbone_features"]))
        return self.action_head.get_action_with_features(embeds, inputs["embodiment_id"])


def cases() -> list[Case]:
    mask = torch.ones(B, S, dtype=torch.bool)
    mask[0, 2:] = mask[1, 3:] = False
    batch = {
        "tokens": torch.randn(B, S, 4),
        "mask": mask,
        "action": torch.randn(B, H, Da),
        "embodiment_id": torch.tensor([0, 0, 1, 1, 0, 1]),
    }
    each = lambda p: p(batch)["action_loss"].mean((1, 2))
    return [Case(Gr00tN1d7(), batch, each, lambda p: p.get_action(batch), B)]
