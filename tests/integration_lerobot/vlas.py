"""The vision-language-action policies of LeRobot 0.6.1, its own code, small and without a download.

smolvla         all of it, with a SmolVLM of two layers; its processor, whose files are on the hub, is two token ids
pi0, pi05       the real pair of PiGemma, of one layer each
pi0_fast        the real PiGemma; its tokenizers, whose files are on the hub, are stand-ins
multi_task_dit  all of it, with CLIP of one layer
groot           N1.7: the policy, the model, its action head and transformers; the backbone is one linear layer
xvla            all of it, with a Florence-2 of one layer
eo1             all of it, with a Qwen2.5-VL of one layer
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from torch import Tensor, nn

B, STATE, ACTION, H, SIDE = 6, 4, 3, 4, 32


def features() -> dict[str, Any]:
    """Two cameras and a state; policies add features of their own to what they are given."""
    return {
        "input_features": {
            "observation.state": PolicyFeature(FeatureType.STATE, (STATE,)),
            "observation.images.top": PolicyFeature(FeatureType.VISUAL, (3, SIDE, SIDE)),
            "observation.images.wrist": PolicyFeature(FeatureType.VISUAL, (3, SIDE, SIDE)),
        },
        "output_features": {"action": PolicyFeature(FeatureType.ACTION, (ACTION,))},
        "device": "cpu",
        "n_action_steps": H,
    }


def parts(kind: str) -> tuple[Any, Any, Any]:
    """Module, policy class and configuration class of a policy type."""
    modeling = import_module(f"lerobot.policies.{kind}.modeling_{kind}")
    configuration = import_module(f"lerobot.policies.{kind}.configuration_{kind}")
    (policy,) = [x for name, x in vars(modeling).items() if name.endswith("Policy") and getattr(x, "name", "") == kind]
    return modeling, policy, getattr(configuration, policy.__name__.replace("Policy", "Config"))


def stirred(policy: Any, by: float = 0.1) -> Any:
    """A policy past its initialisation, in which modulations are zero and predictions do not depend on conditions."""
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(by * torch.randn_like(parameter))
    return policy


def pi(kind: str, **more: Any) -> Any:
    """pi0, pi0.5 or pi0 FAST, over a PaliGemma whose sizes are made small where the code has set them."""
    modeling, policy, config = parts(kind)
    gemma = SimpleNamespace(width=16, depth=1, mlp_dim=16, num_heads=8, num_kv_heads=1, head_dim=4)
    name = "PaliGemmaForConditionalGenerationWithPiGemma"
    real = getattr(modeling, name)
    vision = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    sizes = {**vision, "image_size": SIDE, "patch_size": 8, "projection_dim": 16}

    def small(config: Any) -> Any:
        for size, value in sizes.items():
            setattr(config.vision_config, size, value)
        config.text_config.vocab_size = 64
        return real(config=config)

    with patch.multiple(modeling, **{"get_gemma_config": lambda _: gemma, name: small}):
        return stirred(policy(config(**features(), chunk_size=H, image_resolution=(SIDE, SIDE), **more)))


def pi0_fast() -> Any:
    modeling = parts("pi0_fast")[0]
    tokens = SimpleNamespace(from_pretrained=lambda *_, **__: SimpleNamespace())
    with patch.multiple(modeling, AutoProcessor=tokens, AutoTokenizer=tokens):
        return pi("pi0_fast")


def smolvla(folder: Path, **more: Any) -> Any:
    """SmolVLA over a SmolVLM of two layers."""
    from lerobot.policies.smolvla import smolvlm_with_expert
    from transformers import SmolVLMConfig

    _, policy, config = parts("smolvla")
    heads = {"num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 32}
    vision = {"hidden_size": 16, "image_size": SIDE, "patch_size": 8, **heads}
    text = {"hidden_size": 32, "vocab_size": 64, "num_key_value_heads": 1, "head_dim": 16, "model_type": "llama"}
    vlm = {"vision_config": vision, "text_config": {**text, **heads}, "scale_factor": 2, "image_token_id": 1}
    SmolVLMConfig(**vlm).save_pretrained(folder)
    tokenizer = SimpleNamespace(fake_image_token_id=2, global_image_token_id=3)
    processor = SimpleNamespace(from_pretrained=lambda _: SimpleNamespace(tokenizer=tokenizer))
    size = {"vlm_model_name": str(folder), "resize_imgs_with_padding": (SIDE, SIDE), "num_vlm_layers": 2}
    with patch.object(smolvlm_with_expert, "AutoProcessor", processor):
        return policy(config(**features(), chunk_size=H, num_steps=3, **size, **more))


def multi_task_dit(folder: Path, **more: Any) -> Any:
    """The multi-task transformer over a CLIP of one layer."""
    from transformers import CLIPConfig, CLIPModel

    layers = {"num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 16, "hidden_size": 16}
    vision, text = {"image_size": SIDE, "patch_size": 8, **layers}, {"vocab_size": 64, **layers}
    clip = folder / "clip"
    CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=16)).save_pretrained(clip)
    _, policy, config = parts("multi_task_dit")
    size = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "timestep_embed_dim": 16, "dropout": 0.0}
    names = {"vision_encoder_name": str(clip), "text_encoder_name": str(clip), "image_crop_shape": None}
    steps = {"horizon": 2 * H, "n_obs_steps": 2, "num_integration_steps": 3, "num_inference_steps": 3}
    return stirred(policy(config(**features(), **size, **names, **steps, **more)))


class _Backbone(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(5, width)

    def prepare_input(self, batch: Any) -> Any:
        return _feature(batch)

    def forward(self, vl_input: Any) -> Any:
        tokens = {"backbone_features": self.linear(vl_input["pixel_values"])}
        mask = vl_input["attention_mask"]
        return _feature(
            {**tokens, "backbone_attention_mask": mask, "image_mask": torch.arange(mask.shape[1]) < mask * 2}
        )


def _feature(data: Any) -> Any:
    from transformers.feature_extraction_utils import BatchFeature

    return BatchFeature(data=dict(data))


def groot(**more: Any) -> Any:
    """GR00T N1.7 in LeRobot's wrapper."""
    from lerobot.policies.groot import groot_n1_7

    _, policy, config = parts("groot")
    layers = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2, "dropout": 0.0}
    head = {
        "diffusion_model_cfg": {**layers, "output_dim": 16, "interleave_self_attention": True, "norm_type": "ada_norm"},
        "vl_self_attention_cfg": {**layers, "attention_head_dim": 6},
        "input_embedding_dim": 16,
        "backbone_embedding_dim": 12,
        "hidden_size": 16,
        "max_state_dim": 8,
        "max_action_dim": ACTION,
        "action_horizon": H,
        "num_inference_timesteps": 3,
        "max_num_embodiments": 2,
    }
    with patch.object(groot_n1_7, "get_backbone_cls", lambda _: lambda **__: _Backbone(12)):
        model = groot_n1_7.GR00TN17(groot_n1_7.GR00TN17Config(**head, **more))
    model.float()
    with patch.object(policy, "_create_groot_model", lambda self: model):
        size = {"max_state_dim": 8, "max_action_dim": ACTION, "use_bf16": False, "chunk_size": H}
        return stirred(policy(config(**features(), **size)))


