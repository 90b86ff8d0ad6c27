"""A value whose gradients are already known.

Where a term's gradient falls out of its own computation (the envelope theorem of transport, the kernel
sums of MMD), it is taken there, without a graph through the (n, m) matrices.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def with_gradients(value: Tensor, *pairs: tuple[Tensor, Tensor | None]) -> Tensor:
    """The scalar `value`, with each pair's second entry as its gradient at the first (None: no gradient).

    First derivatives only: differentiating the gradient raises an error.
    """
    inputs, gradients = zip(*pairs, strict=True)
    result: Tensor = _Known.apply(value, len(inputs), *inputs, *gradients)  # type: ignore[no-untyped-call]
    return result


class _Known(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, count: int, *tensors: Tensor | None) -> Tensor:
        ctx.count = count
        ctx.save_for_backward(*tensors[count:])
        return value.view_as(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        scaled = (None if known is None else gradient * known for known in ctx.saved_tensors)
        return (None, None, *scaled, *[None] * ctx.count)
