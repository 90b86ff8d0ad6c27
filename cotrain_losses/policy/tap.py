"""Hooks at one seam of one policy, idle until a pass drives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from .paths import argument, check_argument, doubled, resolved, submodule, with_argument

if TYPE_CHECKING:
    from .seam import Seam


class Call(NamedTuple):
    """One call of the head, as its caller made it."""

    condition: Tensor | None
    time: Tensor | None
    again: Callable[[Tensor], Any]
    """calls the head once more, with another condition."""
    both: bool = False
    """whether it was one call for two conditions, whose rows follow one another."""


class Pass(Protocol):
    """What acts at the seam while a policy runs."""

    def feature(self, z: Tensor) -> None:
        """Sees the features, before the token."""

    def replace_features(self, z: Tensor) -> Tensor:
        """Gives the features that the policy goes on with."""

    def enter(self, condition: Tensor) -> Tensor:
        """Gives the condition the head receives."""

    def pair(self, condition: Tensor) -> tuple[Tensor, Tensor] | None:
        """Gives two conditions, when the head is to be called for both."""

    def leave(self, output: Any, call: Call) -> Any:
        """Gives what the head's caller receives."""

    def around(self, predict: Callable[[], Any]) -> Any:
        """Gives what the caller of the sampler's method receives."""


