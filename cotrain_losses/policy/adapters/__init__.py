"""Where the seam is in known codebases, and what their training scripts call.

    adapter = (package, class names)  ->  seam, loss, entries to install in, optimizers

A policy is looked up by the name and package of its class and of the classes it inherits from, inside
DistributedDataParallel, torch.compile, PEFT and Accelerate wrappers; no codebase is imported.  One object
teaches a new one, of a subclass where the loss is called or installed in another way:

    adapters.register(Adapter("my_repo", "MyPolicy", Seam(head="denoiser", condition="cond", width=256)))

Each codebase has its file here.  Facts and versions: docs/codebases.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..paths import unwrapped
from . import diffusion_policy, gr00t, lerobot, openpi, robomimic
from .adapter import Adapter
from .seams import over_pixels, over_tokens, unet_width

_known: list[Adapter] = [
    *(adapter for module in (lerobot, openpi, gr00t, diffusion_policy, robomimic) for adapter in module.ADAPTERS)
]


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


def adapter_of(policy: Any, entry: str | None = None) -> Adapter:
    """The adapter that knows a policy; of one not listed, its loss is the entry named, `compute_loss` or its call."""
    entry = entry or ("compute_loss" if hasattr(unwrapped(policy), "compute_loss") else "forward")
    return find(policy) or Adapter("", (), entry="forward" if entry == "__call__" else entry)


def loss_of(policy: Any, loss: str | Callable[[Any, Any], Any] | None = None) -> Callable[[Any, Any], Any]:
    """The policy's loss, `loss(policy, batch)`: as given, else its adapter's, else `compute_loss` or its call."""
    if loss is None:
        return adapter_of(policy).loss
    return loss if callable(loss) else Adapter("", (), entry="forward" if loss == "__call__" else loss).loss


__all__ = [
    "Adapter",
    "adapter_of",
    "find",
    "loss_of",
    "names",
    "over_pixels",
    "over_tokens",
    "register",
    "unet_width",
    "unregister",
]
