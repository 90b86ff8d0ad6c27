"""Finding parts of a policy by dotted path."""

from __future__ import annotations

from typing import Any

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
            inside = [each for each, _ in part.named_children()] if isinstance(part, nn.Module) else []
            near = f" Its modules: {', '.join(inside[:12])}." if inside else ""
            raise ValueError(f"a seam names parts of the policy, got {path!r}, but {walked} has no {name!r}.{near}")
        part, walked = unwrapped(child), f"{walked}.{name}"
    return part


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


def submodule(root: object, path: str) -> nn.Module:
    """The module at a dotted path."""
    part = resolved(root, path)
    if not isinstance(part, nn.Module):
        raise TypeError(
            f"a seam attaches to modules, got {path!r}, which is a {type(part).__name__}. "
            "Hooks need an nn.Module that is called (not a method): name the module around it."
        )
    return part


def _child(parent: Any, name: str) -> Any:
    if isinstance(parent, dict | nn.ModuleDict):
        return dict(parent.items()).get(name)
    if name.lstrip("-").isdigit() and hasattr(parent, "__getitem__"):
        return parent[int(name)] if -len(parent) <= int(name) < len(parent) else None
    return getattr(parent, name, None)
