"""The seam: the one point of a policy where co-training happens.

    z = f(o)              features are read here, before the domain token
    c = z + E[domain]     the token enters the head's condition
    a_hat = head(x, c)    each sample's prediction sends back its weight times its gradient

Seen from outside, by hooks: the policy's module tree, state_dict keys, files and optimizer stay as
they are.  A hook acts only while its owner runs a step; a copy of the policy (an EMA, a pickle)
carries hooks that nobody drives, and so is the bare policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from ._paths import argument, check_argument, resolved, submodule, with_argument


@dataclass(frozen=True)
class Seam:
    """Where features are read, the token enters and predictions leave, by dotted paths.

    Args:
        head: the module that turns a condition into predictions (a denoiser, a velocity net, a decoder).
        condition: name or position of the head's argument that holds the features z.
        feature: the module whose output holds the features, where they are not an argument of the head.
        time: name or position of the head's argument that holds the diffusion or flow time.
        pool: function of the captured tensor giving (b, ...) or (b * k, ...); None keeps it.  Steps and
            cameras folded into the rows are unfolded into the width, (b * k, f) -> (b, k * f).
        width: width of the condition, or the dotted path of an attribute of the policy that holds it.
        sampler: whether predictions are sampled from the head, so that guidance means something.

    Features come from `feature` if given, else from the head's condition.
    """

    head: str | None = None
    condition: str | int | None = None
    feature: str | None = None
    time: str | int | None = None
    pool: Callable[[Tensor], Tensor] | None = None
    width: int | str | None = None
    sampler: bool = True

    def __post_init__(self) -> None:
        if self.feature is None and (self.head is None or self.condition is None):
            raise ValueError(
                "a seam says where the features are: Seam(head='model.unet', condition='global_cond') when the head "
                "takes them as an argument, Seam(feature='encoder', head='decoder') when they are a module's output; "
                f"got head={self.head!r}, condition={self.condition!r}, feature={self.feature!r}."
            )

    @property
    def place(self) -> str:
        """Where the features are, in words for an error."""
        return self.feature if self.feature is not None else f"{self.head}({self.condition})"

    def condition_width(self, policy: object) -> int | None:
        """Width of the head's condition, if the seam knows it."""
        return int(resolved(policy, self.width)) if isinstance(self.width, str) else self.width

    def tap(self, policy: object) -> Tap:
        """Hooks on `policy` at this seam, idle until driven."""
        tap = Tap(self)
        tap.attach(policy)
        return tap


class Call(NamedTuple):
    """One call of the head, as its caller made it."""

    condition: Tensor | None
    time: Tensor | None
    again: Callable[[Tensor], Any]
    """calls the head once more, with another condition."""


class Pass(Protocol):
    """What acts at the seam while a policy runs."""

    def feature(self, z: Tensor) -> None:
        """Sees the features, before the token."""

    def enter(self, condition: Tensor) -> Tensor:
        """Gives the condition the head receives."""

    def leave(self, output: Any, call: Call) -> Any:
        """Gives what the head's caller receives."""


