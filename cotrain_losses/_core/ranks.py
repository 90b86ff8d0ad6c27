"""Numbers that all ranks agree on under data parallelism."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def ranks() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def summed(x: Tensor) -> Tensor:
    """The sum over ranks; x itself where nothing is distributed.  Ranks have to call it together."""
    if ranks() > 1:
        x = x.clone()
        dist.all_reduce(x)
    return x
