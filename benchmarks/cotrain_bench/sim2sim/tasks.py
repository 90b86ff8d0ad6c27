"""The tasks: six of Meta-World's, each one row of data; the last is for images, since it shows its goal.

    observed = (hand, two fingers, body, tip = body + R axis, goal)          whatever the task, 6 points

A task names the body that is handled, a point that shows how that body is turned, what the goal is, and what counts as
solved: Meta-World's own criterion, written out, since computing its reward at every step costs more than the physics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .gaps import Array

Criterion = Callable[[Array, Array], bool]
"""whether a body (3,) and a goal (3,), in metres, are where they should be"""


@dataclass(frozen=True)
class Task:
    """A Meta-World task: its name there, the body that is handled, that body's axis, and when to give up."""

    name: str
    body: str
    """the body whose mass, inertia and friction a physics gap changes: the one that has the geoms"""
    axis: tuple[float, float, float]
    """where the tip of the object's axis is in the object's frame, metres"""
    horizon: int
    """control steps: 1.5 times the 95th percentile of the noisy expert's under the slowest gap that passes the gate, in
    whole twenties, and 200 at least"""
    solved: Criterion
    goal: str | None = None
    """the body that is the goal; None is Meta-World's target"""
    gate: float = 0.9
    """least success of the noiseless expert under a gap"""


def _within(radius: float) -> Criterion:
    return lambda body, goal: bool(np.linalg.norm(body - goal) <= radius)


def _on_the_peg(ring: Array, top: Array) -> bool:
    return bool(np.linalg.norm(top[:2] - ring[:2]) < 0.02 and ring[2] < top[2])


def _driven_in(_: Array, nail: Array) -> bool:
    return bool(nail[1] > 0.73)  # 9 cm of its 10


def _pressed(button: Array, hole: Array) -> bool:
    return bool(abs(hole[2] - button[2] - 0.193) <= 0.024)


TASKS = {
    "pick-place": Task("pick-place-v3", "obj", (0.0, 0.0, 0.1), 200, _within(0.07)),
    "assembly": Task("assembly-v3", "asmbly_peg", (0.0, -0.13, 0.0), 240, _on_the_peg),  # the wrench's handle
    "coffee-pull": Task("coffee-pull-v3", "mug", (0.04, 0.0, 0.047), 200, _within(0.07)),  # the mug's handle
    "hammer": Task("hammer-v3", "hammer", (0.16, 0.06, 0.0), 200, _driven_in, goal="nail_link"),  # the head's face
    "box-close": Task("box-close-v3", "top_link", (0.0, 0.0, 0.082), 280, _within(0.08), gate=0.7),  # the handle
    "button-press": Task("button-press-topdown-v3", "button", (0.0, -0.1935, 0.0), 120, _pressed),  # the button's top
}

"""box-close has a lower gate: Meta-World's own expert solves 78 of 90 of its episodes without any gap."""

ELSEWHERE = {"nut-assembly": "nut_assembly:NutWorld"}
"""tasks of other simulators, in environments of their own, and the world that each has"""


def gate(task: str) -> float:
    """Least success of the noiseless expert for a task to be used under a gap."""
    return TASKS[task].gate if task in TASKS else Task.gate
