"""What acts at the seam while a policy runs, and the calls that it acts on."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from .paths import nearest, part_of, with_part
from .sites import Captured, Owners, Site


class HeadCall(NamedTuple):
    """One call of the head, as its caller made it."""

    condition: Tensor | None
    time: Tensor | None
    owners: Owners
    again: Callable[[Tensor | None], Any] | None
    """calls the head once more, with another condition; None where that would be the same prediction."""
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
    followed = True
    """whether torch.compile may follow what it does."""
    domain = torch.zeros(0, dtype=torch.long)
    """(b,) labels of the samples, where it has any"""

    def on_features(self, z: Tensor, captured: Captured | None) -> Tensor:
        """Sees the features read from z, None where autograd recomputes them; gives what the policy goes on with."""
        return z

    def replace_condition(self, condition: Tensor, owners: Owners) -> Tensor:
        """Gives the condition the head receives, or what the token is added to."""
        return condition

    def two_conditions(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Gives both conditions, when the head is called once for both."""
        return condition, condition

    def replace_prediction(self, output: Any, call: HeadCall) -> Any:
        """Gives what the head's caller receives."""
        return output


class Argument:
    """The argument of a call, by name, position or a path into one, that holds one tensor."""

    def __init__(self, call: Callable[..., Any], path: str, name: str | int) -> None:
        self.path, self.name = path, name
        self._first, *self._inside = str(name).split(".")
        parameters = inspect.signature(getattr(call, "forward", call)).parameters
        self._place = (
            int(self._first)
            if self._first.isdigit()
            else list(parameters).index(self._first)
            if (self._first in parameters)
            else -1
        )
        kinds = {p.kind for p in parameters.values()}
        if self._place < 0 and inspect.Parameter.VAR_KEYWORD not in kinds:
            near = nearest(self._first, parameters) or list(parameters)
            raise ValueError(
                f"a site names an argument of its call, got {name!r}, but {path} "
                f"({type(call).__name__}) takes {', '.join(near)}."
            )

    def of(self, args: Any, kwargs: Any) -> Tensor:
        """The tensor that a call passes."""
        whole = args[self._place] if 0 <= self._place < len(args) else kwargs.get(self._first)
        value = part_of(whole, self._inside) if self._inside else whole
        if not isinstance(value, Tensor):
            raise TypeError(
                f"the seam reads argument {self.name!r} of {self.path} as a tensor, got {type(value).__name__} in a "
                f"call with {len(args)} positional arguments and {sorted(kwargs)}{self._near(whole)}. "
                "Name the argument that holds the features, or a path into it: 'states.state_images'."
            )
        return value

    def replaced(self, args: Any, kwargs: Any, value: Tensor) -> tuple[Any, Any]:
        """The call's arguments with another tensor in its place."""
        if 0 <= self._place < len(args):
            new = with_part(args[self._place], self._inside, value) if self._inside else value
            return (*args[: self._place], new, *args[self._place + 1 :]), kwargs
        return args, {**kwargs, self._first: with_part(kwargs.get(self._first), self._inside, value)}

    def _near(self, whole: Any) -> str:
        """What the argument holds, where a path goes into it."""
        held = list(whole) if isinstance(whole, dict) else list(getattr(whole, "__dict__", {}))
        return f", where it holds {', '.join(map(str, held[:5]))}" if held else ""


def tensor_of(output: Any, site: Site) -> Tensor:
    """The tensor at a site's path in what its call returned, or the one it returned, alone or in a container."""
    if site.output is not None:
        found = part_of(output, str(site.output).split("."))
        tensors = [found] if isinstance(found, Tensor) else []
    else:
        tensors = [x for x in tree_leaves(output) if isinstance(x, Tensor)]
    if len(tensors) != 1:
        raise TypeError(
            f"a site holds one tensor, got {len(tensors)} from {site.place} ({type(output).__name__}). "
            "Name the call that returns just that, or the path to it: Site(call, output='last_hidden_state')."
        )
    return tensors[0]


def with_tensor(output: Any, path: str | int | None, old: Tensor, new: Tensor) -> Any:
    """What a call returned, with another tensor in the place of `old`."""
    if path is not None:
        return with_part(output, str(path).split("."), new)
    return tree_map(lambda x: new if x is old else x, output)


def doubled(args: Any, kwargs: Any, rows: int) -> tuple[Any, Any] | None:
    """The call's arguments for twice the batch, or None where a tensor has not the `rows` samples first."""
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x.ndim]
    if any(len(x) != rows for x in tensors):
        return None
    return tree_map(lambda x: torch.cat([x, x]) if isinstance(x, Tensor) and x.ndim else x, (args, kwargs))  # type: ignore[no-any-return]
