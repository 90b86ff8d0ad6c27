"""Diffusion Policy, as Chi et al. released it."""

from __future__ import annotations

from ..seam import Seam
from .adapter import Adapter, unet

_UNETS = ("DiffusionUnetImagePolicy", "DiffusionUnetHybridImagePolicy", "DiffusionUnetLowdimPolicy")
_TRANSFORMERS = ("DiffusionTransformerHybridImagePolicy", "DiffusionTransformerLowdimPolicy")
_TRANSFORMER = Seam(head="model", condition="cond", time="timestep", width="model.cond_obs_emb.in_features")

ADAPTERS = [
    Adapter("diffusion_policy", _UNETS, unet("model"), "compute_loss"),
    Adapter("diffusion_policy", _TRANSFORMERS, _TRANSFORMER, "compute_loss"),
]