class Tap:
    """Hooks at one seam of one policy, driven through `use`."""

    def __init__(self, seam: Seam) -> None:
        self.seam = seam
        self.fired = {"feature": 0, "head": 0}
        self._active: Pass | None = None
        self._last: Pass | None = None
        self._own: list[tuple[Any, Any]] = []
        self._handles: list[Any] = []

    def attach(self, policy: object) -> None:
        """Register the hooks."""
        if self.seam.feature is not None:
            module = submodule(policy, self.seam.feature)
            self._handles.append(module.register_forward_hook(self._on_feature))
        if self.seam.head is not None:
            head = submodule(policy, self.seam.head)
            if self.seam.condition is not None:
                check_argument(head, self.seam.head, self.seam.condition)
            self._handles.append(head.register_forward_pre_hook(self._on_enter, with_kwargs=True))
            self._handles.append(head.register_forward_hook(self._on_leave, with_kwargs=True))

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
            yield
        finally:
            self._active, self._last = before, active
            self._own.clear()

    def _acting(self) -> Pass | None:
        if self._active is None and torch._C._current_graph_task_id() != -1:
            return self._last
        return self._active

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _on_feature(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if self._active is not None:
            self.fired["feature"] += 1
            self._active.feature(single_tensor(output, self.seam.place))

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _on_enter(self, head: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        if (acting := self._acting()) is None or self.seam.condition is None:
            return None
        condition = argument(head, args, kwargs, self.seam.condition, self.seam.head or "")
        if self.seam.feature is None and self._active is not None:
            acting.feature(condition)
        self._own.append((args, kwargs))
        return with_argument(head, args, kwargs, self.seam.condition, acting.enter(condition))

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _on_leave(self, head: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        if (acting := self._acting()) is None:
            return None
        self.fired["head"] += 1
        return acting.leave(output, self._call(head, *(self._own.pop() if self._own else (args, kwargs))))

    def _call(self, head: nn.Module, args: Any, kwargs: Any) -> Call:
        seam, path = self.seam, self.seam.head or ""
        condition = None if seam.condition is None else argument(head, args, kwargs, seam.condition, path)
        time = None if seam.time is None else argument(head, args, kwargs, seam.time, path)

        def again(other: Tensor) -> Any:
            active, self._active = self._active, None
            try:
                new_args, new_kwargs = with_argument(head, args, kwargs, seam.condition or 0, other)
                return head(*new_args, **new_kwargs)
            finally:
                self._active = active

        return Call(condition, time, again)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tap:
        memo[id(self)] = copy = Tap(self.seam)
        return copy

    def __reduce__(self) -> Any:
        return Tap, (self.seam,)


class _ScaleRows(torch.autograd.Function):
    """x -> x to the bit, gradient of row i times w_i."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        rows = weight.repeat_interleave(len(gradient) // len(weight)).to(gradient)
        return gradient * rows.reshape(-1, *[1] * (gradient.ndim - 1)), None


def with_row_gradients(output: Any, weight: Tensor, place: str) -> Any:
    """`output`, bit for bit, its rows' gradients multiplied by `weight` (b,).

    For a loss that is a sum over samples of functions of each sample's own prediction this equals
    weighting the samples' losses, whatever their reduction, inside loops nobody can edit.
    """

    def scaled(x: Any) -> Any:
        if not (isinstance(x, Tensor) and x.requires_grad):
            return x
        if x.ndim == 0 or len(x) % len(weight):
            raise ValueError(
                f"sample weights scale predictions with a row per sample, got an output of shape {tuple(x.shape)} from "
                f"{place} for {len(weight)} samples. Choose as head the module whose outputs have the samples first."
            )
        return _ScaleRows.apply(x, weight)  # type: ignore[no-untyped-call]

    return tree_map(scaled, output)


def rows_per_sample(captured: Tensor, samples: int, seam: Seam) -> Tensor:
    """The captured tensor as one row a sample: (b * k, ...) -> (b, k * ...)."""
    z = captured if seam.pool is None else seam.pool(captured)
    if z.ndim == 0 or len(z) == 0 or len(z) % samples:
        raise ValueError(
            f"features at {seam.place} hold one row (or a whole number of rows) per sample, got shape {tuple(z.shape)} "
            f"for {samples} domain labels. Pass Seam(pool=...) that puts the samples first, or a label for each sample."
        )
    return z.reshape(samples, -1)


def single_tensor(output: Any, place: str) -> Tensor:
    """The one tensor a feature module returned, alone or in a container."""
    tensors = [x for x in tree_leaves(output) if isinstance(x, Tensor)]
    if len(tensors) != 1:
        raise TypeError(
            f"features are one tensor, got {len(tensors)} from {place} ({type(output).__name__}). "
            "Name the module that returns just the features."
        )
    return tensors[0]
