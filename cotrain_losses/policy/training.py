"""The pass of a training step: features captured, labels dropped, tokens added, predictions' gradients weighed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from .._core.device import accurate, follow, moved
from ..importance.samples import Samples, reads_time
from ..method import Method
from ..terms.term import Regularizer
from .hooks import Hooks
from .losses import PolicyLoss
from .passes import HeadCall, Pass
from .sites import Captured, Owners, Site


class TrainingPass(Pass):
    """One forward pass of the policy under a method, at a seam.

    `weight` (b,) and `has_action` (b,) are given beside the batch; predictions leave from `place`, `timed` where the
    head is given the time.  Outside training (`learns` False) only the token acts, with the true label.
    """

    def __init__(
        self,
        place: str,
        method: Method,
        samples: Samples,
        weight: Tensor | None,
        learns: bool,
        has_action: Tensor | None = None,
        timed: bool = False,
    ) -> None:
        self.place, self.samples, self.weights, self.guidance = place, samples, method.weights, method.guidance
        self.domain = samples.domain
        self.learns, self.regularizer = learns, method.regularizer if learns else None
        self.regularizes, self.replaces_conditions = self.regularizer is not None, self.guidance is not None
        self.weight = None if weight is None else _checked_weight(weight, len(samples.domain))
        if has_action is not None:
            self.weight = _over_actions(has_action, self.weight, len(samples.domain))
        self.replaces_predictions = self.weighs = learns and (self.weight is not None or self.weights is not None)
        self.features = list[Captured]()
        self.token = samples.domain if self.guidance is None or not learns else self.guidance.dropped(samples.domain)
        self.weighed_at_head = False
        self.weights_used: Tensor | None = None
        """(b,) the weight of each sample, where the rows of a sample weigh alike"""
        self.followed = not (timed and self.weighs and self.weights is not None and reads_time(self.weights))
        if self.weighs and self.followed:
            self.weights_used = self._weights(samples)

    def follow(self, device: torch.device) -> None:
        """Take labels and weights that are on the CPU to the policy's device, before it runs."""
        if self.token.device.type == "cpu":
            self.token = moved(self.token, device)
        if self.weights_used is not None and self.weights_used.device.type == "cpu":
            self.weights_used = moved(self.weights_used, device)

    def on_features(self, z: Tensor, captured: Captured | None) -> Tensor:
        if not isinstance(self.regularizer, Regularizer):
            return z
        if captured is not None:
            self.features.append(captured)
        return self.regularizer.seam(z)

    def replace_condition(self, condition: Tensor, owners: Owners) -> Tensor:
        if self.guidance is None:
            return condition
        follow(self.guidance, condition.device)
        token = moved(owners.of(self.token, len(condition)), condition.device)
        return self.guidance(condition, token)  # type: ignore[no-any-return]

    def replace_prediction(self, output: Any, call: HeadCall) -> Any:
        self.weighed_at_head = True
        time, of = call.time, call.owners.of
        if time is not None and not self.followed:
            return _with_row_gradients(output, self.place, lambda n: self._timed_weights(time, call.owners, n))
        if (weights := self.weights_used) is None:
            self.weights_used = weights = self._weights(self.samples)
        return _with_row_gradients(output, self.place, lambda n: of(weights, n))

    def _weights(self, samples: Samples, weight: Tensor | None = None) -> Tensor:
        """(n,) the product of the weights given and the method's, at samples or at rows of theirs."""
        n, weight = len(samples.domain), self.weight if weight is None else weight
        weight = torch.ones(n, device=samples.domain.device) if weight is None else weight
        if self.weights is None:
            return weight
        own = _checked_weight(self.weights(samples), n)
        return moved(weight, own.device) * own

    def _timed_weights(self, time: Tensor, owners: Owners, n: int) -> Tensor:
        """(n,) weights at the rows of one call, each with its own time."""
        of, samples = owners.of, self.samples
        if time.ndim == 0 or len(time) == 1:
            time = time.reshape(-1)[:1].expand(n)
        elif len(time) == len(self.domain) != n:
            time = of(time, n)
        index, weight = (None if x is None else of(x, n) for x in (samples.index, self.weight))
        domain, is_target, time = of(samples.domain, n), of(samples.is_target, n), time.reshape(n, -1)[:, 0]
        used = self._weights(replace(samples, domain=domain, is_target=is_target, index=index, time=time), weight)
        self.weights_used = used if n == len(self.domain) and not owners.start else None
        return used

    def weighed(self, returned: PolicyLoss) -> tuple[Tensor, Tensor | None]:
        """The policy's loss with its samples weighed, here if they were not at the head; and the weighted value."""
        if returned.per_sample is None:
            if not self.weighed_at_head:
                raise ValueError(
                    "sample weights act on the head's predictions or on a loss per sample, got a policy that returns "
                    "one scalar and no seam with a head. Pass Seam(head=..., ...), or a loss with reduction='none'."
                )
            return returned.scalar, None
        each, weight = returned.per_sample, self.weights_used
        if not self.weighed_at_head and weight is None:
            weight = self._weights(self.samples)
        if weight is None:  # the rows of a sample weigh differently
            return returned.scalar, None
        weight = moved(weight, each.device)
        weighted = (weight * each.detach().flatten(1).mean(1) if each.ndim > 1 else weight * each.detach()).mean()
        if self.weighed_at_head:
            return returned.scalar, weighted
        return _with_row_gradients(each, "the policy's loss", lambda n: weight).mean(), weighted

    def check_fired(self, hooks: Hooks | None) -> None:
        """Every role that must act in this step did."""
        if hooks is None or not self.learns:
            return
        guides, regularizes, fired = self.guidance is not None, self.regularizes, hooks.fired
        needed = {
            "feature": hooks.features if regularizes else (),
            "token": hooks.tokens if guides else (),
            "head": hooks.heads if guides or self.weighs or (regularizes and not hooks.features) else (),
        }
        for role, sites in needed.items():
            if sites and not fired[role]:
                raise not_called(sites)


