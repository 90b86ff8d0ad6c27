"""The pass of a training step: features captured, labels dropped, tokens added, predictions' gradients weighed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..importance.samples import Samples
from ..method import Method
from ..terms.term import Regularizer
from .hooks import Hooks
from .losses import PolicyLoss
from .passes import HeadCall, Pass
from .row_weights import checked_weight, with_row_gradients
from .seam import Seam


class TrainingPass(Pass):
    """One forward pass of the policy under a method, at a seam.

    `weight` (b,) is what is given beside the batch.  Outside training (`learns` False) only the token acts, with the
    true label; features are captured where the step `regularizes`.
    """

    def __init__(
        self,
        seam: Seam | None,
        method: Method,
        samples: Samples,
        weight: Tensor | None,
        *,
        learns: bool,
        regularizes: bool,
    ) -> None:
        self.seam, self.samples, self.weights, self.guidance = seam, samples, method.weights, method.guidance
        self.learns, self.regularizer = learns, method.regularizer if learns and regularizes else None
        self.regularizes = self.regularizer is not None
        self.weight = None if weight is None else checked_weight(weight, len(samples.domain))
        self.replaces_predictions = self.weighs = learns and (weight is not None or self.weights is not None)
        self.features: list[Tensor] = []
        self.token = samples.domain if self.guidance is None or not learns else self.guidance.dropped(samples.domain)
        self.weights_used: Tensor | None = None

    def on_features(self, z: Tensor) -> None:
        if self.regularizes:
            self.features.append(z)

    def replace_features(self, z: Tensor) -> Tensor:
        return self.regularizer.seam(z) if isinstance(self.regularizer, Regularizer) else z

    def replace_condition(self, condition: Tensor) -> Tensor:
        if self.guidance is None:
            return condition
        token = self.token.to(condition.device, non_blocking=True)
        return self.guidance(condition, token.repeat_interleave(_rows_each(len(condition), len(token))))  # type: ignore[no-any-return]

    def replace_prediction(self, output: Any, call: HeadCall) -> Any:
        self.weights_used = self.row_weights(call.time)
        return with_row_gradients(output, self.weights_used, (self.seam and self.seam.prediction) or "the head")

    def row_weights(self, time: Tensor | None) -> Tensor:
        """(b,) the product of the weights given and the method's."""
        weight = torch.ones(len(self.samples.domain)) if self.weight is None else self.weight
        if self.weights is None:
            return weight
        samples = replace(self.samples, time=None if time is None else self._per_sample(time))
        own = checked_weight(self.weights(samples), len(weight))
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
        weight = (self.row_weights(None) if self.weights_used is None else self.weights_used).to(each.device)
        weighted = (weight * each.detach().flatten(1).mean(1) if each.ndim > 1 else weight * each.detach()).mean()
        if self.weights_used is not None:
            return returned.scalar, weighted
        return with_row_gradients(each, weight, "the policy's loss").mean(), weighted

    def captured(self, seam: Seam) -> Tensor:
        """(b, d) features of this step, released from here; several calls of a module (cameras) side by side."""
        captured, self.features = self.features, []
        rows = [seam.rows(z, len(self.samples.domain)) for z in captured]
        return rows[0] if seam.feature is None or len(rows) == 1 else torch.cat(rows, 1)

    def check_fired(self, hooks: Hooks | None) -> None:
        """Every module that must run in this step did."""
        if hooks is None or not self.learns:
            return
        seam, fired, guides = hooks.seam, hooks.fired, self.guidance is not None
        needs_head = guides or self.weighs or (self.regularizes and seam.feature is None)
        for path, needed, calls in (
            (seam.feature, self.regularizes, fired.feature),
            (seam.token, guides, fired.token),
            (seam.head, needs_head, fired.head),
        ):
            if path is not None and needed and not calls:
                raise RuntimeError(
                    f"the seam's modules must run in every training step, got a step in which {path} was not called.\n"
                    "Either the policy calls a method of it rather than the module (name the module around it), or it "
                    "was compiled and run before CoTrain was attached (attach first, or call torch._dynamo.reset())."
                )

    def _per_sample(self, time: Tensor) -> Tensor:
        b = len(self.samples.domain)
        return time.expand(b) if time.ndim == 0 or len(time) == 1 else time.reshape(b, -1)[:, 0]


def _rows_each(rows: int, samples: int) -> int:
    if rows % samples:
        raise ValueError(
            f"the head's condition holds one row (or a whole number of rows) per sample, got {rows} rows for {samples} "
            "domain labels. Pass a label for each sample of the batch."
        )
    return rows // samples
