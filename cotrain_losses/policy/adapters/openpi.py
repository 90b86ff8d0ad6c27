"""openpi: pi0 and pi0.5, in PyTorch."""

from __future__ import annotations

from typing import Any

from .adapter import Adapter
from .seams import PALIGEMMA, expert


def _spread(policy: Any, batch: Any) -> Any:
    return policy(*batch)


ADAPTERS = [
    Adapter(
        "openpi",
        "PI0Pytorch",
        tuple(
            expert(PALIGEMMA, "action_out_proj", time, prefix="") for time in ("action_time_mlp_out", "time_mlp_out")
        ),
        _spread,
    ),
]
