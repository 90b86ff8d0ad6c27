"""Hooks at one seam of one policy, idle until a pass uses them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from .override import Uncompiled
from .passes import Argument, HeadCall, Pass, doubled
from .paths import submodule
from .seam import Seam

_Entered: TypeAlias = tuple[Any, Any, bool]
"""a call of the head: args and kwargs as its caller gave them, and whether it was made for two conditions"""


class Hooks:
    """Hooks at one seam of one policy, at which the pass of `use` acts.  A copy or a pickle of them is idle."""

    def __init__(self, seam: Seam) -> None:
        self.seam, self._decodes = seam, seam.prediction != seam.head
        self.fired = Counter[str]()
        """how often the module of each role (feature, token, head) ran under the last pass"""
        self._condition: Argument | None = None
        self._time: Argument | None = None
        self.active: Pass | None = None
        """the pass that acts now"""
        self._last: Pass | None = None
        self._entered = list[_Entered]()
        self._output: tuple[Any, HeadCall] | None = None
        self._handles = list[Any]()
        self.functions = list[Uncompiled]()

    def attach(self, policy: object) -> Hooks:
        """Register the hooks.  A site that is not a module would be wired here, role by role."""
        seam = self.seam
        sites = {"_on_feature": seam.feature, "_on_token": seam.token, "_after_head": seam.head}
        for name, path in {**sites, "_after_decoder": seam.prediction if self._decodes else None}.items():
            if path is not None:
                hook = submodule(policy, path).register_forward_hook(Uncompiled(self, name), with_kwargs=True)
                self._handles.append(hook)
        if seam.head is not None:
            head = submodule(policy, seam.head)
            names = seam.condition, seam.time
            self._condition, self._time = (None if x is None else Argument(head, seam.head, x) for x in names)
            if self._condition is not None:
                self._handles.append(head.register_forward_pre_hook(Uncompiled(self, "_before_head"), with_kwargs=True))
        return self

    def remove(self) -> None:
        """Take the hooks off again."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    @contextmanager
    def use(self, active: Pass) -> Iterator[None]:
        """Let a pass act at the seam while the block runs.

        It goes on acting where autograd runs the head a second time in the backward pass (activation
        checkpointing), until the next block.
        """
        if "torch._dynamo" in sys.modules:
            for function in self.functions:
                function.leave_out()
        self.fired = Counter()
        self.active, before = active, self.active
        try:
            yield
        finally:
            self.active, self._last = before, active
            self._entered.clear()
            self._output = None

    def _recomputing(self) -> Pass | None:
        """The pass whose step autograd runs through, where it recomputes what was checkpointed."""
        # No public function of torch tells whether autograd is running.
        return self._last if self._last is not None and torch._C._current_graph_task_id() != -1 else None

    def _on_feature(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        if (acting := self.active or self._recomputing()) is None:
            return None
        z = _single_tensor(output, self.seam.place)
        self.fired["feature"] += 1
        new = acting.on_features(z, None if self.active is None else z)
        return None if new is z else tree_map(lambda x: new if x is z else x, output)

    def _on_token(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Tensor | None:
        if (acting := self.active or self._recomputing()) is None:
            return None
        self.fired["token"] += 1
        return acting.replace_condition(_single_tensor(output, self.seam.token or ""))

    def _before_head(self, head: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        acting, seam, place = self.active or self._recomputing(), self.seam, self._condition
        if acting is None or place is None:
            return None
        condition = new = place.of(args, kwargs)
        if seam.feature is None:
            read = None if self.active is None else seam.features_of(condition, head, args, kwargs)
            new = acting.on_features(condition, read)
        if seam.token is None and acting.replaces_conditions:
            if acting.predicts_twice and not self._decodes and (twice := doubled(args, kwargs, len(condition))):
                self._entered.append((args, kwargs, True))
                return place.replaced(*twice, torch.cat(acting.two_conditions(condition)))
            new = acting.replace_condition(new)
        self._entered.append((args, kwargs, False))
        return None if new is condition else place.replaced(args, kwargs, new)

    def _after_head(self, head: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        if (acting := self.active or self._recomputing()) is None:
            return None
        self.fired["head"] += 1
        entered = self._entered.pop() if self._entered else (args, kwargs, False)
        if not acting.replaces_predictions:
            return None
        call = self._call(head, *entered)
        if not self._decodes:
            return acting.replace_prediction(output, call)
        self._output = output, call
        return None

    def _after_decoder(self, decoder: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        if (acting := self.active or self._recomputing()) is None or self._output is None:
            return None
        between, call = self._output

        def again(condition: Tensor) -> Any:
            new_args, new_kwargs = _exchanged(between, call.again(condition), (args, kwargs), self.seam)
            return self._idle(decoder, *new_args, **new_kwargs)

        return acting.replace_prediction(output, call._replace(again=again))

    def _call(self, head: nn.Module, args: Any, kwargs: Any, twice: bool) -> HeadCall:
        def again(condition: Tensor) -> Any:
            changed = (args, kwargs) if self._condition is None else self._condition.replaced(args, kwargs, condition)
            return self._idle(self.seam.call_again, head, *changed)

        condition, time = (None if place is None else place.of(args, kwargs) for place in (self._condition, self._time))
        return HeadCall(condition, time, again, twice)

    def _idle(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        active, self.active = self.active, None
        try:
            return function(*args, **kwargs)
        finally:
            self.active = active

    def __reduce__(self) -> Any:
        return Hooks, (self.seam,), {"_condition": self._condition, "_time": self._time}


def _single_tensor(output: Any, place: str) -> Tensor:
    """The one tensor a feature module returned, alone or in a container."""
    if isinstance(output, Tensor):
        return output
    tensors = [x for x in tree_leaves(output) if isinstance(x, Tensor)]
    if len(tensors) != 1:
        raise TypeError(
            f"features are one tensor, got {len(tensors)} from {place} ({type(output).__name__}). "
            "Name the module that returns just the features."
        )
    return tensors[0]


def _exchanged(old: Any, new: Any, call: Any, seam: Seam) -> Any:
    """The arguments of a call, with every tensor of `old` replaced by its counterpart in `new`."""
    counterparts = {id(x): y for x, y in zip(tree_leaves(old), tree_leaves(new), strict=True)}
    if not any(id(x) in counterparts for x in tree_leaves(call)):
        raise RuntimeError(
            f"predictions leave from the module that takes the head's output as it is, got a {seam.prediction} that "
            f"was not passed what {seam.head} returned. Name as head the module around both."
        )
    return tree_map(lambda x: counterparts.get(id(x), x), call)
