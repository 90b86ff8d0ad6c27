"""The global batch under data parallelism: a differentiable all-gather of rows.

    z = [z_0; z_1; ... z_{W-1}]        R(z) evaluated alike on each of W ranks
    dR/dz_r at rank r  =  W dR/dz [rows of r]

Every rank computes the same scalar from the same rows, so its gradient needs no second communication; the factor
W cancels DistributedDataParallel's mean over ranks.  What an encoder below, or a term's own head, receives is then
the gradient of a single process on the concatenated batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from .._core.rows import Rows


def gathered(rows: Rows, *, group: Any = None) -> Rows:
    """The rows of all ranks, in rank order; `rows` itself where nothing is distributed.

    Ranks may hold different numbers of rows, none included; all have to hold the same parts (extras, mass, group,
    valid) and to take the step together.  The counts have to be known to all, so on CUDA the host waits once.

    Args:
        group: process group; None is the default one.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size(group) == 1:
        return rows
    sizes = _sizes(rows, group)
    return rows.map(_gather_by(sizes, group))


def _sizes(rows: Rows, group: Any) -> list[int]:
    """How many rows each rank holds."""
    own = torch.tensor([len(rows)], device=rows.features.device)
    every = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
    dist.all_gather(every, own, group=group)
    return [int(size) for size in torch.cat(every).tolist()]


def _gather_by(sizes: list[int], group: Any) -> Callable[[Tensor], Tensor]:
    def gather(x: Tensor) -> Tensor:
        if x.dtype == torch.bool:
            return _gather(x.to(torch.uint8), sizes, group).bool()
        if x.is_floating_point() and x.dtype.itemsize < 4:
            x = x.float()  # terms compute in float32 anyway, and not every backend gathers half precision
        gathered: Tensor = _Gather.apply(x, sizes, group) if x.requires_grad else _gather(x, sizes, group)  # type: ignore[no-untyped-call]
        return gathered

    return gather


def _gather(x: Tensor, sizes: list[int], group: Any) -> Tensor:
    """Rows of all ranks, sent padded to the largest."""
    padded = x.new_zeros(max(sizes), *x.shape[1:])
    padded[: len(x)] = x.detach()
    every = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(every, padded, group=group)
    return torch.cat([part[:size] for part, size in zip(every, sizes, strict=True)])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: list[int], group: Any) -> Tensor:
        rank = dist.get_rank(group)
        ctx.world, ctx.start, ctx.stop = len(sizes), sum(sizes[:rank]), sum(sizes[: rank + 1])
        return _gather(x, sizes, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.world * gradient[ctx.start : ctx.stop], None, None
