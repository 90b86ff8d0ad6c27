"""Steps that leave no trace."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from .._core.device import drawn_on
from .._core.modes import training
from .override import uncompiled
from .paths import networks, unwrapped
from .step import TrainingStep


@contextmanager
def untraced(step: TrainingStep) -> Iterator[None]:
    """The step, random numbers, buffers, counters, modes, draws and measured strengths are afterwards as before."""
    policy, roots = unwrapped(step.policy), [*networks(step.policy), *step.method.modules()]
    modules = [module for root in roots for module in root.modules()]
    restored = [_restoring(owner) for owner in (*modules, *([] if isinstance(policy, nn.Module) else [policy]))]
    method, observers = step.method, step.observers
    told = step.kept, step.unmet, step.begun
    step.kept, step.unmet = copy.copy(step.kept), copy.copy(step.unmet)
    step.kept.kept = dict(step.kept.kept)
    drawn = random.getstate(), np.random.get_state()
    states = [(m, m.get_extra_state()) for m in modules if type(m).get_extra_state is not _NO_STATE]
    try:
        with training(*roots), torch.random.fork_rng(drawn_on(*roots)), torch.enable_grad(), uncompiled():
            yield
    finally:
        step.method, step.observers = method, observers
        step.kept, step.unmet, step.begun = told
        random.setstate(drawn[0])
        np.random.set_state(drawn[1])
        for restore in restored:
            restore()
        for module, state in states:
            module.set_extra_state(state)


def _restoring(owner: Any) -> Callable[[], None]:
    """Puts an object's buffers, replaced ones included, and its plain attributes (mode, counters) back."""
    plain = {name: value for name, value in getattr(owner, "__dict__", {}).items() if isinstance(value, _PLAIN)}
    module = owner if isinstance(owner, nn.Module) else nn.Module()
    buffers = {name: (buffer, buffer.clone()) for name, buffer in module.named_buffers(recurse=False)}

    def restore() -> None:
        for name, attribute in plain.items():
            object.__setattr__(owner, name, attribute)
        for name in dict(module.named_buffers(recurse=False)).keys() - buffers.keys():
            setattr(module, name, None)
        with torch.no_grad():
            for name, (buffer, value) in buffers.items():
                setattr(module, name, buffer.copy_(value))

    return restore


_NO_STATE = nn.Module.get_extra_state
_PLAIN = (bool, int, float, str, type(None))
