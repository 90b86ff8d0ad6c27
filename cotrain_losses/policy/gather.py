"""Data parallelism: a differentiable all-gather of rows, and a method's own parameters alike on all ranks.

    z = [z_0; z_1; ... z_{W-1}]        R(z) evaluated alike on each of W ranks
    dR/dz_r at rank r  =  W dR/dz [rows of r]

Every rank computes the same scalar from the same rows, so its gradient needs no second communication; W cancels
DistributedDataParallel's mean over ranks.  The result is the gradient of a single process on the concatenated batch.

    start       theta_r = theta_0             one broadcast
    backward    g_r = mean over ranks of g    one all-reduce at the end of each backward pass

is what DistributedDataParallel does for the policy's parameters, `ReplicatedParameters` for the method's where a script
does not know them.  The mean of what is alike is itself, so gradients may accumulate over backward passes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.graph import register_multi_grad_hook

from .._core.ranks import ranks, summed
from .._core.rows import Rows


def gathered(rows: Rows, *, group: Any = None) -> Rows:
    """The rows of all ranks, in rank order; `rows` itself where nothing is distributed.

    Ranks may hold different numbers of rows, none included; all have to hold the same parts (extras, mass, group,
    valid) and to take the step together.  The counts have to be known to all, so on CUDA the host waits once.
    `group` None is the default process group.
    """
    if ranks() == 1:
        return rows
    own = torch.tensor([len(rows)], device=rows.features.device)
    every = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
    dist.all_gather(every, own, group=group)
    sizes = [int(size) for size in torch.cat(every).tolist()]
    return rows.map(lambda x: _gathered(x, sizes, group))


def _gathered(x: Tensor, sizes: list[int], group: Any) -> Tensor:
    """Rows of all ranks, sent padded to the largest; the own ones stay in the graph."""
    if x.dtype == torch.bool:
        return _gathered(x.to(torch.uint8), sizes, group).bool()
    if x.is_floating_point() and x.dtype.itemsize < 4:
        x = x.float()  # terms compute in float32 anyway, and not every backend gathers half precision
    padded = x.new_zeros(max(sizes), *x.shape[1:])
    padded[: len(x)] = x.detach()
    every = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(every, padded, group=group)
    parts = [part[:size] for part, size in zip(every, sizes, strict=True)]
    if x.requires_grad:
        parts[dist.get_rank(group)] = own = x.view_as(x)
        own.register_hook(lambda gradient: len(sizes) * gradient)  # type: ignore[no-untyped-call]
    return torch.cat(parts)


class ReplicatedParameters:
    """Parameters that every rank starts and steps alike; it acts once `begin` is called among several processes."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = [p for p in parameters if p.requires_grad]
        self._handles: list[Any] = []
        self._complete = False

    def begin(self) -> bool:
        """Take rank 0's values and average gradients from now on; whether this was the first such call."""
        if self._handles or not self.parameters or ranks() == 1:
            return False
        for p in self.parameters:
            dist.broadcast(p.detach(), src=0)
        self._handles = [
            register_multi_grad_hook(self.parameters, self._on_all_gradients),
            *(p.register_post_accumulate_grad_hook(self._on_accumulated) for p in self.parameters),  # type: ignore[no-untyped-call]
        ]
        return True

    def remove(self) -> None:
        """Average no more."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _on_all_gradients(self, gradients: Any) -> None:
        """Every gradient of this backward pass is there; all but the last are accumulated."""
        self._complete = True

    def _on_accumulated(self, parameter: Tensor) -> None:
        """One all-reduce of all gradients, and of which rank has one: none anywhere stays none."""
        if not self._complete:
            return
        self._complete = False
        present = [p.grad is not None for p in self.parameters]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        flags = gradients[0].new_tensor(present)
        flat = summed(torch.cat([flags, *(g.detach().flatten() for g in gradients)]))
        anywhere, *sums = torch.split(flat, [len(present), *(g.numel() for g in gradients)])
        for p, gradient, total, somewhere in zip(self.parameters, gradients, sums, anywhere.tolist(), strict=True):
            if somewhere:
                gradient.copy_((total / ranks()).reshape(gradient.shape))
                p.grad = gradient
