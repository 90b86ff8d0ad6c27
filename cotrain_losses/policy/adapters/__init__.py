"""Where the seam is in known codebases: data, not code paths.

    adapter = (package, class name)  ->  seam, loss entry, what a training script calls

A policy is looked up by the name and package of its class and of the classes it inherits from, inside
DistributedDataParallel, torch.compile, PEFT and Accelerate wrappers; no codebase is imported.  One object
teaches a new one:

    adapters.register(Adapter("my_repo", "MyPolicy", Seam(head="denoiser", condition="cond", width=256)))

Each codebase has its file here.  Facts and versions: docs/codebases.md.
"""

from __future__ import annotations

from . import diffusion_policy, gr00t, lerobot, openpi, robomimic
from .adapter import Adapter
from .seams import over_pixels, over_tokens, unet_width

_known = [*lerobot.ADAPTERS, *openpi.ADAPTERS, *gr00t.ADAPTERS, *diffusion_policy.ADAPTERS, *robomimic.ADAPTERS]


def found(policy: object) -> Adapter | None:
    """The adapter that knows a policy, or None."""
    return next((adapter for adapter in _known if adapter.knows(policy)), None)


def register(adapter: Adapter) -> None:
    """Teach a codebase; a later adapter of a class goes before an earlier one."""
    _known.insert(0, adapter)


def names() -> list[str]:
    """The classes known, with their packages."""
    return [f"{adapter.package} {adapter.policy}" for adapter in _known]


__all__ = ["Adapter", "found", "names", "over_pixels", "over_tokens", "register", "unet_width"]
