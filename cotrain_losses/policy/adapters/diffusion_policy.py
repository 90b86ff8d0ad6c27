"""Diffusion Policy, as Chi et al. released it."""

from __future__ import annotations

from ..seam import Seam
from .adapter import Adapter
from .seams import unet

_TRANSFORMER = Seam(head="model", condition="cond", time="timestep", width="model.cond_obs_emb.in_features")

ADAPTERS = [
    Adapter("diffusion_policy", name, seam, "compute_loss", "compute_loss")
    for seam, names in (
        (unet("model"), ("DiffusionUnetImagePolicy", "DiffusionUnetHybridImagePolicy", "DiffusionUnetLowdimPolicy")),
        (_TRANSFORMER, ("DiffusionTransformerHybridImagePolicy", "DiffusionTransformerLowdimPolicy")),
    )
    for name in names
]
