"""A regularizer joined to the predictions, where the loss itself is out of reach."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ._passes import Training
from ._tap import Call
from .term import Evaluation


class Joined:
    """A training pass that joins the regularizer to the predictions of the head."""

    def __init__(self, inner: Training, regularizer: Callable[[], Evaluation | None]) -> None:
        self.inner, self.regularizer = inner, regularizer
        self.feature, self.through, self.enter = inner.feature, inner.through, inner.enter
        self.pair, self.around = inner.pair, inner.around

    def leave(self, output: Any, call: Call) -> Any:
        output = self.inner.leave(output, call)
        if not self.inner.features or (evaluation := self.regularizer()) is None:
            return output
        return tree_map(lambda x: _Join.apply(x, evaluation.value) if _learns(x) else x, output)  # type: ignore[no-untyped-call]


def _learns(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad


class _Join(torch.autograd.Function):
    """(x, r) -> x to the bit; the gradient of r is one, as if it had been added to the loss."""

    @staticmethod
    def forward(x: Tensor, value: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.value = inputs[1].dtype, inputs[1].device

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        dtype, device = ctx.value
        return gradient, torch.ones((), dtype=dtype, device=device)
