"""A term under its strength: what reaches the encoder, and what the term itself learns.

scaled(R, lambda):   value lambda R,   gradient lambda dR/dz at the features,   dR/dphi at R's own parameters
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..strength.strength import MeasuredStrength
from .pair import Pair

Evaluate: TypeAlias = Callable[[Pair], Tensor]
"""a term's raw value of a pair"""


def scaled(evaluate: Evaluate, strength: float, pair: Pair, *, learns: bool) -> tuple[Tensor, Tensor]:
    """A term's raw value, and the scaled one with the algebra's gradient; `learns`: it has parameters of its own."""
    if strength == 0.0:  # only watches: nothing reaches the encoder, not even a zero times a NaN
        raw = evaluate(pair.map(torch.Tensor.detach))
        return raw.detach(), _ScaleValue.apply(raw, 0.0)  # type: ignore[no-untyped-call]
    if not learns:
        raw = evaluate(pair)
        return raw.detach(), strength * raw
    raw = evaluate(pair.map(_gradient_scale(strength)))
    return raw.detach(), _ScaleValue.apply(raw, strength)  # type: ignore[no-untyped-call]


def measured(
    evaluate: Evaluate, strength: float, pair: Pair, measures: list[MeasuredStrength], *, training: bool
) -> tuple[Tensor, Tensor]:
    """The same under a measured strength: the term always runs on the graph, so that its gradient can be measured."""
    pair = pair.map(_gradient_scale(strength))
    for side in (pair.source, pair.target):
        on_grad(side.features, [each.on_term_grad for each in measures if training])
    for each in measures:
        pair = pair.replaced(*each.transform(pair.source, pair.target))
    raw = evaluate(pair)
    return raw.detach(), _ScaleValue.apply(raw, strength)  # type: ignore[no-untyped-call]


def on_grad(x: Tensor, receivers: list[Callable[[Tensor], None]]) -> None:
    """Give each receiver the gradient that arrives at x."""

    def send(gradient: Tensor) -> None:
        for receive in receivers:
            receive(gradient.detach())

    if receivers and x.requires_grad:
        x.register_hook(send)  # type: ignore[no-untyped-call]


def _gradient_scale(strength: float) -> Callable[[Tensor], Tensor]:
    return lambda x: _ScaleGradient.apply(x, strength) if x.requires_grad else x  # type: ignore[no-untyped-call]


class _ScaleGradient(torch.autograd.Function):
    """x -> x, gradient times lambda: what reaches the encoder."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:  # a setup_context of its own costs a tenth of a ms
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return (ctx.strength * gradient if ctx.strength else torch.zeros_like(gradient)), None


class _ScaleValue(torch.autograd.Function):
    """x -> lambda x, gradient one: a term's own parameters learn at unit rate."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        return strength * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None
