"""robomimic: behaviour cloning in its variants, and its diffusion policy."""

from __future__ import annotations

from typing import Any

from ..seam import Seam
from .adapter import Adapter
from .seams import unet


def _bc_loss(algo: Any, batch: Any) -> Any:
    losses = algo._compute_losses(algo._forward_training(batch), batch)
    return losses["action_loss"], losses


def _policy_optimizer(algo: Any) -> list[Any]:
    return [algo.optimizers["policy"]]


_BC = (
    Seam(feature="nets.policy.nets.encoder", head="nets.policy.nets.decoder", sampler=False),
    Seam(head="nets.policy.nets.decoder", condition=0, sampler=False),  # low-dimensional encoders only concatenate
)

ADAPTERS = [
    *(
        Adapter(
            "robomimic",
            name,
            _BC,
            _bc_loss,
            entry="_compute_losses",
            opens="_forward_training",
            key="action_loss",
            optimizers=_policy_optimizer,
            drops="process_batch_for_training",
        )
        for name in ("BC", "BC_Gaussian", "BC_GMM", "BC_RNN", "BC_RNN_GMM", "BC_Transformer", "BC_Transformer_GMM")
    ),
    Adapter(
        "robomimic",
        "DiffusionPolicyUNet",
        unet("nets.policy.noise_pred_net", copies=("ema.averaged_model.policy.noise_pred_net",)),
        entry="train_on_batch",
        sealed=True,
        optimizers=_policy_optimizer,
        drops="process_batch_for_training",
    ),
]
