"""robomimic: behaviour cloning in its variants, and its diffusion policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..entries import InstalledStep, SplitLoss
from ..paths import exists
from ..seam import Seam
from .adapter import Adapter, unet

KEY = "cotrain"
"""where a checkpoint's model, or the metadata of a module's state, holds the method"""


class Robomimic(Adapter):
    """An algo that holds its optimizer and serializes itself, the method with it."""

    def optimizers(self, policy: Any) -> list[Any]:
        return [policy.optimizers["policy"]]

    def overrides(self, installed: InstalledStep) -> dict[str, Callable[..., Any]]:
        kept = {"serialize": partial(_serialize, installed), "deserialize": partial(_deserialize, installed)}
        calls: dict[str, Callable[..., Any]] = {"process_batch_for_training": _keeping_domain, **kept}
        return {name: call for name, call in calls.items() if hasattr(installed.policy, name)}


class BehaviourCloning(Robomimic):
    """Predictions and losses are two methods of one training step."""

    def loss(self, policy: Any, batch: Any) -> Any:
        losses = policy._compute_losses(policy._forward_training(batch), batch)
        return losses["action_loss"], losses

    def overrides(self, installed: InstalledStep) -> dict[str, Callable[..., Any]]:
        split = SplitLoss(installed, self.entry, "action_loss")
        return {"_forward_training": split.forward, self.entry: split.losses, **super().overrides(installed)}


class SealedDiffusion(Robomimic):
    """Forward, backward and step are one method."""

    def loss(self, policy: Any, batch: Any) -> Any:
        raise ValueError(
            f"{type(policy).__name__} keeps its loss inside {self.entry}, got a call that needs it. Let its own loop "
            "train, cotrain.install(domain=...), or pass CoTrain(loss=lambda policy, batch: ...)."
        )

    def overrides(self, installed: InstalledStep) -> dict[str, Callable[..., Any]]:
        return {self.entry: installed.sealed, **super().overrides(installed)}


@dataclass(frozen=True)
class AveragedSeam(Seam):
    """Actions are sampled from an average of the UNet, where the algo keeps one."""

    def copies(self, policy: Any) -> tuple[Seam, ...]:
        average = "ema.averaged_model.policy.noise_pred_net"
        return (replace(self, head=average),) if exists(policy, average) else ()


def _serialize(installed: InstalledStep, original: Callable[..., Any]) -> Any:
    """What an algo writes into a checkpoint, and the method under a key of its own.

    Algos that write a module's state alone load it strictly (0.3.0), so there the method is among its metadata.
    """
    held, state = original(), installed.state_dict()
    metadata = getattr(held, "_metadata", None)
    if metadata is None:
        return {**held, KEY: state}
    metadata[KEY] = state
    return held


def _deserialize(installed: InstalledStep, original: Callable[..., Any], held: Any, *args: Any, **kwargs: Any) -> Any:
    """An algo as a checkpoint has it, and the method; what the checkpoint lacks of it is told."""
    installed.load_state_dict(held.get(KEY, getattr(held, "_metadata", {}).get(KEY, {})))
    own = {name: value for name, value in held.items() if name != KEY} if KEY in held else held
    return original(own, *args, **kwargs)


def _keeping_domain(original: Callable[..., Any], batch: Any) -> Any:
    """A batch without the keys that an algo does not know; its domain stays."""
    return {**original(batch), **{key: batch[key] for key in ("domain",) if key in batch}}


_CLONING = ("BC", "BC_Gaussian", "BC_GMM", "BC_RNN", "BC_RNN_GMM", "BC_Transformer", "BC_Transformer_GMM")
_CLONING_SEAMS = (
    Seam(feature="nets.policy.nets.encoder", head="nets.policy.nets.decoder", sampler=False),
    Seam(head="nets.policy.nets.decoder", condition=0, sampler=False),  # low-dimensional encoders only concatenate
)
_UNET = unet("nets.policy.noise_pred_net", AveragedSeam)

ADAPTERS = [
    BehaviourCloning("robomimic", _CLONING, _CLONING_SEAMS, "_compute_losses"),
    SealedDiffusion("robomimic", "DiffusionPolicyUNet", _UNET, "train_on_batch"),
]
