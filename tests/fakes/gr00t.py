"""Isaac-GR00T: a transformer over action tokens that cross attends to the backbone's tokens, and a decoder per
embodiment that takes its output straight on to velocities.

    N1.7, N1.6   NVIDIA/Isaac-GR00T 2d1e82fe and 040fccf8, gr00t/model/gr00t_n1d{7,6}/: Gr00tN1d7, Gr00tN1d6; the
                 transformer is DiT or, by configuration, AlternateVLDiT (modules/dit.py, 2ea60d6d), whose blocks attend
                 to text and to image tokens in turn and keep their keys for one sampling loop in a `kv_cache`
    N1.5         lerobot 0.4.4, policies/groot/: GrootPolicy around GR00TN15, with tokens between state and actions
"""

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


class Block(nn.Module):
    """Cross attention to the tokens a mask allows; keys and values come from the cache if they are there."""

    def __init__(self) -> None:
        super().__init__()
        self.keys, self.values = nn.Linear(E, E), nn.Linear(E, E)

    def forward(self, query: Tensor, tokens: Tensor, mask: Tensor | None, cache: Any = None, key: int = 0) -> Tensor:
        found = None if cache is None else cache.get(key)
        keys, values = found or (self.keys(tokens), self.values(tokens))
        if cache is not None:
            cache[key] = keys, values
        scores = query @ keys.transpose(1, 2)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None].bool(), -1e9)
        return torch.tanh(query + torch.softmax(scores, -1) @ values)


class DiT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.timestep_encoder, self.transformer_blocks = Steps(E), nn.ModuleList([Block(), Block()])

    def forward(self, hidden_states: Tensor, encoder_hidden_states: Tensor, timestep: Tensor, **how: Any) -> Any:
        """With return_all_hidden_states a pair; `attended` says what a block reads."""
        x = hidden_states + self.timestep_encoder(timestep)[:, None]
        for k, block in enumerate(self.transformer_blocks):
            x = block(x, encoder_hidden_states, *self.attended(k, **how))
        return (x, [hidden_states, x]) if how.get("return_all_hidden_states") else x

    def attended(self, k: int, **how: Any) -> tuple[Any, ...]:
        return (None,)  # the mask is taken and not used, as in the sources


class AlternateVLDiT(DiT):
    def attended(self, k: int, **how: Any) -> tuple[Any, ...]:
        wanted = how["image_mask"] if k % 2 else ~how["image_mask"]
        return wanted & how["backbone_attention_mask"], how.get("kv_cache"), k


class ActionHead(nn.Module):
    """vlln, state and action encoders, `model`, `action_decoder`; forward and get_action as the models call them."""

    def __init__(self, model: nn.Module, extra_tokens: int = 0) -> None:
        super().__init__()
        self.config = SimpleNamespace(backbone_embedding_dim=E, use_alternate_vl_dit=isinstance(model, AlternateVLDiT))
        self.model, self.vlln = model, nn.LayerNorm(E)
        self.state_encoder, self.action_encoder = CategorySpecificMLP(3, E), nn.Linear(Da, E)
        self.action_decoder, self.future_tokens = CategorySpecificMLP(E, Da), nn.Embedding(max(extra_tokens, 1), E)
        self.extra_tokens = extra_tokens

    def tokens(self, state: Tensor, noisy: Tensor, embodiment_id: Tensor) -> Tensor:
        own = self.state_encoder(state[:, None], embodiment_id)
        extra = self.future_tokens.weight[: self.extra_tokens].expand(len(state), -1, -1)
        return torch.cat([own, extra, self.action_encoder(noisy)], 1)

    def alternating(self, backbone_output: Any) -> dict[str, Any]:
        names = ("image_mask", "backbone_attention_mask") if self.config.use_alternate_vl_dit else ()
        return {name: backbone_output[name] for name in names}

    def forward(self, backbone_output: Any, action_input: Any) -> dict[str, Tensor]:
        if (times := getattr(self.config, "expand_batch", None)) is not None:
            backbone_output, action_input = (
                {name: x.repeat(times, *[1] * (x.ndim - 1)) for name, x in held.items()}
                for held in (backbone_output, action_input)
            )
        embeds, embodiment = self.vlln(backbone_output["backbone_features"]), action_input["embodiment_id"]
        actions, mask = action_input["action"], action_input["action_mask"]
        noise, t = torch.randn_like(actions), torch.rand(len(actions))
        noisy = (1 - t[:, None, None]) * noise + t[:, None, None] * actions
        output = self.model(
            hidden_states=self.tokens(action_input["state"], noisy, embodiment),
            encoder_hidden_states=embeds,
            encoder_attention_mask=backbone_output["backbone_attention_mask"],
            timestep=(t * 1000).long(),
            return_all_hidden_states=not self.extra_tokens,
            **self.alternating(backbone_output),
        )
        output = output if self.extra_tokens else output[0]
        predicted = self.action_decoder(output, embodiment)[:, -actions.shape[1] :]
        loss = nn.functional.mse_loss(predicted, actions - noise, reduction="none") * mask
        return {"loss": loss.sum() / mask.sum(), "action_loss": loss, "action_mask": mask, "backbone_features": embeds}

    @torch.no_grad()
    def get_action(self, backbone_output: Any, action_input: Any) -> Tensor:
        embeds, embodiment = self.vlln(backbone_output["backbone_features"]), action_input["embodiment_id"]
        actions, cache = torch.randn(len(embeds), H, Da), {"kv_cache": {}} if self.config.use_alternate_vl_dit else {}
        for k in range(3):
            output = self.model(
                hidden_states=self.tokens(action_input["state"], actions, embodiment),
                encoder_hidden_states=embeds,
                timestep=torch.full((len(embeds),), k * 333),
                **self.alternating(backbone_output),
                **cache,
            )
            actions = actions + self.action_decoder(output, embodiment)[:, -H:] / 3
        return actions


