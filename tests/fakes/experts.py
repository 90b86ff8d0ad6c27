"""An action expert that reads a prefix of image and language tokens, in PaliGemma's and SmolVLM's module trees."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

De = 8


class Vision(nn.Module):
    """(b, 3, 6, 6) -> (b, tokens, d)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, De, 3, stride=3)

    def forward(self, pixel_values: Tensor) -> Tensor:
        return torch.tanh(self.patches(pixel_values)).flatten(2).transpose(1, 2)


class PaliGemmaModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.vision_tower, self.multi_modal_projector = Vision(), nn.Linear(De, De)
        self.language_model = nn.Embedding(11, De)

    def get_image_features(self, image: Tensor) -> Tensor:
        return self.multi_modal_projector(self.vision_tower(image))


class Expert(nn.Module):
    """Reads a prefix (or its cache) and a suffix; its layers are called through methods, so no hook on them fires."""

    def __init__(self, adarms: bool = False) -> None:
        super().__init__()
        self.keys, self.values = nn.Linear(De, De), nn.Linear(De, De)
        self.norm = nn.Linear(De, 2 * De) if adarms else None

    def forward(
        self,
        inputs_embeds: list[Tensor | None],
        past_key_values: Any = None,
        use_cache: bool = False,
        adarms_cond: list[Tensor | None] | None = None,
        **masks: Any,
    ) -> Any:
        prefix, suffix = inputs_embeds
        if past_key_values is None and prefix is not None:
            past_key_values = self.keys.forward(prefix), self.values.forward(prefix)
        if suffix is None:
            return (None, None), past_key_values
        keys, values = past_key_values
        found = torch.softmax(suffix @ keys.transpose(1, 2), -1) @ values
        return (None, self.normed(suffix + found, None if adarms_cond is None else adarms_cond[1])), past_key_values

    def normed(self, x: Tensor, cond: Tensor | None) -> Tensor:
        if self.norm is None or cond is None:
            return torch.tanh(x)
        scale, shift = self.norm.forward(cond)[:, None].chunk(2, -1)
        return torch.tanh(x * (1 + scale) + shift)


class PaliGemmaWithExpertModel(Expert):
    """The projector is called as a module, by `paligemma.model.get_image_features`."""

    def __init__(self, adarms: bool = False) -> None:
        super().__init__(adarms)
        self.paligemma = nn.ModuleDict({"model": PaliGemmaModel()})

    def embed_image(self, image: Tensor) -> Tensor:
        return self.paligemma["model"].get_image_features(image)  # type: ignore[operator]

    def embed_language_tokens(self, tokens: Tensor) -> Tensor:
        return self.paligemma["model"].language_model(tokens)  # type: ignore[operator]


class SmolVLMWithExpertModel(Expert):
    def __init__(self, freeze_vision_encoder: bool) -> None:
        super().__init__()
        self.vlm = nn.Module()
        self.vlm.model = nn.Module()
        self.vlm.model.vision_model, self.vlm.model.connector = Vision(), nn.Linear(De, De)
        self.text = nn.Embedding(11, De)
        self.vlm.requires_grad_(not freeze_vision_encoder)

    def get_vlm_model(self) -> Any:
        return self.vlm.model

    def embed_image(self, image: Tensor) -> Tensor:
        return self.get_vlm_model().connector(self.get_vlm_model().vision_model(pixel_values=image))

    def embed_language_tokens(self, tokens: Tensor) -> Tensor:
        return self.text(tokens)
