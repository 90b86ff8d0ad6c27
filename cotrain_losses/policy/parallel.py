"""A method's own parameters, alike on all ranks of a data-parallel script that does not know them.

    start       theta_r = theta_0             one broadcast
    backward    g_r = mean over ranks of g    one all-reduce at the end of each backward pass

which is what DistributedDataParallel does for the policy's.  The mean of what is alike is itself, so gradients that
accumulate over several backward passes are the mean of the sums; a loss scale common to the ranks passes through.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.graph import register_multi_grad_hook


class ReplicatedParameters:
    """Parameters that every rank starts and steps alike; it acts once `begin` is called among several processes."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = [p for p in parameters if p.requires_grad]
        self._handles: list[Any] = []
        self._complete = False

    def begin(self) -> bool:
        """Take rank 0's values and average gradients from now on; whether this was the first such call."""
        if self._handles or not self.parameters or not _several():
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
        if self._complete:
            self._complete = False
            self._average()

    def _average(self) -> None:
        """One all-reduce of all gradients, and of which rank has one: none anywhere stays none."""
        present = [p.grad is not None for p in self.parameters]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        flags = gradients[0].new_tensor(present)
        flat = torch.cat([flags, *(g.detach().flatten() for g in gradients)])
        dist.all_reduce(flat)
        anywhere, *sums = torch.split(flat, [len(present), *(g.numel() for g in gradients)])
        for p, gradient, total, somewhere in zip(self.parameters, gradients, sums, anywhere.tolist(), strict=True):
            if somewhere:
                gradient.copy_((total / dist.get_world_size()).reshape(gradient.shape))
                p.grad = gradient


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
