"""LeRobot (GR00T in LeRobot: `gr00t`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..paths import resolved
from ..seam import Seam
from .adapter import PALIGEMMA, Adapter, expert, over_pixels, over_tokens, unet


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


def _xvla_width(policy: Any) -> int:
    """The projection is a matrix, or one for each of X-VLA's own domains."""
    projection = resolved(policy, "model.transformer.vlm_proj")
    return int(getattr(projection, "in_features", 0) or projection.input_size)


_XVLA = Seam(head="model.transformer", condition="vlm_features", time="t", pool=over_tokens, width=_xvla_width)
_PI0_FAST = Seam(  # action tokens, one after another: no sampler to guide
    feature=f"model.{PALIGEMMA}", pool=over_tokens, head="model.paligemma_with_expert.paligemma.lm_head", sampler=False
)
_EO1 = Seam(  # noised actions are tokens of the backbone, and one prediction is no module of its own
    feature="model.vlm_backbone.model.language_model.norm",
    pool=over_tokens,
    head="model.action_out_proj",
    sampler=False,
)

ADAPTERS = [
    Adapter("lerobot", "DiffusionPolicy", unet("diffusion.unet")),
    Adapter("lerobot", "ACTPolicy", _ACT),
    Adapter("lerobot", "VQBeTPolicy", _VQBET),
    Adapter("lerobot", "MultiTaskDiTPolicy", _DIT),
    Adapter("lerobot", "SmolVLAPolicy", expert("vlm_with_expert.vlm.model.connector", "action_out_proj")),
    Adapter("lerobot", "PI0Policy", expert(PALIGEMMA, "action_out_proj")),
    Adapter("lerobot", "PI05Policy", expert(PALIGEMMA, "action_out_proj", "time_mlp_out")),
    Adapter("lerobot", "PI0FastPolicy", _PI0_FAST),
    Adapter("lerobot", "XVLAPolicy", _XVLA),
    Adapter("lerobot", "EO1Policy", _EO1),
]
