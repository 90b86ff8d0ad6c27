"""Which layer couples the samples of a batch: the first whose output for samples kept changes with the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from .paths import network, scripted
from .step import TrainingStep


class _Trace:
    """What every module was given and returned, in the order in which they returned."""

    def __init__(self, root: nn.Module) -> None:
        self.calls = list[tuple[str, list[Tensor], list[Tensor]]]()
        self.handles = [
            part.register_forward_hook(self._noted(name), with_kwargs=True)
            for name, part in root.named_modules()
            if not scripted(part)
        ]

    def _noted(self, name: str) -> Callable[..., None]:
        def note(part: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            self.calls.append((f"{name} ({type(part).__name__})", _rows((args, kwargs)), _rows(output)))

        return note


def coupling(step: TrainingStep, runs: list[tuple[Any, Tensor]], kept: Tensor, seed: Callable[[], None]) -> str:
    """The layer by name and class, "" where none is seen; two forward passes of the bare policy."""
    traces = []
    for batch, _ in runs:
        seed()
        trace = _Trace(network(step.policy))
        try:
            with torch.no_grad():
                step.loss(step.policy, batch)
        finally:
            for handle in trace.handles:
                handle.remove()
        traces.append(trace.calls)
    for (name, given, returned), (_, given_then, returned_then) in zip(*traces, strict=False):
        if _mixed(returned, returned_then, kept) and not _mixed(given, given_then, kept):
            return str(name)
    return ""


def _rows(held: Any) -> list[Tensor]:
    return [x.detach().clone() for x in tree_leaves(held) if isinstance(x, Tensor) and x.ndim]


def _mixed(before: list[Tensor], after: list[Tensor], kept: Tensor) -> bool:
    """Whether rows of samples kept changed, side by side and end to end alike."""
    b = len(kept)
    for old, new in zip(before, after, strict=False):
        if old.shape != new.shape or len(old) == 0 or len(old) % b:
            continue
        changed = (old != new).reshape(len(old), -1).any(1).cpu()
        side, end = changed.reshape(b, -1).any(1), changed.reshape(-1, b).any(0)
        if side[kept].any() and end[kept].any():
            return True
    return False
