"""A value whose gradients are already known.

Where a term's gradient falls out of its own computation (the envelope theorem of transport, the kernel
sums of MMD), it is taken there, without a graph through the (n, m) matrices.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._core.device import transformed


def with_gradients(value: Tensor | float, *pairs: tuple[Tensor, Tensor]) -> Tensor:
    """The scalar `value`, with each pair's second entry as its gradient at the first.

    On the CPU a number serves as the value and takes the dtype of the first input.  First derivatives only:
    differentiating the gradient raises a RuntimeError.
    """
    inputs, gradients = zip(*pairs, strict=True)
    result: Tensor = _Known.apply(value, len(inputs), *inputs, *gradients)  # type: ignore[no-untyped-call]
    return result


def check_followed(*inputs: Tensor) -> None:
    """Refuse inputs that torch.func follows: it cannot see a gradient that is known without a graph."""
    if any(transformed(x) for x in inputs):
        raise RuntimeError(
            "the gradient of transport is known without a graph, which torch.func cannot follow.\n"
            "Take it with torch.autograd.grad or backward(), or use MMD or EnergyDistance inside torch.func."
        )


class _Known(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor | float, count: int, *tensors: Tensor) -> Tensor:
        ctx.count = count
        ctx.save_for_backward(*tensors)
        return value.view_as(value) if isinstance(value, Tensor) else torch.full((), value, dtype=tensors[0].dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        inputs, known = ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count :]
        found = [gradient * each for each in known]
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            found = [_FirstOnly.apply(each, x) for each, x in zip(found, inputs, strict=True)]  # type: ignore[no-untyped-call]
        return (None, None, *found, *[None] * len(found))


class _FirstOnly(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, x: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        raise RuntimeError(
            "this term knows its first derivatives only (they are taken without a graph), got a second derivative.\n"
            "Take the gradient with create_graph=False, or leave the term out of what is differentiated twice."
        )
