"""Policies of LeRobot 0.4.4 and 0.6.1, small, with a batch and the loss of each sample told by their own code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy
from lerobot.policies.vqbet.configuration_vqbet import VQBeTConfig
from lerobot.policies.vqbet.modeling_vqbet import VQBeTPolicy
from torch import Tensor
from torch.overrides import TorchFunctionMode

B, STATE, ACTION, SIDE = 6, 4, 3, 48


def features(*kinds: str) -> dict[str, Any]:
    every = {
        "observation.state": PolicyFeature(FeatureType.STATE, (STATE,)),
        "observation.environment_state": PolicyFeature(FeatureType.ENV, (5,)),
        "observation.images.top": PolicyFeature(FeatureType.VISUAL, (3, SIDE, SIDE)),
        "observation.images.wrist": PolicyFeature(FeatureType.VISUAL, (3, SIDE, SIDE)),
    }
    inputs = {name: feature for name, feature in every.items() if name.split(".", 1)[1].startswith(kinds)}
    outputs = {"action": PolicyFeature(FeatureType.ACTION, (ACTION,))}
    return {"input_features": inputs, "output_features": outputs, "device": "cpu"}


UNET = {"crop_shape": None, "down_dims": (32, 64), "horizon": 8, "n_action_steps": 4, "num_inference_steps": 3}
VISION = {"spatial_softmax_num_keypoints": 8, "pretrained_backbone_weights": None}


def image_diffusion(**more: Any) -> DiffusionPolicy:
    settings = {"use_group_norm": True, "use_separate_rgb_encoder_per_camera": False, **VISION, **more}
    return DiffusionPolicy(DiffusionConfig(**features("state", "images"), **UNET, **settings))


def state_diffusion() -> DiffusionPolicy:
    return DiffusionPolicy(DiffusionConfig(**features("state", "environment_state"), **UNET))


def act(*kinds: str) -> ACTPolicy:
    size = {"dim_model": 32, "n_heads": 2, "dim_feedforward": 32, "n_encoder_layers": 1, "n_vae_encoder_layers": 1}
    config = ACTConfig(**features(*kinds), **size, dropout=0.0, chunk_size=8, n_action_steps=8, latent_dim=4)
    config.pretrained_backbone_weights = None
    return ACTPolicy(config)


def vqbet(steps: int = 2) -> VQBeTPolicy:
    gpt = {"gpt_n_layer": 1, "gpt_n_head": 2, "gpt_hidden_dim": 32, "gpt_input_dim": 32, "gpt_output_dim": 32}
    config = VQBeTConfig(
        **features("state", "images.top"), **gpt, **VISION, crop_shape=None, n_vqvae_training_steps=steps
    )
    return VQBeTPolicy(config)


def batch(policy: Any, b: int = B) -> dict[str, Tensor]:
    """b samples as the policy's preprocessor gives them."""
    config = policy.config
    steps = () if isinstance(policy, ACTPolicy) else (config.n_obs_steps,)
    horizon = len(config.action_delta_indices)
    found = {name: torch.rand(b, *steps, *f.shape) for name, f in config.input_features.items()}
    pad = torch.zeros(b, horizon, dtype=torch.bool)
    return {**found, "action": torch.rand(b, horizon, ACTION) * 2 - 1, "action_is_pad": pad}


class _Captured(TorchFunctionMode):
    """The unreduced mean squared error that passes by."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function is F.mse_loss:
            self.loss = result
        return result


def per_sample(policy: Any, data: Any) -> Tensor:
    """(b,) the loss of each sample."""
    if isinstance(policy, DiffusionPolicy):
        with _Captured() as captured:
            policy.forward(data)
        return captured.loss.flatten(1).mean(1)
    seen: list[Any] = []
    module = policy.model if isinstance(policy, ACTPolicy) else policy.vqbet.action_head
    handle = module.register_forward_hook(lambda _, __, output: seen.append(output))
    policy.forward(data)
    handle.remove()
    return _act(policy, data, seen[0]) if isinstance(policy, ACTPolicy) else _vqbet(policy, data, seen[0])


def _act(policy: ACTPolicy, data: Any, output: Any) -> Tensor:
    actions, (mu, log_sigma) = output
    l1 = (data["action"] - actions).abs().flatten(1).mean(1)
    divergence = (-0.5 * (1 + log_sigma - mu.square() - log_sigma.exp())).sum(1)
    return l1 + policy.config.kl_weight * divergence


def _vqbet(policy: VQBeTPolicy, data: Any, output: dict[str, Tensor]) -> Tensor:
    target = data["action"][:, policy.vqbet.select_target_actions_indices]
    tokens = target.shape[1]

    def of(i: int) -> Tensor:
        rows = slice(i * tokens, (i + 1) * tokens)
        one = {name: x[i : i + 1] if name == "predicted_action" else x[rows] for name, x in output.items()}
        return policy.vqbet.action_head.loss_fn(one, target[i : i + 1], reduction="mean")["loss"]

    return torch.stack([of(i) for i in range(len(target))])


def trained_codebook() -> Any:
    policy = vqbet()
    data = batch(policy)
    for _ in range(3):
        policy.forward(data)
    assert bool(policy.vqbet.action_head.vqvae_model.discretized)
    return policy


POLICIES: dict[str, Callable[[], Any]] = {
    "diffusion, two cameras": image_diffusion,
    "diffusion, an encoder per camera": lambda: image_diffusion(use_separate_rgb_encoder_per_camera=True),
    "diffusion, state": state_diffusion,
    "act, two cameras": lambda: act("state", "images"),
    "act, environment state": lambda: act("state", "environment_state"),
    "vqbet": trained_codebook,
}
"""every small policy, those that sample by steps first"""
