"""What is under way at a seam: the pass that acts now, in each thread, and what of it has happened."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from .override import FOLLOWED, Uncompiled, packing
from .passes import HeadCall, Pass
from .sites import Site


def recomputing() -> bool:
    """Whether autograd runs, and here recomputes what was checkpointed; never in what torch.compile follows."""
    if torch.compiler.is_dynamo_compiling():
        return False
    return torch._C._current_graph_task_id() != -1  # no public function of torch tells it


class Shared:
    """What all threads know of a seam."""

    def __init__(self) -> None:
        self.functions = list[Uncompiled]()
        """what torch.compile is to leave out"""
        self.on_idle: Callable[[str], None] | None = None
        """is told of a site that runs with gradients while no pass acts"""
        self.guided = False
        """whether guidance has acted here"""
        self.latest: Pass | None = None
        """the step that autograd's threads recompute"""


class State:
    """What is under way in one thread: a plain object, of which torch.compile keeps what it is set to."""

    def __init__(self) -> None:
        self.fired = Counter[str]()
        """how often each role (feature, token, head) acted under the last pass; in a compiled graph 2 is several"""
        self.token_acted = False
        """whether the token acted since the head was last called"""
        self.turns = Counter[Site]()
        """rows that earlier calls of a site had under this pass"""
        self.entered = list[Any]()
        """calls of heads that have not returned"""
        self.output: tuple[Any, HeadCall] | None = None
        """what the head returned, for the module that takes it on"""
        self.active: Pass | None = None
        """the pass that acts now"""
        self.learns = False
        """whether it began with gradients"""


class Run(threading.local):
    """A seam's taps share it; a thread that samples sees nothing of one that trains.  A copy or a pickle is idle."""

    def __init__(self, shared: Shared) -> None:
        self.shared, self.state = shared, State()

    def note(self, role: str) -> None:
        """Count a role that acts; torch.compile makes a graph for each number that it meets, so it meets few."""
        fired = self.state.fired
        fired[role] = min(fired[role] + 1, 2) if torch.compiler.is_dynamo_compiling() else fired[role] + 1

    def acting(self, site: str) -> Pass | None:
        """The pass that acts on a call made in this thread, or in autograd's."""
        if self.state.active is not None:
            return self.state.active
        if recomputing():
            return self.shared.latest
        if self.shared.on_idle is not None and torch.is_grad_enabled():
            self.shared.on_idle(site)
        return None

    @property
    def traceable(self) -> bool:
        """Whether torch.compile may follow what acts now, which no checkpoint that Python repeats is to make again.

        Such a checkpoint compares what its two runs saved, so both are broken at the same places.
        """
        active = self.state.active
        acts = not torch.is_grad_enabled() if active is None else active.followed
        return FOLLOWED and acts and not packing()

    @contextmanager
    def use(self, active: Pass) -> Iterator[None]:
        """Let a pass act while the block runs.

        It goes on acting where autograd runs a site a second time in the backward pass (activation checkpointing).
        """
        if "torch._dynamo" in sys.modules:
            for function in self.shared.functions:
                function.leave_out()
        state = self.state
        state.fired, state.turns, state.learns = Counter(), Counter(), torch.is_grad_enabled()
        state.token_acted = False
        before, state.active = state.active, active
        if state.learns:
            self.shared.latest = active
        try:
            yield
        finally:
            state.active = before
            state.entered.clear()
            state.output = None

    def recompute_for(self, acting: Pass, gradient: Any) -> None:
        """What autograd recomputes from now on is a step's whose loss has its gradient."""
        self.shared.latest = acting

    def idle(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The function's value with no pass acting."""
        shared, state = self.shared, self.state
        active, state.active, told, shared.on_idle = state.active, None, shared.on_idle, None
        try:
            return function(*args, **kwargs)
        finally:
            state.active, shared.on_idle = active, told

    def __reduce__(self) -> Any:
        if self.state.active is not None:
            raise RuntimeError(
                "a policy is copied between steps, got a copy made while a step or a guided block runs: it would lack "
                "what acts there. Copy it before or after."
            )
        return idle_run, ()


def idle_run() -> Run:
    """A run in which nothing has happened."""
    return Run(Shared())
