"""Co-training inside a training script nobody edits: the policy's own loss entry returns task + regularizer.

    loss(batch)  ->  l_policy + sum_k lambda_k R_k          while installed
    loss(batch)  ->  l_policy                               again, after uninstall

The entry is overridden on the one policy object, as an attribute that a copy does not inherit: an EMA made by
deepcopy, or a pickle, is the bare policy.  Where a script keeps its loss to itself (forward, backward and step in one
method) the regularizer's gradient is joined to that of the predictions, at the loss's own scale.  Among several
processes the method's own parameters start alike, and their gradients are averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ..terms.evaluation import Evaluation
from .adapters import Adapter
from .entries import InstalledStep
from .losses import Losses
from .override import Override
from .parallel import ReplicatedParameters
from .paths import network
from .step import Labels, TrainingStep


class Installation:
    """A method at work inside one policy's loss entry.

    Args:
        step: the policy's training step under the method.
        adapter: what is known of the policy.
        domain: function of the batch giving its labels; None waits for `labelled(...)`.
        weight, index: functions of the batch, like `domain`.
        at: function giving the optimizer step, for scheduled strengths.
    """

    def __init__(
        self,
        step: TrainingStep,
        adapter: Adapter,
        *,
        domain: Callable[[Any], Any] | None = None,
        weight: Callable[[Any], Tensor] | None = None,
        index: Callable[[Any], Tensor] | None = None,
        at: Callable[[], int] | None = None,
    ) -> None:
        self.installed = InstalledStep(step, self._labels)
        self.step, self.domain, self.weight, self.index, self.at = step, domain, weight, index, at
        self._beside = list[Labels]()
        self._plugin = step.method.parameters()
        self._replicas = ReplicatedParameters(self._plugin)
        self._versions = self._counted()
        policy = self.installed.policy
        self._check_entry(policy, adapter.entry)
        calls = adapter.overrides(self.installed)
        if hasattr(policy, "get_optim_params"):
            calls["get_optim_params"] = self._optim_params
        self._overrides = [Override(policy, name, call) for name, call in calls.items()]
        self._add_to(adapter.optimizers(policy) if self._plugin else [])

    @property
    def latest(self) -> Losses | Evaluation | None:
        """What the last step was made of; of a sealed step, what the regularizer was worth."""
        return self.installed.latest

    def remove(self) -> None:
        """Give the policy its own entries back."""
        for override in self._overrides:
            override.remove()
        self._overrides.clear()
        self._replicas.remove()

    @contextmanager
    def labelled(self, labels: Labels) -> Iterator[None]:
        """Labels for the calls made in the block."""
        self._beside.append(labels)
        try:
            yield
        finally:
            self._beside.pop()

    def _labels(self, batch: Any) -> Labels | None:
        hooks = self.step.hooks
        if hooks is not None and hooks.in_use:  # a step of CoTrain, or guided sampling, runs already
            return None
        if self._beside:
            labels = self._beside[-1]
        elif self.domain is not None:
            weight, index = (None if read is None else read(batch) for read in (self.weight, self.index))
            labels = Labels(self.domain(batch), weight, index)
        elif self.step.learns:
            raise ValueError(
                "an installed method needs the batch's domain labels, got none. Pass cotrain.install(domain=lambda "
                "batch: ...), or call the policy within cotrain.labelled(domain)."
            )
        else:
            return None
        self._check_learns()
        return replace(labels, step=self.at()) if labels.step is None and self.at is not None else labels

    def _check_entry(self, policy: Any, entry: str) -> None:
        if not hasattr(policy, entry):
            raise ValueError(
                f"install overrides the method a training script calls for the loss, got {entry!r}, which "
                f"{type(policy).__name__} lacks. Name it: CoTrain(..., loss='compute_loss')."
            )

    def _optim_params(self, original: Callable[..., Any]) -> Any:
        """The policy's own groups, and one of the method's parameters."""
        if not self._plugin:
            return original()
        own = original()
        groups = list(own.values()) if isinstance(own, dict) else list(own)
        if groups and not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        return [*groups, {"params": self._plugin, "weight_decay": 0.0}]

    def _add_to(self, optimizers: list[Any]) -> None:
        for optimizer in optimizers:
            held = {id(p) for group in optimizer.param_groups for p in group["params"]}
            if not any(id(p) in held for p in self._plugin):
                optimizer.add_param_group({"params": self._plugin, "weight_decay": 0.0})

    def _counted(self) -> tuple[list[int], list[int]]:
        inner = network(self.step.policy)
        own: list[nn.Parameter] = [] if inner is None else list(inner.parameters())
        return [p._version for p in own], [p._version for p in self._plugin]

    def _check_learns(self) -> None:
        """The method's own parameters are stepped when the policy's are, and alike on all ranks."""
        learning = [p for p in self._plugin if p.requires_grad]
        if not learning:
            return
        if self.step.learns and self._replicas.begin():  # an evaluation may be one rank's alone
            self._versions = self._counted()
        (own, before), (own_now, now) = self._versions, self._counted()
        if all(p.grad is None for p in learning):
            self._versions = own_now, now
        elif own != own_now and before == now:
            raise RuntimeError(
                "the method's own parameters (discriminators, domain tokens) must learn with the policy's, got an "
                "optimizer step that left them as they were. Give them to the optimizer: "
                "optimizer.add_param_group({'params': cotrain.plugin_parameters(), 'weight_decay': 0.0})."
            )