class Backward(torch.autograd.Function):
    """(x, y, rule) -> x to the bit; the gradients of x and y are rule(gradient, y)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, rule: Callable[[Tensor, Tensor], Any]) -> Tensor:
        ctx.save_for_backward(y)  # here: a setup_context of its own costs a tenth of a ms
        ctx.rule = rule
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return *ctx.rule(gradient, *ctx.saved_tensors), None


ELSEWHERE = (
    "Either another policy sampled (guide a copy: cotrain.guided(copy)), or nothing was sampled in the block (a queue "
    "that still holds actions: reset it before)"
)


def not_called(sites: tuple[Site, ...], *, guided: bool = False) -> RuntimeError:
    """What must run in a block and did not."""
    calls = " or ".join(dict.fromkeys(site.call for site in sites))
    rule, causes = "what a seam names runs in every training step, got one", "Either the policy calls"
    if guided:
        rule, causes = "guidance acts on what a seam names, got a guided block", f"{ELSEWHERE}, or the policy calls"
    return RuntimeError(
        f"{rule} in which {calls} was not called.\n{causes} a method of it rather than the module (name that: "
        "Seam(head='net.forward')), or it was compiled and run before CoTrain was attached (attach first, or call "
        "torch._dynamo.reset())."
    )


def _scaled_rows(gradient: Tensor, weight: Tensor) -> tuple[Tensor, None]:
    return gradient * moved(weight, gradient.device).to(gradient.dtype).reshape(-1, *[1] * (gradient.ndim - 1)), None


def _with_row_gradients(output: Any, place: str, weights: Callable[[int], Tensor]) -> Any:
    """`output`, bit for bit, its rows' gradients multiplied by `weights(rows)`, one for each row.

    For a loss that is a sum over samples of functions of each sample's own prediction this equals
    weighting the samples' losses, whatever their reduction, inside loops nobody can edit.
    """

    def scaled(x: Any) -> Any:
        if not (isinstance(x, Tensor) and x.requires_grad):
            return x
        if x.ndim == 0:
            raise ValueError(
                f"sample weights scale predictions with a row per sample, got a number from {place}. "
                "Choose as head the module whose outputs have the samples first."
            )
        return Backward.apply(x, weights(len(x)), _scaled_rows)  # type: ignore[no-untyped-call]

    return tree_map(scaled, output)


def _checked_weight(weight: Tensor, samples: int) -> Tensor:
    """(b,) finite numbers."""
    if not isinstance(weight, Tensor) or weight.shape != (samples,) or weight.is_complex():
        received = tuple(weight.shape) if isinstance(weight, Tensor) else type(weight).__name__
        raise ValueError(f"weight has one number per sample, shape ({samples},), got {received}.")
    if weight.device.type == "cpu" and not math.isfinite(weight.sum()) and not torch.isfinite(weight).all():
        raise ValueError("weight holds finite numbers, got NaN or infinity. Clip or mask them before the call.")
    return weight.detach()


def _over_actions(has_action: Tensor, weight: Tensor | None, samples: int) -> Tensor:
    """(b,) weights under which a mean over the batch is the mean over the k rows that have actions: b / k there."""
    if not isinstance(has_action, Tensor) or has_action.shape != (samples,) or has_action.dtype != torch.bool:
        received = type(has_action).__name__
        if isinstance(has_action, Tensor):
            received = f"{tuple(has_action.shape)} of {str(has_action.dtype).removeprefix('torch.')}"
        raise ValueError(f"has_action has one bool per sample, shape ({samples},), got {received}. Index it as domain.")
    share = has_action.to(accurate(has_action)) * samples / has_action.sum().clamp_min(1)
    return share if weight is None else moved(weight, share.device) * share
