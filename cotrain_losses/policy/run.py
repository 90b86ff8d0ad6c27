"""What is under way at a seam: the pass that acts now, and what of it has happened."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import torch

from .override import Uncompiled
from .passes import HeadCall, Pass
from .sites import Site


def recomputing() -> bool:
    """Whether autograd runs, and here recomputes what was checkpointed."""
    return torch._C._current_graph_task_id() != -1  # no public function of torch tells it


class Run:
    """Shared by the taps of one seam.  A copy or a pickle of it is idle."""

    def __init__(self) -> None:
        self.functions = list[Uncompiled]()
        """what torch.compile is to leave out"""
        self.fired = Counter[str]()
        """how often each role (feature, token, head) acted under the last pass"""
        self.turns = Counter[Site]()
        """rows that earlier calls of a site had under this pass"""
        self.entered = list[Any]()
        """calls of heads that have not returned"""
        self.output: tuple[Any, HeadCall] | None = None
        """what the head returned, for the module that takes it on"""
        self.active: Pass | None = None
        """the pass that acts now"""
        self.on_idle: Callable[[str], None] | None = None
        """is told of a site that runs in training while no pass acts"""
        self.guided = False
        """whether guidance has acted here"""
        self._last: Pass | None = None
        self._thread, self.learns = 0, False
        """the thread that acts, and whether the pass began with gradients"""

    def acting(self, site: str) -> Pass | None:
        """The pass that acts on a call made in this thread, or in autograd's."""
        if self.active is not None and self._thread == get_ident():
            return self.active
        if recomputing():
            return self.active or self._last
        if self.on_idle is not None and self.active is None and torch.is_grad_enabled():
            self.on_idle(site)
        return None

    @contextmanager
    def use(self, active: Pass) -> Iterator[None]:
        """Let a pass act while the block runs.

        It goes on acting where autograd runs a site a second time in the backward pass (activation checkpointing).
        """
        if "torch._dynamo" in sys.modules:
            for function in self.functions:
                function.leave_out()
        self.fired, self.turns, self.learns = Counter(), Counter(), torch.is_grad_enabled()
        before, self.active, self._thread = (self.active, self._thread), active, get_ident()
        try:
            yield
        finally:
            (self.active, self._thread), self._last = before, active
            self.entered.clear()
            self.output = None

    def recompute_for(self, acting: Pass, gradient: Any) -> None:
        """What autograd recomputes from now on is a step's whose loss has its gradient."""
        self._last = acting

    def idle(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The function's value with no pass acting."""
        active, self.active, told, self.on_idle = self.active, None, self.on_idle, None
        try:
            return function(*args, **kwargs)
        finally:
            self.active, self.on_idle = active, told

    def __reduce__(self) -> Any:
        if self.active is not None:
            raise RuntimeError(
                "a policy is copied between steps, got a copy made while a step or a guided block runs: it would lack "
                "what acts there. Copy it before or after."
            )
        return Run, ()
