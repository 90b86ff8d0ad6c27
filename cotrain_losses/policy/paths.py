"""Finding parts of a policy by dotted path, and arguments in a call of a module."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map


def unwrapped(policy: Any) -> Any:
    """The policy inside DistributedDataParallel, torch.compile, PEFT and Accelerate wrappers."""
    while True:
        if isinstance(policy, nn.parallel.DistributedDataParallel | nn.DataParallel):
            policy = policy.module
        elif "_orig_mod" in getattr(policy, "_modules", {}):
            policy = policy._orig_mod
        elif callable(getattr(policy, "get_base_model", None)):
            policy = policy.get_base_model()
        else:
            return policy


def resolved(root: object, path: str) -> Any:
    """The object at a dotted path of attributes, keys and positions."""
    found: Any = unwrapped(root)
    walked = type(found).__name__
    for name in path.split(".") if path else []:
        child = _child(found, name)
        if child is None:
            raise ValueError(
                f"a seam names parts of the policy, got {path!r}, but {walked} has no {name!r}.{_near(found)}"
            )
        found, walked = unwrapped(child), f"{walked}.{name}"
    return found


def exists(root: object, path: str) -> bool:
    """Whether there is something at a dotted path."""
    try:
        return resolved(root, path) is not None
    except ValueError:
        return False


def network(policy: object) -> nn.Module | None:
    """The policy as a module; of an object that is none, the modules it holds."""
    policy = unwrapped(policy)
    if isinstance(policy, nn.Module):
        return policy
    held = [part for part in getattr(policy, "__dict__", {}).values() if isinstance(part, nn.Module)]
    return nn.ModuleList(held) if held else None


def submodule(root: object, path: str) -> nn.Module:
    """The module at a dotted path."""
    found = resolved(root, path)
    if not isinstance(found, nn.Module):
        raise TypeError(
            f"a seam attaches to modules, got {path!r}, which is a {type(found).__name__}. "
            "Hooks need an nn.Module that is called (not a method): name the module around it."
        )
    return found


def check_argument(head: nn.Module, path: str, name: str | int) -> None:
    """The head's forward takes the named argument, as far as its signature tells."""
    parameters = inspect.signature(head.forward).parameters
    kinds = {p.kind for p in parameters.values()}
    if isinstance(name, str) and name not in parameters and inspect.Parameter.VAR_KEYWORD not in kinds:
        raise ValueError(
            f"a seam's condition is an argument of the head's forward, got {name!r}, but {path} "
            f"({type(head).__name__}) takes {', '.join(parameters)}."
        )


def argument(head: nn.Module, args: Any, kwargs: Any, name: str | int, path: str) -> Tensor:
    """The tensor that a call of the head passes under a name or at a position."""
    where, key = _slot(head, args, kwargs, name)
    value = kwargs.get(key) if where == "kwargs" else args[key] if key < len(args) else None
    if not isinstance(value, Tensor):
        raise TypeError(
            f"the seam reads argument {name!r} of {path} as a tensor, got {type(value).__name__} in a call with "
            f"{len(args)} positional arguments and {sorted(kwargs)}. Name the argument that holds the features."
        )
    return value


def with_argument(head: nn.Module, args: Any, kwargs: Any, name: str | int, value: Tensor) -> tuple[Any, Any]:
    """The call's arguments with one of them replaced."""
    where, key = _slot(head, args, kwargs, name)
    if where == "kwargs":
        return args, {**kwargs, key: value}
    return (*args[:key], value, *args[key + 1 :]), kwargs


def doubled(args: Any, kwargs: Any, rows: int) -> tuple[Any, Any] | None:
    """The call's arguments for twice the batch, or None where a tensor has not the `rows` samples first."""
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x.ndim]
    if any(len(x) != rows for x in tensors):
        return None
    twice: tuple[Any, Any] = tree_map(
        lambda x: torch.cat([x, x]) if isinstance(x, Tensor) and x.ndim else x, (args, kwargs)
    )
    return twice


def _slot(head: nn.Module, args: Any, kwargs: Any, name: str | int) -> tuple[str, Any]:
    if isinstance(name, int):
        return "args", name
    if name not in kwargs:
        positional = list(inspect.signature(head.forward).parameters)
        if name in positional and positional.index(name) < len(args):
            return "args", positional.index(name)
    return "kwargs", name


def _child(parent: Any, name: str) -> Any:
    if isinstance(parent, dict | nn.ModuleDict):
        return dict(parent.items()).get(name)
    if name.lstrip("-").isdigit() and hasattr(parent, "__getitem__"):
        return parent[int(name)] if -len(parent) <= int(name) < len(parent) else None
    return getattr(parent, name, None)


def _near(parent: Any) -> str:
    children = [name for name, _ in parent.named_children()] if isinstance(parent, nn.Module) else []
    return f" Its modules: {', '.join(children[:12])}." if children else ""
