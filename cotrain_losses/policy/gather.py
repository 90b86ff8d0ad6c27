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

import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.graph import register_multi_grad_hook

from .._core.device import moved
from .._core.ranks import ranks, summed
from .._core.rows import Rows


class Gather:
    """The rows of all ranks in one all-gather of bytes.

        sent by each rank     8 + capacity * (bytes of one row's parts)       received     as much from every rank

    The first 8 bytes are the rank's own number of rows, the capacity is the largest number that any rank had so far.  A
    step in which a rank has more sends a second time, at the new capacity, on all ranks: the first step, as a rule, and
    no later one.  On CUDA the host waits once, for the numbers.

    Args:
        group: the process group; None is the default one.
    """

    def __init__(self, group: Any = None) -> None:
        self.group, self.capacity = group, 0

    def __call__(self, *parts: Tensor) -> list[Tensor]:
        """Each part (n, ...) of all ranks in rank order; the own rows stay in the graph.

        Ranks may hold different numbers of rows, none included; all have to hold the same parts and to take the step
        together.  Without other ranks, the parts themselves.
        """
        if ranks() == 1:
            return list(parts)
        own = [x.detach().contiguous() for x in parts]
        received = self._exchanged(own)
        counts = _counts(received)
        if max(counts) > self.capacity:
            self.capacity = max(counts)
            received = self._exchanged(own)
        return [self._joined(x, y, counts) for x, y in zip(parts, _columns(received, own, self.capacity), strict=True)]

    def _exchanged(self, parts: list[Tensor]) -> list[Tensor]:
        head = torch.tensor([len(parts[0])]).view(torch.uint8)
        sent = torch.cat([moved(head, parts[0].device), *(_padded(x, self.capacity) for x in parts)])
        received = [torch.empty_like(sent) for _ in range(dist.get_world_size(self.group))]
        dist.all_gather(received, sent, group=self.group)
        return received

    def _joined(self, own: Tensor, every: list[Tensor], counts: list[int]) -> Tensor:
        rows = [x[:count] for x, count in zip(every, counts, strict=True)]
        if own.requires_grad:
            rows[dist.get_rank(self.group)] = live = own.view_as(own)
            live.register_hook(lambda gradient: len(counts) * gradient)  # type: ignore[no-untyped-call]
        return torch.cat(rows)


def gathered(rows: Rows, *, group: Any = None) -> Rows:
    """The rows of all ranks, in rank order; `rows` itself where nothing is distributed.  See `Gather`."""
    return rows if ranks() == 1 else with_gathered(Gather(group), rows)[0]


def with_gathered(gather: Gather, rows: Rows, *more: Tensor) -> tuple[Rows, list[Tensor]]:
    """Rows, and tensors of as many rows, of all ranks."""
    names = ("mass", "group", "valid")
    kept = {name: part for name in names if (part := getattr(rows, name)) is not None}
    features, *rest = gather(rows.features, *rows.extras.values(), *kept.values(), *more)
    every = iter(rest)
    extras = {name: next(every) for name in rows.extras}
    return Rows(features, extras, **{name: next(every) for name in kept}), list(every)


def _padded(x: Tensor, capacity: int) -> Tensor:
    """The bytes of x, or of its first rows, and zeros where there are fewer than `capacity`."""
    padded = x.new_zeros(capacity, *x.shape[1:])
    padded[: len(x)] = x[:capacity]
    return padded.view(torch.uint8).flatten() if padded.numel() else padded.new_zeros(0, dtype=torch.uint8)


def _counts(received: list[Tensor]) -> list[int]:
    heads: list[int] = torch.cat([x[:8] for x in received]).view(torch.int64).tolist()
    return heads


def _columns(received: list[Tensor], like: list[Tensor], capacity: int) -> list[list[Tensor]]:
    """Each part of every rank, `capacity` rows of it."""
    sizes = [capacity * math.prod(x.shape[1:]) * x.element_size() for x in like]
    columns: list[list[Tensor]] = [[] for _ in like]
    for sent in received:
        for column, x, part in zip(columns, like, torch.split(sent[8:], sizes), strict=True):
            column.append(part.clone().view(x.dtype).reshape(capacity, *x.shape[1:]))
    return columns


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
