"""A term under its weight: what reaches the encoder, and what the term itself learns.

scaled(R, lambda):   value lambda R,   gradient lambda dR/dz at the features,   dR/dphi at R's own parameters
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .._core.rows import Rows
from .strength import MeasuredStrength

if TYPE_CHECKING:
    from ..terms.term import Term


def scaled(term: Term, weight: float, source: Rows, target: Rows) -> tuple[Tensor, Tensor]:
    """A term's raw value, and the weighted one with the algebra's gradient."""
    if weight == 0.0:  # only watches: nothing reaches the encoder, not even a zero times a NaN
        raw = term(source.map(torch.Tensor.detach), target.map(torch.Tensor.detach))
        return raw.detach(), _ScaleValue.apply(raw, 0.0)  # type: ignore[no-untyped-call]
    if not any(p.requires_grad for p in term.parameters()):
        raw = term(source, target)
        return raw.detach(), weight * raw
    raw = term(*(side.map(lambda x: _scaled(x, weight)) for side in (source, target)))
    return raw.detach(), _ScaleValue.apply(raw, weight)  # type: ignore[no-untyped-call]


def measured(
    term: Term, weight: float, source: Rows, target: Rows, measured_strengths: list[MeasuredStrength], learns: bool
) -> tuple[Tensor, Tensor]:
    """The same under a measured weight: the term always runs on the graph, so that its gradient can be heard."""
    sides = [side.map(lambda x: _scaled(x, weight)) for side in (source, target)]
    for side in sides:
        on_grad(side.features, [listener.on_term_grad for listener in measured_strengths if learns])
    for listener in measured_strengths:
        sides = list(listener.read(*sides))
    raw = term(*sides)
    return raw.detach(), _ScaleValue.apply(raw, weight)  # type: ignore[no-untyped-call]


def on_grad(x: Tensor, hear: list[Callable[[Tensor], None]]) -> None:
    """Let all of `hear` know the gradient that arrives at x."""

    def tell(gradient: Tensor) -> None:
        for each in hear:
            each(gradient.detach())

    if hear and x.requires_grad:
        x.register_hook(tell)  # type: ignore[no-untyped-call]


def _scaled(x: Tensor, weight: float) -> Tensor:
    return _ScaleGradient.apply(x, weight) if x.requires_grad else x  # type: ignore[no-untyped-call]


class _ScaleGradient(torch.autograd.Function):
    """x -> x, gradient times lambda: what reaches the encoder."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: float) -> Tensor:  # a setup_context of its own costs a tenth of a ms
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return (ctx.weight * gradient if ctx.weight else torch.zeros_like(gradient)), None


class _ScaleValue(torch.autograd.Function):
    """x -> lambda x, gradient one: a term's own parameters learn at unit rate."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: float) -> Tensor:
        return weight * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None
