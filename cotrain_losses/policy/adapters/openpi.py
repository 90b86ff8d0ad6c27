"""openpi: pi0 and pi0.5, in PyTorch."""

from __future__ import annotations

from typing import Any

from .adapter import PALIGEMMA, Adapter, expert


class OpenPi(Adapter):
    """A model that takes observation and actions, which a batch here is the pair of."""

    def loss(self, policy: Any, batch: Any) -> Any:
        return policy(*batch)


_TIMES = ("action_time_mlp_out", "time_mlp_out")

ADAPTERS = [
    OpenPi("openpi", "PI0Pytorch", tuple(expert(PALIGEMMA, "action_out_proj", time, prefix="") for time in _TIMES))
]
