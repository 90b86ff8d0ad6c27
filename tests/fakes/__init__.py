"""Policies of the shapes people train: the same class names, modules, signatures and call paths, small inside.

Written from the signatures of the commits each file names; nothing is copied.  They answer whether an adapter's
paths, hooks and loss entry fit the structure; training the real ones is tests/integration's part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor


class Case(NamedTuple):
    """One policy, a batch for its loss entry, and what it would be worth told sample by sample."""

    policy: Any
    batch: Any
    per_sample: Callable[[Any], Tensor]
    """(b,) the loss of each sample, computed by the policy's own code."""
    sample: Callable[[Any], Tensor] | None
    """actions for the batch's observations, by the policy's own sampler."""
    samples: int


def named(module: str) -> Callable[[type], type]:
    """The class as if it were defined in `module`."""

    def rename(cls: type) -> type:
        cls.__module__ = module
        return cls

    return rename
