"""Where the seam is in known codebases, and what their training scripts call.

    adapter = (package, class names)  ->  seam, loss, entries to install in, optimizers

A policy is looked up by the name and package of its class and of those it inherits from, inside its wrappers; no
codebase is imported.  Each has its file here (facts and versions: docs/codebases.md); one object teaches a new one:

    adapters.register(Adapter("my_repo", "MyPolicy", Seam(head="denoiser", condition="cond", width=256)))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..paths import nearest, unwrapped
from . import diffusion_policy, gr00t, lerobot, openpi, robomimic
from .adapter import Adapter as Adapter
from .adapter import over_pixels as over_pixels
from .adapter import over_tokens as over_tokens
from .adapter import unet_width as unet_width

_known = [a for module in (lerobot, openpi, gr00t, diffusion_policy, robomimic) for a in module.ADAPTERS]


def find(policy: object) -> Adapter | None:
    """The adapter that knows a policy, or None."""
    return next((adapter for adapter in _known if adapter.knows(policy)), None)


def register(adapter: Adapter) -> None:
    """Teach a codebase; a later adapter of a class goes before an earlier one."""
    _known.insert(0, adapter)


def unregister(adapter: Adapter) -> None:
    """Take an adapter back."""
    _known.remove(adapter)


def names() -> list[str]:
    """The classes known, with their packages."""
    return [f"{adapter.package} {policy}" for adapter in _known for policy in adapter.policies]


def near(policy: object) -> str:
    """The classes known whose names are most like a policy's, in words; "" where none is."""
    known = {kind: adapter.package for adapter in _known for kind in adapter.policies}
    like = nearest(type(unwrapped(policy)).__name__, known)
    return f" (it knows {', '.join(f'{known[kind]} {kind}' for kind in like)})" if like else ""


def adapter_of(policy: Any, entry: str | None = None) -> Adapter:
    """The adapter that knows a policy; of one not listed, its loss is the entry named, `compute_loss` or its call."""
    entry = entry or ("compute_loss" if hasattr(unwrapped(policy), "compute_loss") else "forward")
    return find(policy) or Adapter("", (), entry=entry)


def loss_of(policy: Any, loss: str | Callable[[Any, Any], Any] | None = None) -> Callable[[Any, Any], Any]:
    """The policy's loss, `loss(policy, batch)`: as given, else its adapter's, else `compute_loss` or its call."""
    if callable(loss):
        return loss
    return adapter_of(policy).loss if loss is None else Adapter("", (), entry=loss).loss