class Tap:
    """Hooks at one seam of one policy, driven through `use`."""

    def __init__(self, seam: Seam) -> None:
        self.seam = seam
        self.fired = {"feature": 0, "head": 0, "token": 0}
        self._active: Pass | None = None
        self._last: Pass | None = None
        self._own: list[tuple[Any, Any, bool]] = []
        self._before_then: tuple[nn.Module, tuple[Any, Any, bool], Any] | None = None
        self._method: tuple[Any, str] | None = None
        self._handles: list[Any] = []

    def attach(self, policy: object) -> None:
        """Register the hooks."""
        seam = self.seam
        if seam.feature is not None:
            self._handles.append(submodule(policy, seam.feature).register_forward_hook(self._on_feature))
        if seam.token is not None:
            self._handles.append(submodule(policy, seam.token).register_forward_hook(self._on_token))
        if seam.head is not None:
            head = submodule(policy, seam.head)
            if seam.condition is not None:
                check_argument(head, seam.head, seam.condition)
            self._handles.append(head.register_forward_pre_hook(self._on_enter, with_kwargs=True))
            self._handles.append(head.register_forward_hook(self._on_head, with_kwargs=True))
        if seam.then is not None:
            then = submodule(policy, seam.then)
            self._handles.append(then.register_forward_hook(self._on_then, with_kwargs=True))
        if isinstance(seam.sampler, str):
            owner, _, name = seam.sampler.rpartition(".")
            self._method = resolved(policy, owner), name

    def remove(self) -> None:
        """Take the hooks off again."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    @contextmanager
    def use(self, active: Pass) -> Iterator[None]:
        """Let `active` act at the seam while the block runs.

        It goes on acting where autograd runs the head a second time in the backward pass (activation
        checkpointing), until the next block.
        """
        self.fired = dict.fromkeys(self.fired, 0)
        self._active, before = active, self._active
        try:
            with self._around_method(active):
                yield
        finally:
            self._active, self._last = before, active
            self._own.clear()
            self._before_then = None

    @contextmanager
    def _around_method(self, active: Pass) -> Iterator[None]:
        if self._method is None:
            yield
            return
        owner, name = self._method
        own, original = vars(owner).get(name), getattr(owner, name)
        object.__setattr__(owner, name, lambda *args, **kwargs: active.around(lambda: original(*args, **kwargs)))
        try:
            yield
        finally:
            object.__delattr__(owner, name)
            if own is not None:
                object.__setattr__(owner, name, own)

    def _acting(self) -> Pass | None:
        if self._active is None and torch._C._current_graph_task_id() != -1:
            return self._last
        return self._active

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _on_feature(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        if (acting := self._acting()) is None:
            return None
        z = single_tensor(output, self.seam.place)
        if self._active is not None:
            self.fired["feature"] += 1
            acting.feature(z)
        return None if (on := acting.replace_features(z)) is z else tree_map(lambda x: on if x is z else x, output)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _on_token(self, module: nn.Module, inputs: Any, output: Any) -> Tensor | None:
        if (acting := self._acting()) is None:
            return None
        self.fired["token"] += 1
        return acting.enter(single_tensor(output, self.seam.token or ""))

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _on_enter(self, head: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        seam, acting = self.seam, self._acting()
        if acting is None or seam.condition is None:
            return None
        condition = argument(head, args, kwargs, seam.condition, seam.head or "")
        if seam.feature is None and self._active is not None:
            acting.feature(self._without_padding(condition, head, args, kwargs))
        passed = acting.replace_features(condition) if seam.feature is None else condition
        twice = None if (pair := self._pair(acting, condition)) is None else doubled(args, kwargs, len(condition))
        self._own.append((args, kwargs, twice is not None))
        if pair is not None and twice is not None:
            return with_argument(head, *twice, seam.condition, torch.cat(pair))
        if seam.token is None:
            return with_argument(head, args, kwargs, seam.condition, acting.enter(passed))
        return None if passed is condition else with_argument(head, args, kwargs, seam.condition, passed)

    def _pair(self, acting: Pass, condition: Tensor) -> tuple[Tensor, Tensor] | None:
        one_call = self.seam.then is None and self.seam.token is None
        return acting.pair(condition) if one_call else None

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _on_head(self, head: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        if (acting := self._acting()) is None:
            return None
        self.fired["head"] += 1
        own = self._own.pop() if self._own else (args, kwargs, False)
        if self.seam.then is not None:
            self._before_then = head, own, output
            return None
        return acting.leave(output, self._call(head, own))

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _on_then(self, then: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        if (acting := self._acting()) is None or self._before_then is None:
            return None
        head, own, between = self._before_then
        call = self._call(head, own)

        def again(condition: Tensor) -> Any:
            swap = _swaps(between, call.again(condition), (args, kwargs), self.seam)
            return self._unseen(lambda: then(*map(swap, args), **{name: swap(x) for name, x in kwargs.items()}))

        return acting.leave(output, call._replace(again=again))

    def _call(self, head: nn.Module, own: tuple[Any, Any, bool]) -> Call:
        seam, path, (args, kwargs, both) = self.seam, self.seam.head or "", own
        condition = None if seam.condition is None else argument(head, args, kwargs, seam.condition, path)
        time = None if seam.time is None else argument(head, args, kwargs, seam.time, path)

        def again(other: Tensor) -> Any:
            new_args, new_kwargs = with_argument(head, args, kwargs, seam.condition or 0, other)
            new_kwargs = {name: value for name, value in new_kwargs.items() if name != seam.cache}
            return self._unseen(lambda: head(*new_args, **new_kwargs))

        return Call(condition, time, again, both)

    def _unseen(self, call: Callable[[], Any]) -> Any:
        active, self._active = self._active, None
        try:
            return call()
        finally:
            self._active = active

    def _without_padding(self, condition: Tensor, head: nn.Module, args: Any, kwargs: Any) -> Tensor:
        if self.seam.mask is None or not torch.is_grad_enabled():
            return condition
        real = argument(head, args, kwargs, self.seam.mask, self.seam.head or "").to(condition)[..., None]
        return (condition * real).sum(1) / real.sum(1).clamp_min(1.0)

    def __reduce__(self) -> Any:  # copies and pickles are idle, and hold nothing of a graph
        return Tap, (self.seam,)


def single_tensor(output: Any, place: str) -> Tensor:
    """The one tensor a feature module returned, alone or in a container."""
    tensors = [x for x in tree_leaves(output) if isinstance(x, Tensor)]
    if len(tensors) != 1:
        raise TypeError(
            f"features are one tensor, got {len(tensors)} from {place} ({type(output).__name__}). "
            "Name the module that returns just the features."
        )
    return tensors[0]


def _swaps(old: Any, new: Any, call: Any, seam: Seam) -> Callable[[Any], Any]:
    """x -> its counterpart in `new`, if x is one of the tensors of `old`."""
    counterparts = {id(x): y for x, y in zip(tree_leaves(old), tree_leaves(new), strict=True)}
    if not any(id(x) in counterparts for x in tree_leaves(call)):
        raise RuntimeError(
            f"Seam(then=...) names the module that takes the head's output as it is, got a {seam.then} that was not "
            f"passed what {seam.head} returned. Name as head the module around both."
        )
    return lambda x: counterparts.get(id(x), x)
