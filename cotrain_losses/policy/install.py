"""Co-training inside a training script nobody edits: the policy's own loss entry returns task + regularizer.

    loss(batch)  ->  l_policy + sum_k lambda_k R_k          while installed
    loss(batch)  ->  l_policy                               again, after uninstall

The entry is overridden on the one policy object; a copy of it (an EMA, a pickle) is the bare policy.  Among several
processes the method's own parameters start alike, and their gradients are averaged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from .adapters import Adapter
from .entries import InstalledStep
from .gather import ReplicatedParameters
from .override import Override
from .paths import network
from .step import LabelReaders, Labels, TrainingStep


class Installation(InstalledStep):
    """A method at work inside one policy's loss entry, until `remove`.  Without a reader it waits for `labelled`."""

    def __init__(self, step: TrainingStep, adapter: Adapter, readers: LabelReaders) -> None:
        super().__init__(step, readers)
        if not hasattr(self.policy, adapter.entry):
            raise ValueError(
                f"install overrides the method a training script calls for the loss, got {adapter.entry!r}, which "
                f"{type(self.policy).__name__} lacks. Name it: CoTrain(..., loss='compute_loss')."
            )
        self._plugin = step.method.parameters()
        self._replicas = ReplicatedParameters(self._plugin)
        self._versions = self._counted()
        calls = adapter.overrides(self)
        if self._plugin and hasattr(self.policy, "get_optim_params"):
            calls["get_optim_params"] = self._optim_params
        self._overrides = [Override(self.policy, _called(self.policy, name), call) for name, call in calls.items()]
        for optimizer in adapter.optimizers(self.policy) if self._plugin else []:
            held = {id(p) for group in optimizer.param_groups for p in group["params"]}
            if not any(id(p) in held for p in self._plugin):
                optimizer.add_param_group(self._group())

    def remove(self) -> None:
        """Give the policy its own entries back."""
        for override in self._overrides:
            override.remove()
        self._overrides.clear()
        self._replicas.remove()

    def labels(self, batch: Any) -> Labels | None:
        """As for every installed step; the method's own parameters are looked after."""
        if (labels := super().labels(batch)) is not None:
            self._check_learns()
        return labels

    def _group(self) -> dict[str, Any]:
        return {"params": self._plugin, "weight_decay": 0.0}

    def _optim_params(self, original: Callable[..., Any]) -> Any:
        """The policy's own groups, and one of the method's parameters."""
        own = original()
        groups = list(own.values()) if isinstance(own, dict) else list(own)
        if groups and not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        return [*groups, self._group()]

    def _counted(self) -> tuple[list[int], list[int]]:
        own = network(self.policy).parameters()
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


def _called(policy: Any, name: str) -> str:
    """The method that a call of the policy runs: `forward`, or what its class does itself when called."""
    calls_itself = isinstance(policy, nn.Module) and type(policy).__call__ is not nn.Module.__call__
    return "__call__" if name == "forward" and calls_itself else name
