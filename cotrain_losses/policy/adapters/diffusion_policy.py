"""Diffusion Policy, as Chi et al. released it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..entries import InstalledStep
from ..seam import Seam
from .adapter import Adapter, unet


class Normalizing(Adapter):
    """Policies whose normalizer refuses keys that it was not fitted on: a batch's domain stays outside."""

    def loss(self, policy: Any, batch: Any) -> Any:
        return super().loss(policy, _unlabelled(batch))

    def overrides(self, installed: InstalledStep) -> dict[str, Callable[..., Any]]:
        def call(original: Callable[..., Any], batch: Any) -> Any:
            return installed.returned(lambda given: original(_unlabelled(given)), batch)

        return {self.entry: call}


def _unlabelled(batch: Any) -> Any:
    labelled = isinstance(batch, Mapping) and "domain" in batch
    return {name: value for name, value in batch.items() if name != "domain"} if labelled else batch


_UNETS = ("DiffusionUnetImagePolicy", "DiffusionUnetHybridImagePolicy", "DiffusionUnetLowdimPolicy")
_TRANSFORMERS = ("DiffusionTransformerHybridImagePolicy", "DiffusionTransformerLowdimPolicy")
_TRANSFORMER = Seam(head="model", condition="cond", time="timestep", width="model.cond_obs_emb.in_features")

ADAPTERS = [
    Normalizing("diffusion_policy", _UNETS, unet("model"), "compute_loss"),
    Normalizing("diffusion_policy", _TRANSFORMERS, _TRANSFORMER, "compute_loss"),
]
