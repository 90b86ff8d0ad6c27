"""What acts at the seam: in a training step, and while actions are sampled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from ..guidance import DomainGuidance, guide
from ..importance.samples import Samples, SampleWeights
from ..mixing.domains import Domains
from .losses import PolicyLoss
from .seam import Seam, rows_per_sample, with_row_gradients
from .tap import Call, Tap


class Training:
    """Features seen, labels dropped, tokens added, predictions' gradients weighed.

    Outside training (`learns` False) only the token acts, with the true label.
    """

    def __init__(
        self,
        seam: Seam | None,
        domains: Domains,
        labels: Tensor,
        *,
        learns: bool,
        wants_features: bool,
        guidance: DomainGuidance | None,
        hook: SampleWeights | None,
        weight: Tensor | None,
        index: Tensor | None,
        step: int | None,
        replace_features: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.seam, self.learns, self.guidance, self.hook, self.measured = seam, learns, guidance, hook, replace_features
        self.samples = Samples(labels, domains.is_target(labels), index, None, step)
        self.weight = None if weight is None else checked_weight(weight, len(labels))
        self.wants_features = learns and wants_features
        self.weighs = learns and (weight is not None or hook is not None)
        self.features: list[Tensor] = []
        self.token = guidance.dropped(labels) if guidance is not None and learns else labels
        self.used: Tensor | None = None

    def feature(self, z: Tensor) -> None:
        if self.wants_features:
            self.features.append(z)

    def replace_features(self, z: Tensor) -> Tensor:
        return self.measured(z) if self.wants_features and self.measured is not None else z

    def enter(self, condition: Tensor) -> Tensor:
        if self.guidance is None:
            return condition
        token = self.token.to(condition.device, non_blocking=True)
        return self.guidance(condition, token.repeat_interleave(_folded(len(condition), len(token))))  # type: ignore[no-any-return]

    def pair(self, condition: Tensor) -> None:
        return None

    def leave(self, output: Any, call: Call) -> Any:
        if not self.weighs:
            return output
        self.used = self.row_weights(call.time)
        return with_row_gradients(output, self.used, (self.seam and self.seam.leaves) or "the head")

    def around(self, predict: Callable[[], Any]) -> Any:
        return predict()

    def row_weights(self, time: Tensor | None) -> Tensor:
        """(b,) the product of the weights given and the method's."""
        weight = torch.ones(len(self.samples.domain)) if self.weight is None else self.weight
        if self.hook is None:
            return weight
        samples = Samples(**{**vars(self.samples), "time": None if time is None else self._per_sample(time)})
        found = checked_weight(self.hook(samples), len(weight))
        return weight.to(found.device) * found

    def weighed(self, returned: PolicyLoss) -> tuple[Tensor, Tensor | None]:
        """The policy's loss with its samples weighed, here if they were not at the head; and the weighted value."""
        if not self.weighs or returned.per_sample is None:
            if self.weighs and self.used is None:
                raise ValueError(
                    "sample weights act on the head's predictions or on a loss per sample, got a policy that returns "
                    "one scalar and no seam with a head. Pass Seam(head=..., ...), or a loss with reduction='none'."
                )
            return returned.scalar, None
        each = returned.per_sample
        weight = (self.row_weights(None) if self.used is None else self.used).to(each.device)
        weighted = (weight * each.detach().flatten(1).mean(1) if each.ndim > 1 else weight * each.detach()).mean()
        if self.used is not None:
            return returned.scalar, weighted
        return with_row_gradients(each, weight, "the policy's loss").mean(), weighted

    def captured(self, seam: Seam) -> Tensor:
        """(b, d) features of this step, released from here; several calls of a module (cameras) side by side."""
        found, self.features = self.features, []
        rows = [rows_per_sample(x, len(self.samples.domain), seam) for x in found]
        return rows[0] if seam.feature is None or len(rows) == 1 else torch.cat(rows, 1)

    def check_fired(self, tap: Tap) -> None:
        """Every module that must run in this step did."""
        reads_condition = self.wants_features and tap.seam.feature is None
        guides = self.guidance is not None
        needed = {
            tap.seam.feature: self.wants_features and not tap.fired["feature"],
            tap.seam.token: self.learns and guides and not tap.fired["token"],
            tap.seam.head: self.learns and not tap.fired["head"] and (guides or self.weighs or reads_condition),
        }
        for path, silent in needed.items():
            if path is not None and silent:
                raise RuntimeError(
                    f"the seam's modules must run in every training step, got a step in which {path} was not called.\n"
                    "Either the policy calls a method of it rather than the module (name the module around it), or it "
                    "was compiled and run before CoTrain was attached (attach first, or call torch._dynamo.reset())."
                )

    def _per_sample(self, time: Tensor) -> Tensor:
        b = len(self.samples.domain)
        return time.expand(b) if time.ndim == 0 or len(time) == 1 else time.reshape(b, -1)[:, 0]


