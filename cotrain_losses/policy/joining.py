"""A regularizer joined to the predictions, where the loss itself is out of reach.

predictions to the bit;    d/dR = 1, times the factor by which a GradScaler multiplied the loss
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from ..terms.term import Evaluation
from .passes import Training
from .tap import Call


class Joined:
    """A training pass that joins the regularizer to the predictions of the head."""

    def __init__(self, inner: Training, regularizer: Callable[[], Evaluation | None], scales: list[Tensor]) -> None:
        self.inner, self.regularizer, self.scales = inner, regularizer, scales
        self.feature, self.replace_features, self.enter = inner.feature, inner.replace_features, inner.enter
        self.pair, self.around = inner.pair, inner.around

    def leave(self, output: Any, call: Call) -> Any:
        output = self.inner.leave(output, call)
        if not self.inner.features or (evaluation := self.regularizer()) is None:
            return output
        return tree_map(lambda x: _Join.apply(x, evaluation.value, self.scales) if _learns(x) else x, output)  # type: ignore[no-untyped-call]


def _learns(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad


class _Join(torch.autograd.Function):
    """(x, r) -> x to the bit; the gradient of r is that of a loss it had been added to."""

    @staticmethod
    def forward(x: Tensor, value: Tensor, scales: list[Tensor]) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, list[Tensor]], output: Tensor) -> None:
        ctx.value, ctx.scales = (inputs[1].dtype, inputs[1].device), inputs[2]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        dtype, device = ctx.value
        one = torch.ones((), dtype=dtype, device=device)
        return gradient, one * ctx.scales[-1].to(one) if ctx.scales else one, None


@contextmanager
def loss_scales() -> Iterator[list[Tensor]]:
    """The factors by which GradScalers multiply losses while the block runs, in order."""
    seen: list[Tensor] = []
    original = torch.amp.GradScaler.scale

    def scale(scaler: torch.amp.GradScaler, outputs: Any) -> Any:
        device = next(x.device for x in tree_leaves(outputs) if isinstance(x, Tensor))
        seen.append(original(scaler, torch.ones((), device=device)))
        return original(scaler, outputs)

    torch.amp.GradScaler.scale = scale  # type: ignore[method-assign, assignment]
    try:
        yield seen
    finally:
        torch.amp.GradScaler.scale = original  # type: ignore[method-assign]
