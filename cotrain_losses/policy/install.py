"""Co-training inside a training script nobody edits: the policy's own loss entry returns task + regularizer.

    loss(batch)  ->  l_policy + sum_k lambda_k R_k          while installed
    loss(batch)  ->  l_policy                               again, after uninstall

The entry is overridden on the one policy object; a copy of it (an EMA, a pickle) is the bare policy.  Among several
processes the method's own parameters start alike, and their gradients are averaged.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from .adapters import Adapter
from .entries import InstalledStep
from .gather import ReplicatedParameters
from .keeping import Keeping
from .labels import LabelReaders, Labels
from .optimizers import MethodGroup
from .override import Override
from .paths import network
from .step import TrainingStep


class Installation(InstalledStep):
    """A method at work inside one policy's loss entry, until `remove`.  Without a reader it waits for `labelled`."""

    def __init__(self, step: TrainingStep, adapter: Adapter, readers: LabelReaders, optimizer: Any = None) -> None:
        super().__init__(step, readers)
        if not hasattr(self.policy, adapter.entry):
            raise ValueError(
                f"install overrides the method a training script calls for the loss, got {adapter.entry!r}, which "
                f"{type(self.policy).__name__} lacks. Name it: CoTrain(..., loss='compute_loss')."
            )
        self._plugin = step.method.parameters()
        self._group = MethodGroup(self.policy, self._plugin)
        self._replicas = ReplicatedParameters(self._plugin)
        self._versions = self._counted()
        calls = adapter.overrides(self)
        if self._plugin and hasattr(self.policy, "get_optim_params"):
            calls["get_optim_params"] = self._group.optim_params
        self._overrides = [Override(self.policy, _called(self.policy, name), call) for name, call in calls.items()]
        for one in [*adapter.optimizers(self.policy), *_optimizers(optimizer)]:
            self._group.join(one)
        if optimizer == "any" and self._plugin:
            self._group.join_any()
        self.keeping = Keeping(step.policy, step.method)

    def remove(self) -> None:
        """Give the policy its own entries back."""
        for override in self._overrides:
            override.remove()
        self._overrides.clear()
        self._group.leave()
        self._replicas.remove()
        self.keeping.remove()

    def labels(self, batch: Any) -> Labels | None:
        """As for every installed step; the method's own parameters are looked after."""
        if (labels := super().labels(batch)) is not None:
            self._check_learns()
            if self.step.learns:
                self.keeping.unsaved.tell()
        return labels

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
                "optimizer step that left them as they were. Give them to the optimizer: cotrain.install(optimizer="
                "optimizer), or 'any' for one that the script builds, or "
                "optimizer.add_param_group({'params': cotrain.plugin_parameters(), 'weight_decay': 0.0})."
            )


def _called(policy: Any, name: str) -> str:
    """The method that a call of the policy runs: `forward`, or what its class does itself when called."""
    calls_itself = isinstance(policy, nn.Module) and type(policy).__call__ is not nn.Module.__call__
    return "__call__" if name == "forward" and calls_itself else name


def _optimizers(optimizer: Any) -> list[Any]:
    """What `install` was given, one by one; "any" is none yet."""
    given = list(optimizer) if isinstance(optimizer, list | tuple) else [optimizer]
    for each in given:
        if not (each is None or each == "any" or hasattr(each, "add_param_group")):
            raise TypeError(
                f"install gives the method's own parameters to an optimizer, got a {type(each).__name__}. Pass the "
                "optimizer, a list of them, or 'any' for the one that steps the policy's parameters."
            )
    return [each for each in given if hasattr(each, "add_param_group")]