class Guided:
    """uncond + scale * (cond - uncond) in every prediction; scale 0 and 1 make it once.

    Both predictions come from one call of the head with twice the rows, where every tensor it takes has the
    samples first, else from two calls.
    """

    def __init__(self, guidance: DomainGuidance, label: int, scale: float) -> None:
        self.guidance, self.scale = guidance, scale
        self.label = label if scale != 0.0 else -1

    def feature(self, z: Tensor) -> None:
        pass

    def replace_features(self, z: Tensor) -> Tensor:
        return z

    def enter(self, condition: Tensor) -> Tensor:
        return self._with_token(condition, self.label)

    def pair(self, condition: Tensor) -> tuple[Tensor, Tensor] | None:
        if self.scale in (0.0, 1.0):
            return None
        return self._with_token(condition, self.label), self._with_token(condition, -1)

    def leave(self, output: Any, call: Call) -> Any:
        if self.scale in (0.0, 1.0) or call.condition is None:
            return output
        rows = len(call.condition)
        if call.both and all(len(x) == 2 * rows for x in _tensors(output)):
            return self._mixed(tree_map(lambda x: x[:rows], output), tree_map(lambda x: x[rows:], output))
        if call.both:
            output = call.again(self._with_token(call.condition, self.label))
        return self._mixed(output, call.again(self._with_token(call.condition, -1)))

    def around(self, predict: Callable[[], Any]) -> Any:
        conditional, label = predict(), self.label
        if self.scale in (0.0, 1.0):
            return conditional
        self.label = -1
        try:
            return self._mixed(conditional, predict())
        finally:
            self.label = label

    def _mixed(self, conditional: Any, unconditional: Any) -> Any:
        def mixed(c: Any, u: Any) -> Any:
            return guide(c, u, self.scale) if isinstance(c, Tensor) and c.is_floating_point() else c

        return tree_map(mixed, conditional, unconditional)

    def _with_token(self, condition: Tensor, label: int) -> Tensor:
        labels = torch.full((len(condition),), label, device=condition.device)
        return self.guidance(condition, labels)  # type: ignore[no-any-return]


def _tensors(output: Any) -> list[Tensor]:
    return [x for x in tree_leaves(output) if isinstance(x, Tensor) and x.ndim]


def checked_weight(weight: Tensor, samples: int) -> Tensor:
    """(b,) finite numbers."""
    if not isinstance(weight, Tensor) or weight.shape != (samples,) or weight.is_complex():
        received = tuple(weight.shape) if isinstance(weight, Tensor) else type(weight).__name__
        raise ValueError(f"weight has one number per sample, shape ({samples},), got {received}.")
    if weight.device.type == "cpu" and not torch.isfinite(weight).all():
        raise ValueError("weight holds finite numbers, got NaN or infinity. Clip or mask them before the call.")
    return weight.detach()


def _folded(rows: int, samples: int) -> int:
    if rows % samples:
        raise ValueError(
            f"the head's condition holds one row (or a whole number of rows) per sample, got {rows} rows for {samples} "
            "domain labels. Pass a label for each sample of the batch."
        )
    return rows // samples
