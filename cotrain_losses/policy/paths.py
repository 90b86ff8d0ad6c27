"""Finding parts of a policy, and parts of what its calls take and return, by dotted path."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import nn


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
    part: Any = unwrapped(root)
    walked = type(part).__name__
    for name in path.split(".") if path else []:
        child = _child(part, name)
        if child is None:
            raise ValueError(
                f"a seam names parts of the policy, got {path!r}, but {walked} has no {name!r}.{_near(part, name)}"
            )
        part, walked = unwrapped(child), f"{walked}.{name}"
    return part


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """The names most like another, three at most."""
    return get_close_matches(name, [x for x in names if not x.startswith("_")], 3, 0.5)


def _near(part: Any, name: str) -> str:
    """Parts with such a name, here or further inside."""
    if not isinstance(part, nn.Module):
        return ""
    inside, further = [each for each, _ in part.named_children()], [each for each, _ in part.named_modules()]
    own = ["forward", *(each for each in dir(type(part)) if not hasattr(nn.Module, each))]
    near = [each for each in further if each.endswith(f".{name}")] or nearest(name, [*inside, *own]) or inside
    return f" Nearest there: {', '.join(near[:5])}." if near else ""


def exists(root: object, path: str) -> bool:
    """Whether there is something at a dotted path."""
    try:
        return resolved(root, path) is not None
    except ValueError:
        return False


def networks(policy: object) -> list[nn.Module]:
    """The policy as modules that have a mode each: itself, or of an object that is none, those that it holds."""
    policy = unwrapped(policy)
    held = [policy] if isinstance(policy, nn.Module) else getattr(policy, "__dict__", {}).values()
    return list({id(part): part for part in held if isinstance(part, nn.Module)}.values())


def network(policy: object) -> nn.Module:
    """The policy as one module; of an object that is none, the modules it holds."""
    inner = unwrapped(policy)
    return inner if isinstance(inner, nn.Module) else nn.ModuleList(networks(inner))


def scripted(part: object) -> bool:
    """Whether torch.jit compiled a module, which then calls no hooks."""
    return isinstance(part, torch.jit.ScriptModule)


def submodule(root: object, path: str) -> nn.Module:
    """The module at a dotted path, or of a method's path the module that has it."""
    part = resolved(root, path)
    while not isinstance(part, nn.Module):
        path, _, name = path.rpartition(".")
        if not callable(part) or not name:
            raise TypeError(f"a seam acts at modules and methods, got {name or path!r}, a {type(part).__name__}.")
        part = resolved(root, path)
    return part


def part_of(value: Any, names: Sequence[str]) -> Any:
    """What lies at a path of keys, positions and attributes inside a value; None where nothing does."""
    for name in names:
        if (value := _child(value, name)) is None:
            return None
    return value


def with_part(value: Any, names: Sequence[str], part: Any) -> Any:
    """A copy of the containers along a path, with another part at its end; the rest is shared."""
    if not names:
        return part
    name, child = names[0], with_part(_child(value, names[0]), names[1:], part)
    if isinstance(value, tuple):
        fields: tuple[str, ...] = getattr(value, "_fields", ())
        place = fields.index(name) if name in fields else range(len(value))[int(name)]
        items = [*value[:place], child, *value[place + 1 :]]
        return type(value)(*items) if fields else tuple(items)
    changed: Any = {**value} if type(value) is dict else copy.copy(value)  # torch.compile follows no copy of a dict
    if isinstance(value, list):
        changed[int(name)] = child
    elif isinstance(value, Mapping) and name in value:
        changed[name] = child
    else:
        object.__setattr__(changed, name, child)
    return changed


def _child(parent: Any, name: str) -> Any:
    if isinstance(parent, Mapping | nn.ModuleDict) and name in parent:
        return parent[name]
    if name.lstrip("-").isdigit() and hasattr(parent, "__getitem__") and not isinstance(parent, Mapping):
        return parent[int(name)] if -len(parent) <= int(name) < len(parent) else None
    return getattr(parent, name, None)
