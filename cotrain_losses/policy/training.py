"""The pass of a training step: features captured, labels dropped, tokens added, predictions' gradients weighed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ..importance.samples import Samples
from ..method import Method
from ..terms.term import Regularizer
from .hooks import Hooks
from .losses import PolicyLoss
from .passes import HeadCall, Pass


class TrainingPass(Pass):
    """One forward pass of the policy under a method, at a seam.

    `weight` (b,) is given beside the batch; predictions leave from `place`.  Outside training (`learns` False) only the
    token acts, with the true label.
    """

    def __init__(self, place: str, method: Method, samples: Samples, weight: Tensor | None, learns: bool) -> None:
        self.place, self.samples, self.weights, self.guidance = place, samples, method.weights, method.guidance
        self.learns, self.regularizer = learns, method.regularizer if learns else None
        self.regularizes, self.replaces_conditions = self.regularizer is not None, self.guidance is not None
        self.weight = None if weight is None else _checked_weight(weight, len(samples.domain))
        self.replaces_predictions = self.weighs = learns and (weight is not None or self.weights is not None)
        self.features = list[Tensor]()
        self.token = samples.domain if self.guidance is None or not learns else self.guidance.dropped(samples.domain)
        self.weights_used: Tensor | None = None

    def on_features(self, z: Tensor, read: Tensor | None) -> Tensor:
        if not isinstance(self.regularizer, Regularizer):
            return z
        if read is not None:
            self.features.append(read)
        return self.regularizer.seam(z)

    def replace_condition(self, condition: Tensor) -> Tensor:
        if self.guidance is None:
            return condition
        rows, token = len(condition), self.token.to(condition.device, non_blocking=True)
        if rows % len(token):
            raise ValueError(
                f"the head's condition holds one row (or a whole number of rows) per sample, got {rows} rows for "
                f"{len(token)} domain labels. Pass a label for each sample of the batch."
            )
        return self.guidance(condition, token.repeat_interleave(rows // len(token)))  # type: ignore[no-any-return]

    def replace_prediction(self, output: Any, call: HeadCall) -> Any:
        self.weights_used = self._row_weights(call.time)
        return _with_row_gradients(output, self.weights_used, self.place)

    def _row_weights(self, time: Tensor | None) -> Tensor:
        """(b,) the product of the weights given and the method's."""
        b = len(self.samples.domain)
        weight = torch.ones(b) if self.weight is None else self.weight
        if self.weights is None:
            return weight
        if time is not None:
            time = time.expand(b) if time.ndim == 0 or len(time) == 1 else time.reshape(b, -1)[:, 0]
        own = _checked_weight(self.weights(replace(self.samples, time=time)), b)
        return weight.to(own.device) * own

    def weighed(self, returned: PolicyLoss) -> tuple[Tensor, Tensor | None]:
        """The policy's loss with its samples weighed, here if they were not at the head; and the weighted value."""
        if returned.per_sample is None:
            if self.weights_used is None:
                raise ValueError(
                    "sample weights act on the head's predictions or on a loss per sample, got a policy that returns "
                    "one scalar and no seam with a head. Pass Seam(head=..., ...), or a loss with reduction='none'."
                )
            return returned.scalar, None
        each = returned.per_sample
        weight = (self._row_weights(None) if self.weights_used is None else self.weights_used).to(each.device)
        weighted = (weight * each.detach().flatten(1).mean(1) if each.ndim > 1 else weight * each.detach()).mean()
        if self.weights_used is not None:
            return returned.scalar, weighted
        return _with_row_gradients(each, weight, "the policy's loss").mean(), weighted

    def check_fired(self, hooks: Hooks | None) -> None:
        """Every module that must run in this step did."""
        if hooks is None or not self.learns:
            return
        guides, regularizes = self.guidance is not None, self.regularizes
        needs_head = guides or self.weighs or (regularizes and hooks.seam.feature is None)
        for role, needed in {"feature": regularizes, "token": guides, "head": needs_head}.items():
            path = getattr(hooks.seam, role)
            if path is not None and needed and not hooks.fired[role]:
                raise RuntimeError(
                    f"the seam's modules must run in every training step, got a step in which {path} was not called.\n"
                    "Either the policy calls a method of it rather than the module (name the module around it), or it "
                    "was compiled and run before CoTrain was attached (attach first, or call torch._dynamo.reset())."
                )


class Backward(torch.autograd.Function):
    """(x, y, rule) -> x to the bit; the gradients of x and y are rule(gradient, y)."""

    @staticmethod
    def forward(x: Tensor, y: Tensor, rule: Callable[[Tensor, Tensor], Any]) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Callable[..., Any]], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.rule = inputs[2]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return *ctx.rule(gradient, *ctx.saved_tensors), None


def _scaled_rows(gradient: Tensor, weight: Tensor) -> tuple[Tensor, None]:
    rows = weight.repeat_interleave(len(gradient) // len(weight)).to(gradient)
    return gradient * rows.reshape(-1, *[1] * (gradient.ndim - 1)), None


def _with_row_gradients(output: Any, weight: Tensor, place: str) -> Any:
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
        return Backward.apply(x, weight, _scaled_rows)  # type: ignore[no-untyped-call]

    return tree_map(scaled, output)


def _checked_weight(weight: Tensor, samples: int) -> Tensor:
    """(b,) finite numbers."""
    if not isinstance(weight, Tensor) or weight.shape != (samples,) or weight.is_complex():
        received = tuple(weight.shape) if isinstance(weight, Tensor) else type(weight).__name__
        raise ValueError(f"weight has one number per sample, shape ({samples},), got {received}.")
    if weight.device.type == "cpu" and not torch.isfinite(weight).all():
        raise ValueError("weight holds finite numbers, got NaN or infinity. Clip or mask them before the call.")
    return weight.detach()
