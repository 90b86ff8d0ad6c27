"""LeRobot 0.4.4's own SmolVLA, pi0, pi0.5 and GR00T N1.5 policies, small and without a download.

SmolVLA     all of it, with a SmolVLM of two layers; its processor, whose files are on the hub, is two token ids
pi0, pi0.5  the policy, the flow matching and its sampler; the pair of Gemmas, which needs a patched transformers, is
            tests/fakes' trunk.  `as_released` builds the real one too, without memory, to look at its names
GR00T N1.5  the policy, the model, the action head and its transformer; the Eagle backbone is one linear layer
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from fakes import vla
from lerobot.configs.types import FeatureType, PolicyFeature
from torch import Tensor, nn

B, STATE, ACTION, H = 6, 4, 3, 4
FEATURES = {
    "input_features": {
        "observation.state": PolicyFeature(FeatureType.STATE, (STATE,)),
        "observation.images.top": PolicyFeature(FeatureType.VISUAL, (3, 32, 32)),
        "observation.images.wrist": PolicyFeature(FeatureType.VISUAL, (3, 32, 32)),
    },
    "output_features": {"action": PolicyFeature(FeatureType.ACTION, (ACTION,))},
    "device": "cpu",
}
CHUNK = {"chunk_size": H, "n_action_steps": H}


class Trunk(vla.PaliGemmaWithExpertModel):
    """The fakes' trunk, with the attributes that LeRobot's code looks at."""

    def __init__(self, adarms: bool) -> None:
        super().__init__(adarms)
        layer = SimpleNamespace(self_attn=SimpleNamespace(q_proj=self.keys))
        self.paligemma.language_model = _Language([layer])
        self.gemma_expert = SimpleNamespace(model=SimpleNamespace(config=SimpleNamespace()))


class _Language(nn.Module):
    def __init__(self, layers: list[Any]) -> None:
        super().__init__()
        self.layers, self.config = layers, SimpleNamespace()


@contextmanager
def _patched_transformers() -> Iterator[None]:
    """pi0 asks at construction whether transformers is patched; here it is told yes."""
    check: Any = ModuleType("transformers.models.siglip.check")
    check.check_whether_transformers_replace_is_installed_correctly = lambda: True
    with patch.dict(sys.modules, {check.__name__: check}):
        yield


def _pi(kind: str) -> Any:
    if kind == "pi0":
        from lerobot.policies.pi0 import modeling_pi0 as module
        from lerobot.policies.pi0.configuration_pi0 import PI0Config as Config

        return module, module.PI0Policy, Config
    from lerobot.policies.pi05 import modeling_pi05 as module
    from lerobot.policies.pi05.configuration_pi05 import PI05Config as Config

    return module, module.PI05Policy, Config


def pi(kind: str) -> Any:
    """pi0 or pi0.5 over the small trunk."""
    module, policy, config = _pi(kind)
    trunk = lambda *_, use_adarms, **__: Trunk(use_adarms[1])
    size = {"get_gemma_config": lambda _: SimpleNamespace(width=vla.De), "PaliGemmaWithExpertModel": trunk}
    with _patched_transformers(), patch.multiple(module, **size):
        return policy(config(**FEATURES, **CHUNK, image_resolution=(6, 6), num_inference_steps=3))


def as_released(kind: str) -> Any:
    """pi0 or pi0.5 with PaliGemma 2B and Gemma 300M, on the device that holds no numbers."""
    _, policy, config = _pi(kind)
    with _patched_transformers(), torch.device("meta"):
        made = config(**FEATURES)
        made.device = None
        with patch.object(policy, "to", lambda self, *_: self):
            return policy(made)


def smolvla(folder: Path, **more: Any) -> Any:
    """SmolVLA over a SmolVLM of two layers."""
    from lerobot.policies.smolvla import smolvlm_with_expert
    from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
    from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy
    from transformers import SmolVLMConfig

    heads = {"num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 32}
    vision = {"hidden_size": 16, "image_size": 32, "patch_size": 8, **heads}
    text = {
        "hidden_size": 32,
        "vocab_size": 64,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "model_type": "llama",
        **heads,
    }
    SmolVLMConfig(vision_config=vision, text_config=text, scale_factor=2, image_token_id=1).save_pretrained(folder)
    tokenizer = SimpleNamespace(fake_image_token_id=2, global_image_token_id=3)
    processor = SimpleNamespace(from_pretrained=lambda _: SimpleNamespace(tokenizer=tokenizer))
    size = {"vlm_model_name": str(folder), "resize_imgs_with_padding": (32, 32), "num_vlm_layers": 2, "num_steps": 3}
    with patch.object(smolvlm_with_expert, "AutoProcessor", processor):
        return SmolVLAPolicy(SmolVLAConfig(**FEATURES, **CHUNK, **size, **more))


class _Backbone(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.eagle_linear = nn.Linear(5, width)

    def prepare_input(self, batch: Any) -> Any:
        return _feature(batch)

    def forward(self, vl_input: Any) -> Any:
        seen = {"backbone_features": self.eagle_linear(vl_input["eagle_tokens"])}
        return _feature({**seen, "backbone_attention_mask": vl_input["eagle_attention_mask"]})


def _feature(data: Any) -> Any:
    from transformers.feature_extraction_utils import BatchFeature

    return BatchFeature(data=dict(data))


def groot() -> Any:
    """GR00T N1.5 in LeRobot's wrapper."""
    from lerobot.policies.groot import groot_n1
    from lerobot.policies.groot.configuration_groot import GrootConfig
    from lerobot.policies.groot.modeling_groot import GrootPolicy

    layers = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2, "dropout": 0.0}
    head = {
        "diffusion_model_cfg": {
            **layers,
            "output_dim": 16,
            "interleave_self_attention": True,
            "cross_attention_dim": 12,
        },
        "vl_self_attention_cfg": {**layers, "attention_head_dim": 6},
        "input_embedding_dim": 16,
        "backbone_embedding_dim": 12,
        "hidden_size": 16,
        "max_state_dim": 8,
        "action_dim": ACTION,
        "action_horizon": H,
        "num_inference_timesteps": 3,
        "max_num_embodiments": 2,
        "num_target_vision_tokens": 2,
    }
    with ExitStack() as stack:
        stack.enter_context(patch.object(groot_n1, "EagleBackbone", lambda **_: _Backbone(12)))
        config = groot_n1.GR00TN15Config(
            backbone_cfg={}, action_head_cfg=head, action_horizon=H, action_dim=ACTION, compute_dtype="float32"
        )
        model = groot_n1.GR00TN15(config, local_model_path="")
        stack.enter_context(patch.object(GrootPolicy, "_create_groot_model", lambda self: model))
        return GrootPolicy(GrootConfig(**FEATURES, **CHUNK, max_state_dim=8, max_action_dim=ACTION, use_bf16=False))


