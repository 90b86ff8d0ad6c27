"""LeRobot (GR00T in LeRobot: `gr00t`)."""

from __future__ import annotations

from typing import Any

from ..seam import Seam
from .adapter import Adapter
from .seams import PALIGEMMA, expert, over_pixels, unet


def _codebook_first(policy: Any) -> bool:
    return not bool(policy.vqbet.action_head.vqvae_model.discretized)


_ACT = tuple(
    Seam(feature=f"model.{feature}", pool=pool, head="model", sampler=False)
    for feature, pool in (
        ("encoder_img_feat_input_proj", over_pixels),
        ("encoder_env_state_input_proj", None),
        ("encoder_robot_state_input_proj", None),
    )
)
_VQBET = Seam(feature="vqbet.rgb_feature_projector", head="vqbet.action_head", sampler=False, dormant=_codebook_first)
_DIT = Seam(
    head="noise_predictor",
    condition="conditioning_vec",
    time="timestep",
    width="noise_predictor.conditioning_dim",
)

ADAPTERS = [
    Adapter("lerobot", "DiffusionPolicy", unet("diffusion.unet"), "__call__"),
    Adapter("lerobot", "ACTPolicy", _ACT, "__call__"),
    Adapter("lerobot", "VQBeTPolicy", _VQBET, "__call__"),
    Adapter("lerobot", "MultiTaskDiTPolicy", _DIT, "__call__"),
    Adapter("lerobot", "SmolVLAPolicy", expert("vlm_with_expert.vlm.model.connector", "action_out_proj"), "__call__"),
    Adapter("lerobot", "PI0Policy", expert(PALIGEMMA, "action_out_proj"), "__call__"),
    Adapter("lerobot", "PI05Policy", expert(PALIGEMMA, "action_out_proj", "time_mlp_out"), "__call__"),
]
