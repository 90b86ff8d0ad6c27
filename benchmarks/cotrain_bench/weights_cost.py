"""What measured weights add to a step: small next to a policy, so it is taken by itself and set against the policy.

    seconds = (measured - raw) / steps + held-out loss / every

*measured* is `balanced(-relative(0.1)) * DomainClassifier`, *raw* the same adversary at -.05: forward and backward of
the regularizer on features of the policy's width, with what reading the policy's gradient at the seam costs.  The
weight reads once in `every` steps, and then takes the policy's loss on a held-out batch, no gradient.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

import cotrain_losses as ctl
from cotrain_losses.strength import balanced, relative
from cotrain_losses.strength.strength import Strength

from .peers.problems import repeat, seconds

BLOCKS = 15
"""timed blocks of each kind, which alternate; each holds one reading"""


class Cost(NamedTuple):
    """CPU seconds a step."""

    weights: float
    """of the measured weights, readings included"""
    low: float
    high: float
    """the middle half over blocks"""
    held_out: float
    """of the loss on the held-out batch, spread over the steps between readings"""


def weights_cost(width: int, batch: int, target: int, held_out: Callable[[], Any]) -> Cost:
    """What the measured weights add to a step of `batch` samples, `target` of them the target's.

    Args:
        width: of the features.
        held_out: takes the policy's loss on a held-out batch.
    """
    measured = balanced(-relative(0.1))
    made = [_stepper(weight, width, batch, target) for weight in (-0.05, measured)]
    blocks = []
    for _ in range(BLOCKS + 1):
        measured.on_target_loss(1.0)
        blocks.append([seconds(partial(repeat, step, measured.every), "cpu") for step in made])
    more = [(with_ - without) / measured.every for without, with_ in blocks[1:]]
    low, middle, high = statistics.quantiles(more, n=4)
    with torch.no_grad():
        held_out()
        passes = statistics.median(seconds(held_out, "cpu") for _ in range(3))
    return Cost(middle, low, high, passes / measured.every)


def _stepper(weight: Strength, width: int, batch: int, target: int) -> Callable[[], None]:
    """Forward and backward of one term on features that the policy's loss pulls at too; the step counts on."""
    torch.manual_seed(0)
    regularizer = weight * ctl.DomainClassifier(width)
    z = torch.randn(batch, width).requires_grad_()
    pull, count = torch.randn(batch, width) / batch, iter(range(10**9))

    def step() -> None:
        seen: Tensor = regularizer.seam(z)
        total = (seen * pull).sum() + regularizer(seen[target:], seen[:target], step=next(count))
        total.backward()

    return step
