"""LeRobot (GR00T in LeRobot: `gr00t`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..seam import Seam
from .adapter import PALIGEMMA, Adapter, expert, over_pixels, unet


@dataclass(frozen=True)
class CodebookSeam(Seam):
    """VQ-BeT learns its codebook first, without images."""

    def dormant(self, policy: Any) -> bool:
        return not bool(policy.vqbet.action_head.vqvae_model.discretized)


_ACT = tuple(
    Seam(feature=f"model.encoder_{feature}_input_proj", pool=pool, head="model", sampler=False)
    for feature, pool in (("img_feat", over_pixels), ("env_state", None), ("robot_state", None))
)
_VQBET = CodebookSeam(feature="vqbet.rgb_feature_projector", head="vqbet.action_head", sampler=False)
_DIT = Seam(
    head="noise_predictor", condition="conditioning_vec", time="timestep", width="noise_predictor.conditioning_dim"
)

ADAPTERS = [
    Adapter("lerobot", "DiffusionPolicy", unet("diffusion.unet")),
    Adapter("lerobot", "ACTPolicy", _ACT),
    Adapter("lerobot", "VQBeTPolicy", _VQBET),
    Adapter("lerobot", "MultiTaskDiTPolicy", _DIT),
    Adapter("lerobot", "SmolVLAPolicy", expert("vlm_with_expert.vlm.model.connector", "action_out_proj")),
    Adapter("lerobot", "PI0Policy", expert(PALIGEMMA, "action_out_proj")),
    Adapter("lerobot", "PI05Policy", expert(PALIGEMMA, "action_out_proj", "time_mlp_out")),
]
