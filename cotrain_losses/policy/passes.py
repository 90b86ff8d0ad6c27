"""What acts at the seam while a policy runs, and the calls of modules that it acts on."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map


class HeadCall(NamedTuple):
    """One call of the head, as its caller made it."""

    condition: Tensor | None
    time: Tensor | None
    again: Callable[[Tensor], Any]
    """calls the head once more, with another condition."""
    doubled: bool = False
    """whether it was one call for two conditions, whose rows follow one another."""


class Pass:
    """Acts at the seam while a policy runs.  This one changes nothing."""

    replaces_conditions = False
    """whether it adds a token to the head's condition."""
    predicts_twice = False
    """whether it wants a second prediction, under another condition."""
    replaces_predictions = False
    """whether it is given predictions at all."""

    def on_features(self, z: Tensor, read: Tensor | None) -> Tensor:
        """Sees the features read from z, None where autograd recomputes them; gives what the policy goes on with."""
        return z

    def replace_condition(self, condition: Tensor) -> Tensor:
        """Gives the condition the head receives, or what the token is added to."""
        return condition

    def two_conditions(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Gives both conditions, when the head is called once for both."""
        return condition, condition

    def replace_prediction(self, output: Any, call: HeadCall) -> Any:
        """Gives what the head's caller receives."""
        return output


class Argument:
    """The argument, by name or position, of a module at some path of the policy that holds one tensor."""

    def __init__(self, module: nn.Module, path: str, name: str | int) -> None:
        self.path, self.name = path, name
        parameters = inspect.signature(module.forward).parameters
        self._place = name if isinstance(name, int) else list(parameters).index(name) if name in parameters else -1
        kinds = {p.kind for p in parameters.values()}
        if isinstance(name, str) and self._place < 0 and inspect.Parameter.VAR_KEYWORD not in kinds:
            raise ValueError(
                f"a seam's condition is an argument of the head's forward, got {name!r}, but {path} "
                f"({type(module).__name__}) takes {', '.join(parameters)}."
            )

    def of(self, args: Any, kwargs: Any) -> Tensor:
        """The tensor that a call passes."""
        value = args[self._place] if 0 <= self._place < len(args) else kwargs.get(self.name)
        if not isinstance(value, Tensor):
            raise TypeError(
                f"the seam reads argument {self.name!r} of {self.path} as a tensor, got {type(value).__name__} in a "
                f"call with {len(args)} positional arguments and {sorted(kwargs)}. "
                "Name the argument that holds the features."
            )
        return value

    def replaced(self, args: Any, kwargs: Any, value: Tensor) -> tuple[Any, Any]:
        """The call's arguments with another tensor in its place."""
        if 0 <= self._place < len(args):
            return (*args[: self._place], value, *args[self._place + 1 :]), kwargs
        return args, {**kwargs, self.name: value}


def doubled(args: Any, kwargs: Any, rows: int) -> tuple[Any, Any] | None:
    """The call's arguments for twice the batch, or None where a tensor has not the `rows` samples first."""
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x.ndim]
    if any(len(x) != rows for x in tensors):
        return None
    return tree_map(lambda x: torch.cat([x, x]) if isinstance(x, Tensor) and x.ndim else x, (args, kwargs))  # type: ignore[no-any-return]
