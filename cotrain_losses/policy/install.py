"""Co-training inside a training script nobody edits: the policy's own loss entry returns task + regularizer.

    loss(batch)  ->  l_policy + sum_k lambda_k R_k          while installed
    loss(batch)  ->  l_policy                               again, after uninstall

The entry is overridden on the one policy object, as an attribute that a copy does not inherit: an EMA made by
deepcopy, or a pickle, is the bare policy.  Where a script keeps its loss to itself (forward, backward and step in one
method) the regularizer's gradient is joined to that of the predictions, at the loss's own scale.  Among several
processes the method's own parameters start alike, and their gradients are averaged.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .fitting import training
from .joining import Joined, loss_scales
from .override import Override
from .parallel import ReplicatedParameters
from .paths import network, unwrapped

if TYPE_CHECKING:
    from ..terms.term import Evaluation
    from .cotrain import CoTrain
    from .losses import Losses


@dataclass(frozen=True)
class Labels:
    """What travels beside a batch."""

    domain: Any
    weight: Tensor | None = None
    index: Tensor | None = None
    step: int | None = None


class Installation:
    """A method at work inside one policy's loss entry.

    Args:
        cotrain: the policy and its method.
        domain: function of the batch giving its labels; None waits for `cotrain.labelled(...)`.
        weight, index: functions of the batch, like `domain`.
        step: function giving the optimizer step, for scheduled weights.
    """

    def __init__(
        self,
        cotrain: CoTrain,
        *,
        domain: Callable[[Any], Any] | None = None,
        weight: Callable[[Any], Tensor] | None = None,
        index: Callable[[Any], Tensor] | None = None,
        step: Callable[[], int] | None = None,
    ) -> None:
        self.cotrain, self.read = cotrain, {"domain": domain, "weight": weight, "index": index}
        self.step, self.beside = step, list[Labels]()
        self.latest: Losses | Evaluation | None = None
        self._policy, self._entries = unwrapped(cotrain.policy), list[Override]()
        self._early: tuple[Any, Any] | None = None
        self._alike = ReplicatedParameters(cotrain.plugin_parameters())
        self._versions = self._counted()
        self._override()
        self._add_to_optimizers()

    def remove(self) -> None:
        """Give the policy its own entries back."""
        for entry in self._entries:
            entry.remove()
        self._entries.clear()
        self._alike.remove()

    @contextmanager
    def labelled(self, labels: Labels) -> Iterator[None]:
        """Labels for the calls made in the block."""
        self.beside.append(labels)
        try:
            yield
        finally:
            self.beside.pop()

    def _override(self) -> None:
        adapter, named = self.cotrain.adapter, self.cotrain._loss
        if adapter is not None:
            entry = adapter.entry
        else:
            entry = named if isinstance(named, str) and named != "__call__" else "forward"
        if not hasattr(self._policy, entry):
            raise ValueError(
                f"install overrides the method a training script calls for the loss, got {entry!r}, which "
                f"{type(self._policy).__name__} lacks. Name it: CoTrain(..., loss='compute_loss')."
            )
        calls: dict[str, Callable[..., Any]] = {entry: self._sealed if adapter and adapter.sealed else self._called}
        if adapter and adapter.opens:
            calls = {adapter.opens: self._opened, entry: self._closed}
        if adapter and adapter.drops and hasattr(self._policy, adapter.drops):
            calls[adapter.drops] = _keeping_domain
        if hasattr(self._policy, "get_optim_params"):
            calls["get_optim_params"] = self._optim_params
        self._entries += [Override(self._policy, name, call) for name, call in calls.items()]

    def _called(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        batch = (args[0] if len(args) == 1 else args) if args else kwargs
        if (labels := self._labels(batch)) is None:
            return original(*args, **_accepted(original, kwargs))
        found: list[Any] = []

        def run() -> Any:
            found.append(original(*args, **_accepted(original, kwargs)))
            return found[0]

        losses = self.cotrain._step(batch, **vars(labels), run=run)
        self.latest = losses
        return _with_loss(found[0], losses, "loss")

    def _opened(self, original: Callable[..., Any], batch: Any) -> Any:
        if (labels := self._labels(batch)) is None:
            return original(batch)
        found: list[Any] = []

        def run() -> Any:
            predictions = original(batch)
            found.extend((predictions, self._entries[1].original(predictions, batch)))
            return found[1][self._key]

        losses = self.cotrain._step(batch, **vars(labels), run=run)
        self.latest, self._early = losses, (found[0], _with_loss(found[1], losses, self._key))
        return found[0]

    def _closed(self, original: Callable[..., Any], predictions: Any, batch: Any) -> Any:
        early, self._early = self._early, None
        return early[1] if early is not None and early[0] is predictions else original(predictions, batch)

    def _sealed(self, original: Callable[..., Any], batch: Any, *args: Any, **kwargs: Any) -> Any:
        tap, labels = self.cotrain._tap, self._labels(batch)
        if labels is None or tap is None:
            return original(batch, *args, **kwargs)
        called = inspect.signature(original).bind(batch, *args, **kwargs).arguments
        known = self.cotrain.domains.labels(labels.domain, batch)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not called.get("validate", False)):
            step_pass = self.cotrain._pass(known, labels.weight, labels.index, labels.step)

        def regularizer() -> Evaluation | None:
            self.latest = self.cotrain._evaluate(step_pass, batch, step_pass.samples.domain, labels.step, None)
            return self.latest

        with loss_scales() as scales, tap.use(Joined(step_pass, regularizer, scales)):
            returned = original(batch, *args, **kwargs)
        step_pass.check_fired(tap)
        return returned

    @property
    def _key(self) -> str:
        return self.cotrain.adapter.key if self.cotrain.adapter else "loss"

    def _labels(self, batch: Any) -> Labels | None:
        """Labels of a batch; None where the policy's own entry is all that is asked for."""
        tap = self.cotrain._tap
        if tap is not None and tap._active is not None:  # a step of CoTrain, or guided sampling, runs already
            return None
        if self.beside:
            labels = self.beside[-1]
        elif self.read["domain"] is not None:
            domain, weight, index = (None if read is None else read(batch) for read in self.read.values())
            labels = Labels(domain, weight, index)
        elif torch.is_grad_enabled() and training(self._policy):
            raise ValueError(
                "an installed method needs the batch's domain labels, got none. Pass cotrain.install(domain=lambda "
                "batch: ...), or call the policy within cotrain.labelled(domain)."
            )
        else:
            return None
        self._check_learns()
        return replace(labels, step=self.step()) if labels.step is None and self.step is not None else labels

    def _optim_params(self, original: Callable[..., Any]) -> Any:
        """The policy's own groups, and one of the method's parameters."""
        own, plugin = original(), list(self.cotrain.plugin_parameters())
        groups = list(own.values()) if isinstance(own, dict) else list(own)
        if groups and not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        return [*groups, {"params": plugin, "weight_decay": 0.0}] if plugin else own

    def _add_to_optimizers(self) -> None:
        adapter, plugin = self.cotrain.adapter, list(self.cotrain.plugin_parameters())
        for optimizer in adapter.optimizers(self._policy) if adapter and adapter.optimizers and plugin else []:
            held = {id(p) for group in optimizer.param_groups for p in group["params"]}
            if not any(id(p) in held for p in plugin):
                optimizer.add_param_group({"params": plugin, "weight_decay": 0.0})

    def _counted(self) -> tuple[list[int], list[int]]:
        inner, plugin = network(self.cotrain.policy), list(self.cotrain.plugin_parameters())
        own = [] if inner is None else list(inner.parameters())
        return [p._version for p in own], [p._version for p in plugin]

    def _check_learns(self) -> None:
        """The method's own parameters are stepped when the policy's are, and alike on all ranks."""
        plugin = [p for p in self.cotrain.plugin_parameters() if p.requires_grad]
        if not plugin:
            return
        learns = torch.is_grad_enabled() and training(self._policy)  # an evaluation may be one rank's alone
        if learns and self._alike.begin():
            self._versions = self._counted()
        (own, before), (own_now, now) = self._versions, self._counted()
        if all(p.grad is None for p in plugin):
            self._versions = own_now, now
        elif own != own_now and before == now:
            raise RuntimeError(
                "the method's own parameters (discriminators, domain tokens) must learn with the policy's, got an "
                "optimizer step that left them as they were. Give them to the optimizer: "
                "optimizer.add_param_group({'params': cotrain.plugin_parameters(), 'weight_decay': 0.0})."
            )


def _accepted(original: Callable[..., Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """A call's keywords without a `domain` that came with the batch and that the policy does not take."""
    parameters = inspect.signature(original).parameters
    takes = "domain" in parameters or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    return kwargs if takes else {name: value for name, value in kwargs.items() if name != "domain"}


def _keeping_domain(original: Callable[..., Any], batch: Any) -> Any:
    """The batch without the keys its owner does not know, but with its domain."""
    return {**original(batch), **{key: batch[key] for key in ("domain",) if key in batch}}


def _with_loss(returned: Any, losses: Losses, key: str) -> Any:
    """What the entry returned, its loss now the total."""
    if isinstance(returned, Tensor):
        return losses.total if returned.ndim == 0 else returned + (losses.total - returned.mean())
    if isinstance(returned, tuple):
        return type(returned)((_with_loss(returned[0], losses, key), *returned[1:]))
    if isinstance(returned, Mapping):
        kind: Any = type(returned)
        return kind({**returned, key: _with_loss(returned[key], losses, key)})
    returned.loss = _with_loss(returned.loss, losses, key)
    return returned
