"""A method's own parameters in the optimizers that step the policy's.

    group = {params: phi, weight_decay: 0, all else as the policy's group of the highest learning rate}

Schedules that exist already treat it as they treat that group.
"""

from __future__ import annotations

import functools
import gc
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from .paths import network

T = TypeVar("T")
_OF_GROUPS = ("base_lrs", "lr_lambdas", "_last_lr", "min_lrs", "max_lrs", "base_momentums", "max_momentums")
"""what torch's schedules keep one of for each group"""


class MethodGroup:
    """The parameters of a method that is installed in a policy, as a group of the policy's optimizers."""

    def __init__(self, policy: Any, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self._policys = {id(p) for p in network(policy).parameters()}
        self._joined: weakref.ref[Optimizer] | None = None

    def join(self, optimizer: Any) -> None:
        """Add the group to an optimizer that has it not yet, and to its schedules."""
        while isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):  # Accelerate's wrapper
            optimizer = inner
        groups = optimizer.param_groups
        if not self.parameters or self._holds(optimizer, {id(p) for p in self.parameters}):
            return
        like = max(range(len(groups)), key=lambda k: float(groups[k].get("initial_lr", groups[k]["lr"])))
        for schedule in _living(LRScheduler):
            if getattr(schedule, "optimizer", None) is optimizer:
                _extend(schedule, like, len(groups))
        optimizer.add_param_group(self._group(groups[like]))
        self._joined = weakref.ref(optimizer)

    def offer(self, optimizer: Optimizer) -> None:
        """Join an optimizer of the policy's parameters, unless another one that lives steps the rest of them."""
        joined = None if self._joined is None else self._joined()
        if self._holds(optimizer, self._policys) and (joined is None or self._holds(optimizer, self._shared(joined))):
            self.join(optimizer)

    def join_any(self) -> None:
        """Join the optimizer of the policy's parameters, if there is one, and any that is built until `leave`."""
        for optimizer in _living(Optimizer):
            if getattr(optimizer, "param_groups", None):
                self.offer(optimizer)
        _builds.watch(self)

    def leave(self) -> None:
        """Join no more optimizers."""
        _builds.unwatch(self)

    def optim_params(self, original: Callable[..., Any]) -> Any:
        """What a policy names for its optimizer (parameters, groups, or parameters by name), and the method's."""
        own = original()
        if isinstance(own, Mapping):
            named = all(isinstance(value, nn.Parameter) for value in own.values())
            return {**own, **{f"cotrain.{k}": p for k, p in enumerate(self.parameters)}} if named else own
        groups = list(own)
        if groups and not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        return [*groups, {"params": self.parameters, "weight_decay": 0.0}]

    def _group(self, like: Mapping[str, Any]) -> dict[str, Any]:
        same = {name: x.clone() if isinstance(x, Tensor) else x for name, x in like.items() if name != "params"}
        named = same.pop("param_names", None) is not None
        params = [(f"cotrain.{k}", p) for k, p in enumerate(self.parameters)] if named else self.parameters
        return {**same, "params": params, "weight_decay": 0.0, **({"name": "cotrain"} if "name" in same else {})}

    def _shared(self, joined: Optimizer) -> set[int]:
        return {id(p) for group in joined.param_groups for p in group["params"]} & self._policys

    @staticmethod
    def _holds(optimizer: Optimizer, parameters: set[int]) -> bool:
        return any(id(p) in parameters for group in optimizer.param_groups for p in group["params"])


def _extend(schedule: LRScheduler, like: int, groups: int) -> None:
    """Let a schedule treat one more group as it treats another."""
    for name in _OF_GROUPS:
        if isinstance(each := vars(schedule).get(name), list) and len(each) == groups:
            setattr(schedule, name, [*each, each[like]])


def _living(kind: type[T]) -> list[T]:
    """All objects of a kind.  Neither an optimizer knows its schedules nor a parameter its optimizers."""
    return [x for x in gc.get_objects() if issubclass(type(x), kind)]


class _Builds:
    """Tells groups of every optimizer that is built, while there are any: torch has no hook for it."""

    def __init__(self) -> None:
        self.groups = list[MethodGroup]()
        self._original: Callable[..., None] | None = None

    def watch(self, group: MethodGroup) -> None:
        self.groups.append(group)
        if self._original is not None:
            return
        self._original = original = Optimizer.__init__

        @functools.wraps(original)
        def build(optimizer: Optimizer, *args: Any, **kwargs: Any) -> None:
            original(optimizer, *args, **kwargs)
            for each in list(self.groups):
                each.offer(optimizer)

        self._build = Optimizer.__init__ = build  # type: ignore

    def unwatch(self, group: MethodGroup) -> None:
        self.groups = [each for each in self.groups if each is not group]
        if not self.groups and self._original is not None and Optimizer.__init__ is self._build:
            Optimizer.__init__, self._original = self._original, None  # type: ignore[method-assign]


_builds = _Builds()
