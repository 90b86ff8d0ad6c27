"""GR00T: NVIDIA's own N1.5 to N1.7, and N1.5 inside LeRobot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..paths import resolved
from ..seam import Seam
from .adapter import Adapter


@dataclass(frozen=True)
class _ExpandedBatch:
    """GR00T N1.5 can repeat a batch end to end, where labels are unfolded side by side."""

    path: str

    def __call__(self, policy: Any) -> str | None:
        times = getattr(resolved(policy, self.path), "expand_batch", None)
        return None if times is None else f"expand_batch={times}, which repeats a batch past its labels. Set it to None"


def _seam(prefix: str = "") -> Seam:
    """A transformer over action tokens that cross attends to the backbone's, and a decoder behind it."""
    return Seam(
        head=f"{prefix}action_head.model",
        condition="encoder_hidden_states",
        mask="encoder_attention_mask",
        cache="kv_cache",
        time="timestep",
        then=f"{prefix}action_head.action_decoder",
        width=f"{prefix}action_head.config.backbone_embedding_dim",
    )


_CLASSES = (("lerobot", "_groot_model.", ("GrootPolicy",)), ("gr00t", "", ("GR00T_N1_5", "Gr00tN1d6", "Gr00tN1d7")))

ADAPTERS = [
    Adapter(package, name, _seam(prefix), "__call__", unfit=_ExpandedBatch(f"{prefix}action_head.config"))
    for package, prefix, names in _CLASSES
    for name in names
]
