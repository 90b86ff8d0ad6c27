"""Schedules: a strength as a function of the optimizer step.

    constant(v)(step)         = v
    linear(a, b, steps)(step) = a + (b - a) p                     p = clip(step / steps, 0, 1)
    warmup(v, steps)(step)    = v (2 / (1 + exp(-gamma p)) - 1)   gamma = 10: Ganin et al. 2016, section 5.2.2

A schedule is a plain function `step -> float`.  It never counts calls, so evaluating twice,
resuming a run or accumulating gradients cannot disturb it.  Any function of the step serves in
its place; these are picklable, so a method that holds one can be saved whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

Schedule = Callable[[int], float]


def constant(value: float) -> Schedule:
    """The same strength at every step.

    >>> constant(0.1)(12_000)
    0.1
    """
    return partial(_constant, value=float(value))


def linear(start: float, stop: float, steps: int) -> Schedule:
    """From `start` at step 0 to `stop` at step `steps`, constant afterwards.

    >>> linear(0.0, 1.0, steps=100)(25)
    0.25
    """
    return partial(_linear, start=float(start), stop=float(stop), steps=_positive(steps))


def warmup(peak: float, steps: int, gamma: float = 10.0) -> Schedule:
    """Ganin's warm-up from 0 towards `peak` over `steps` steps, held there afterwards.

    With gamma = 10 it ends at 0.99991 `peak`.  tllib's default (gamma 1 over 1000 steps) ends at
    0.46 `peak`: same formula, another setting.

    >>> warmup(-1.0, steps=1000)(0), round(warmup(-1.0, steps=1000)(1000), 4)
    (-0.0, -0.9999)
    """
    return partial(_warmup, peak=float(peak), steps=_positive(steps), gamma=float(gamma))


def _constant(step: int, *, value: float) -> float:
    return value


def _linear(step: int, *, start: float, stop: float, steps: int) -> float:
    return start + (stop - start) * _progress(step, steps)


def _warmup(step: int, *, peak: float, steps: int, gamma: float) -> float:
    return peak * (2.0 / (1.0 + math.exp(-gamma * _progress(step, steps))) - 1.0)


def _progress(step: int, steps: int) -> float:
    return min(max(step / steps, 0.0), 1.0)


def _positive(steps: int) -> int:
    if steps < 1:
        raise ValueError(
            f"steps is the length of the schedule in optimizer steps and must be at least 1, got {steps}. "
            "For a strength that never changes pass the number itself."
        )
    return steps