class Model(nn.Module):
    """forward(inputs) -> a mapping with loss, as a Hugging Face Trainer calls it."""

    def __init__(self, model: nn.Module, extra_tokens: int = 0) -> None:
        super().__init__()
        self.backbone, self.action_head = nn.Linear(4, E), ActionHead(model, extra_tokens)

    def _backbone(self, inputs: Any) -> dict[str, Tensor]:
        features = self.backbone(inputs["tokens"])
        masks = {"backbone_attention_mask": inputs["mask"], "image_mask": inputs["image_mask"]}
        return {"backbone_features": features, **masks}

    def forward(self, inputs: Any) -> dict[str, Tensor]:
        return self.action_head(self._backbone(inputs), inputs)

    def get_action(self, inputs: Any) -> Tensor:
        return self.action_head.get_action(self._backbone(inputs), inputs)


@named("gr00t.model.gr00t_n1d7.gr00t_n1d7")
class Gr00tN1d7(Model):
    pass


@named("gr00t.model.gr00t_n1d6.gr00t_n1d6")
class Gr00tN1d6(Model):
    pass


@named("lerobot.policies.groot.modeling_groot")
class GrootPolicy(nn.Module):
    """LeRobot's: forward(batch) -> (loss, dict), around a model that it calls by its method."""

    def __init__(self) -> None:
        super().__init__()
        self._groot_model = Model(DiT(), extra_tokens=2)

    def forward(self, batch: Any) -> tuple[Tensor, dict[str, float]]:
        loss = self._groot_model.forward(batch)["loss"]
        return loss, {"loss": loss.item()}

    def predict_action_chunk(self, batch: Any) -> Tensor:
        return self._groot_model.get_action(batch)


def cases() -> list[Case]:
    mask, image_mask = torch.ones(B, S, dtype=torch.bool), torch.arange(S).expand(B, S) % 2 == 0
    mask[0, 2:] = mask[1, 3:] = False
    action_mask = torch.ones(B, H, Da)
    action_mask[2, 2:] = 0.0
    batch = {
        "tokens": torch.randn(B, S, 4),
        "mask": mask,
        "image_mask": image_mask,
        "state": torch.randn(B, 3),
        "action": torch.randn(B, H, Da),
        "action_mask": action_mask,
        "embodiment_id": torch.tensor([0, 0, 1, 1, 0, 1]),
    }
    each = lambda model: model(batch)["action_loss"].sum((1, 2)) * B / action_mask.sum()
    models = [Gr00tN1d7(DiT()), Gr00tN1d7(AlternateVLDiT()), Gr00tN1d6(AlternateVLDiT())]
    own = [Case(model, batch, each, lambda p: p.get_action(batch), B) for model in models]
    sample = lambda p: p.predict_action_chunk(batch)
    return [*own, Case(GrootPolicy(), batch, lambda p: each(p._groot_model), sample, B)]