POLICIES: dict[str, Callable[[Path], Any]] = {
    "smolvla": lambda folder: smolvla(folder, freeze_vision_encoder=False, train_expert_only=False),
    "pi0": lambda folder: pi("pi0"),
    "pi0.5": lambda folder: pi("pi05"),
    "groot": lambda folder: groot(),
}


def batch(b: int = B) -> dict[str, Tensor]:
    """b samples as the policies' preprocessors give them."""
    images = {f"observation.images.{camera}": torch.rand(b, 3, 32, 32) for camera in ("top", "wrist")}
    eagle = {
        "eagle_tokens": torch.randn(b, 7, 5),
        "eagle_attention_mask": torch.arange(7) < torch.arange(3, b + 3)[:, None],
    }
    action_mask = torch.ones(b, H, ACTION)
    action_mask[0, 2:] = 0.0
    return {
        **images,
        **eagle,
        "observation.state": torch.randn(b, STATE),
        "observation.language.tokens": torch.randint(0, 11, (b, 5)),
        "observation.language.attention_mask": torch.ones(b, 5, dtype=torch.bool),
        "state": torch.randn(b, 1, 8),
        "action": torch.randn(b, H, ACTION),
        "action_mask": action_mask,
        "embodiment_id": torch.arange(b) % 2,
    }


def per_sample(policy: Any, data: Any) -> Tensor:
    """(b,) the loss of each sample, told by the policy's own code, or by its own unreduced error."""
    if policy.name != "groot":
        return policy.forward(data, reduction="none")[0]
    import lerobot.policies.groot.action_head.flow_matching_action_head as module

    seen: list[Tensor] = []
    real = module.F.mse_loss
    with patch.object(module.F, "mse_loss", lambda *a, **k: seen.append(real(*a, **k)) or seen[0]):
        policy.forward(data)
    return (seen[0] * data["action_mask"]).sum((1, 2)) * len(seen[0]) / data["action_mask"].sum()
