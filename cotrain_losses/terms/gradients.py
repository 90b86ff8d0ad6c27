"""A value whose gradients are already known.

Where a term's gradient falls out of its own computation (the envelope theorem of transport, the kernel
sums of MMD), it is taken there, without a graph through the (n, m) matrices.
"""

from __future__ import annotations

from itertools import accumulate
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


def with_pooled_gradients(value: Tensor, inputs: tuple[Tensor, ...], at: Tensor) -> Tensor:
    """The same, the gradients at all inputs one under the other in `at`: one product in the backward pass."""
    result: Tensor = _Known.apply(value, len(inputs), *inputs, at)  # type: ignore[no-untyped-call]
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
        inputs, known = tensors[:count], tensors[count:]
        ctx.rows = [x.shape[0] for x in inputs] if len(known) < count else None
        ctx.inputs = () if torch.compiler.is_compiling() else inputs  # not saved: they may change in place
        ctx.save_for_backward(*known)
        return value.view_as(value) if isinstance(value, Tensor) else torch.full((), value, dtype=tensors[0].dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        known = ctx.saved_tensors
        found = [gradient * each for each in known]
        if ctx.rows is not None:
            found = _split(found[0], ctx.rows)
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            found = [_FirstOnly.apply(each, x) for each, x in zip(found, ctx.inputs, strict=True)]  # type: ignore[no-untyped-call]
        return (None, None, *found, *[None] * len(known))


def _split(rows: Tensor, sizes: list[int]) -> list[Tensor]:
    """As many rows for each input as it has."""
    stops = list(accumulate(sizes))
    return [rows[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]


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
