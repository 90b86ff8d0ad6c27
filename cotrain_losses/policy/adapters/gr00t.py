"""GR00T: NVIDIA's own N1.5 to N1.7, and N1.5 inside LeRobot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..passes import Argument
from ..paths import resolved
from ..seam import Seam
from .adapter import Adapter

_MASK = "encoder_attention_mask"


@dataclass(frozen=True)
class ActionHeadSeam(Seam):
    """A transformer over action tokens that cross attends to the backbone's, and a decoder behind it.

    While actions are sampled the transformer keeps the keys it made of one condition; the other is given none of them.
    """

    def features_of(self, condition: Tensor, head: nn.Module, args: Any, kwargs: Any) -> Tensor:
        if not torch.is_grad_enabled() and _MASK not in kwargs:  # while actions are sampled
            return condition
        real = Argument(head, self.left, _MASK).of(args, kwargs).to(condition)[..., None]
        return (condition * real).sum(1) / real.sum(1).clamp_min(1.0)

    def call_again(self, head: nn.Module, args: Any, kwargs: Any) -> Any:
        return head(*args, **{name: value for name, value in kwargs.items() if name != "kv_cache"})


class Gr00t(Adapter):
    """GR00T N1.5 can repeat a batch end to end for the action head."""

    def seam_of(self, policy: object) -> Seam | None:
        seam = super().seam_of(policy)
        head = resolved(policy, (seam.heads[0].call if seam else "").rpartition(".")[0])
        repeats = getattr(head.config, "expand_batch", None) is not None
        return replace(seam, rows="repeated") if seam is not None and repeats else seam


def _seam(prefix: str = "") -> Seam:
    return ActionHeadSeam(
        head=f"{prefix}action_head.model",
        condition="encoder_hidden_states",
        time="timestep",
        prediction=f"{prefix}action_head.action_decoder",
        width=f"{prefix}action_head.config.backbone_embedding_dim",
    )


ADAPTERS = [
    Gr00t("gr00t", ("GR00T_N1_5", "Gr00tN1d6", "Gr00tN1d7"), _seam()),
    Gr00t("lerobot", "GrootPolicy", _seam("_groot_model.")),
]