def xvla(**more: Any) -> Any:
    """X-VLA over a Florence-2 of one layer."""
    _, policy, config = parts("xvla")
    one = {"num_heads": [2], "num_groups": [2], "depths": [1], "window_size": 2, "embed_dim": [16]}
    patches = {"patch_size": [8], "patch_stride": [8], "patch_padding": [0], "patch_prenorm": [False]}
    vision = {"projection_dim": 16, **one, **patches}
    layers = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 64, "max_position_embeddings": 64}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    florence = {"vision_config": vision, "text_config": {**layers, **heads, "pad_token_id": 1}, "pad_token_id": 1}
    size = {"hidden_size": 16, "depth": 1, "num_heads": 2, "num_domains": 2, "len_soft_prompts": 2, "max_len_seq": 128}
    action = {"chunk_size": H, "num_denoising_steps": 3, "action_mode": "auto", "max_action_dim": 4, "max_state_dim": 8}
    return policy(config(**features(), florence_config=florence, **size, **action, **more))


IMAGE, STATE_TOKEN, ACTION_TOKEN = 60, 61, 62


def eo1(**more: Any) -> Any:
    """EO1 over a Qwen2.5-VL of one layer, built from its configuration, as a checkpoint of one is."""
    _, policy, config = parts("eo1")
    vision = {"depth": 1, "hidden_size": 16, "num_heads": 2, "intermediate_size": 16, "out_hidden_size": 16}
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    rope = {"rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]}, "vocab_size": 64, "intermediate_size": 16}
    vlm = {"vision_config": {**vision, "fullatt_block_indexes": [0]}, "text_config": {**text, **rope}}
    made = config(**features(), vlm_config={**vlm, "image_token_id": IMAGE}, dtype="float32", chunk_size=H, **more)
    made.num_denoise_steps, made.pretrained_path = 3, Path("a checkpoint")
    return policy(made)


POLICIES: dict[str, Callable[[Path], Any]] = {
    "smolvla": lambda folder: smolvla(folder, freeze_vision_encoder=False, train_expert_only=False),
    "pi0": lambda folder: pi("pi0", num_inference_steps=3),
    "pi05": lambda folder: pi("pi05", num_inference_steps=3),
    "pi0_fast": lambda folder: pi0_fast(),
    "multi_task_dit": lambda folder: multi_task_dit(folder),
    "multi_task_dit, flow": lambda folder: multi_task_dit(folder, objective="flow_matching"),
    "groot": lambda folder: groot(),
    "groot, alternating off": lambda folder: groot(use_alternate_vl_dit=False),
    "xvla": lambda folder: xvla(),
    "xvla, a projection a domain": lambda folder: xvla(use_hetero_proj=True),
    "eo1": lambda folder: eo1(),
}
"""every policy with its settings"""
SAMPLED = tuple(kind for kind in POLICIES if kind not in ("pi0_fast", "eo1"))
"""those whose sampler can be guided"""


def batch(policy: Any, b: int = B) -> dict[str, Any]:
    """b samples as the policy's preprocessor gives them."""
    horizon = len(policy.config.action_delta_indices)
    data = {
        "observation.state": torch.randn(b, STATE),
        **{f"observation.images.{camera}": torch.rand(b, 3, SIDE, SIDE) for camera in ("top", "wrist")},
        "observation.language.tokens": torch.randint(4, 11, (b, 5)),
        "observation.language.attention_mask": torch.ones(b, 5, dtype=torch.bool),
        "action": torch.randn(b, horizon, ACTION),
        "action_is_pad": torch.zeros(b, horizon, dtype=torch.bool),
    }
    return data | _OWN.get(policy.name, lambda data, b: {})(data, b)


def _fast(data: Any, b: int) -> dict[str, Any]:
    mask = torch.ones(b, 6, dtype=torch.bool)
    mask[0, 3:] = False
    return {"action.tokens": torch.randint(4, 60, (b, 6)), "action.token_mask": mask}


def _steps(data: Any, b: int) -> dict[str, Any]:
    return {
        name: x.unsqueeze(1).repeat_interleave(2, 1) for name, x in data.items() if name[12:17] in ("state", "image")
    }


def _groot(data: Any, b: int) -> dict[str, Any]:
    action_mask = torch.ones(b, H, ACTION)
    action_mask[0, 2:] = 0.0
    mask = torch.arange(7) < torch.arange(3, b + 3)[:, None]
    own = {"pixel_values": torch.randn(b, 7, 5), "attention_mask": mask, "embodiment_id": torch.arange(b) % 2}
    return {**own, "state": torch.randn(b, 1, 8), "action_mask": action_mask}


def _eo1(data: Any, b: int) -> dict[str, Any]:
    ids = torch.tensor([[5, *[IMAGE] * 4, STATE_TOKEN, 7, *[ACTION_TOKEN] * H]]).repeat(b, 1)
    shape = {"image_grid_thw": torch.tensor([[1, 4, 4]]).repeat(b, 1), "mm_token_type_ids": (ids == IMAGE).int()}
    pixels = torch.randn(b * 16, 3 * 2 * 14 * 14)
    tokens = {"state_token_id": STATE_TOKEN, "action_token_id": ACTION_TOKEN}
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels, **shape, **tokens}


