"""Train and eval mode, set for a while: afterwards every module is in its own mode again.

A BatchNorm that its user froze in a policy that trains stays frozen, during a step tried on it and afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(*roots: nn.Module) -> Iterator[None]:
    """Everything in eval mode while the block runs."""
    with _modes_kept(*roots):
        for root in roots:
            root.eval()
        yield


@contextmanager
def training(*roots: nn.Module) -> Iterator[None]:
    """Roots that are in eval mode in train mode while the block runs; one that trains keeps every mode it has."""
    with _modes_kept(*roots):
        for root in roots:
            if not root.training:
                root.train()
        yield


@contextmanager
def _modes_kept(*roots: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for root in roots for module in root.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
