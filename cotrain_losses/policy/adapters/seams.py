"""The shapes of seams that several codebases share."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from ..paths import submodule
from ..seam import Seam


def over_tokens(z: Tensor) -> Tensor:
    """(b, tokens, d) -> (b, d), their mean."""
    return z.mean(1)


def over_pixels(z: Tensor) -> Tensor:
    """(b, d, h, w) -> (b, d), their mean."""
    return z.flatten(2).mean(2)


def unet_width(unet: nn.Module) -> int:
    """Width of the global condition of the one-dimensional UNet that several codebases share."""
    blocks: Any = unet.down_modules
    steps: Any = unet.diffusion_step_encoder
    return int(blocks[0][0].cond_encoder[1].in_features - steps[-1].out_features)


def unet(path: str, kind: type[Seam] = Seam) -> Seam:
    """A one-dimensional UNet over actions that takes the observations as its global condition."""
    return kind(head=path, condition="global_cond", time="timestep", width=partial(_unet_width, path))


def _unet_width(path: str, policy: Any) -> int:
    return unet_width(submodule(policy, path))


def expert(features: str, head: str, time: str = "action_time_mlp_out", prefix: str = "model.") -> Seam:
    """A vision-language model whose action expert takes the token with the time and the noised actions."""
    return Seam(
        feature=prefix + features,
        pool=over_tokens,
        token=prefix + time,
        width=f"{prefix}{time}.out_features",
        head=f"{prefix}{head}",
        sampler=f"{prefix}denoise_step",
    )


PALIGEMMA = "paligemma_with_expert.paligemma.model.multi_modal_projector"
"""where pi0's and pi0.5's images become tokens"""