_OWN = {"pi0_fast": _fast, "multi_task_dit": _steps, "groot": _groot, "eo1": _eo1}


def per_sample(policy: Any, data: Any) -> Tensor:
    """(b,) the loss of each sample, told by the policy's own code or by its own unreduced error."""
    if policy.name in ("smolvla", "pi0", "pi05"):
        return policy.forward(data, reduction="none")[0]
    if policy.name == "xvla":
        return _xvla(policy, data)
    errors = _errors(policy, data)
    if policy.name == "groot":
        return errors.sum((1, 2)) * len(errors) / (data["action_mask"].sum() + 1e-6)
    if policy.name == "pi0_fast":
        mask = data["action.token_mask"][:, 1:].float()
        return (errors.reshape(mask.shape) * mask).sum(1) * len(mask) / mask.sum()
    return errors.flatten(1).mean(1)


def _errors(policy: Any, data: Any) -> Tensor:
    """The unreduced error that passes by in the policy's own forward pass."""
    import torch.nn.functional as F

    seen: list[Tensor] = []

    def noted(real: Any) -> Any:
        def function(*args: Any, **kwargs: Any) -> Tensor:
            seen.append(real(*args, **{**kwargs, "reduction": "none"}))
            how = kwargs.get("reduction", "mean")
            return seen[-1] if how == "none" else getattr(seen[-1], how)()

        return function

    with patch.object(F, "mse_loss", noted(F.mse_loss)), patch.object(F, "cross_entropy", noted(F.cross_entropy)):
        policy.forward(data)
    (errors,) = seen
    if policy.name == "groot":
        return errors * data["action_mask"]
    return errors


def _xvla(policy: Any, data: Any) -> Tensor:
    """Its action space's own loss, told one sample at a time: the mean over a batch is the mean over its samples."""
    space, seen = policy.model.action_space, []
    real = space.compute_loss
    with patch.object(space, "compute_loss", lambda *pair: seen.append(pair) or real(*pair)):
        policy.forward(data)
    ((predicted, action),) = seen
    pairs = zip(predicted.split(1), action.split(1), strict=True)
    return torch.stack([sum(real(p, a).values()) for p, a in pairs])
