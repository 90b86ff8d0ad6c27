"""Sample weights on rows: x -> x to the bit, the gradient of row i times w_i."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map


class _ScaleRows(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        rows = weight.repeat_interleave(len(gradient) // len(weight)).to(gradient)
        return gradient * rows.reshape(-1, *[1] * (gradient.ndim - 1)), None


def with_row_gradients(output: Any, weight: Tensor, place: str) -> Any:
    """`output`, bit for bit, its rows' gradients multiplied by `weight` (b,).

    For a loss that is a sum over samples of functions of each sample's own prediction this equals
    weighting the samples' losses, whatever their reduction, inside loops nobody can edit.
    """

    def scaled(x: Any) -> Any:
        if not (isinstance(x, Tensor) and x.requires_grad):
            return x
        if x.ndim == 0 or len(x) % len(weight):
            raise ValueError(
                f"sample weights scale predictions with a row per sample, got an output of shape {tuple(x.shape)} from "
                f"{place} for {len(weight)} samples. Choose as head the module whose outputs have the samples first."
            )
        return _ScaleRows.apply(x, weight)  # type: ignore[no-untyped-call]

    return tree_map(scaled, output)


def checked_weight(weight: Tensor, samples: int) -> Tensor:
    """(b,) finite numbers."""
    if not isinstance(weight, Tensor) or weight.shape != (samples,) or weight.is_complex():
        received = tuple(weight.shape) if isinstance(weight, Tensor) else type(weight).__name__
        raise ValueError(f"weight has one number per sample, shape ({samples},), got {received}.")
    if weight.device.type == "cpu" and not torch.isfinite(weight).all():
        raise ValueError("weight holds finite numbers, got NaN or infinity. Clip or mask them before the call.")
    return weight.detach()
