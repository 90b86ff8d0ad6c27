"""The tasks: six of Meta-World's, of which button-press is for images, since it shows its goal, and robosuite's one.

    observed = (hand, two fingers, body, tip = body + R axis, goal)          whatever the task, 6 points

A task names the body that is handled, a point that shows how that body is turned, what the goal is, and what counts as
solved: Meta-World's own criterion, written out, since computing its reward at every step costs more than the physics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .gaps import Array

Criterion = Callable[[Array, Array], bool]  # whether a body (3,) and a goal (3,), in metres, are where they should be


@dataclass(frozen=True)
class Task:
    """A task of a simulator; its entry in TASKS is all that adds one."""

    name: str  # in its simulator
    horizon: int
    """control steps after which to give up: in Meta-World 1.5 times the 95th percentile of the noisy expert's under the
    slowest gap that passes the gate, in whole twenties, and 200 at least"""
    gate: float = 0.9  # least success of the noiseless expert for the task to be used under a gap
    world: str = "world:World"  # the class of its worlds, in a module of this package


@dataclass(frozen=True, kw_only=True)
class MetaWorldTask(Task):
    """A Meta-World task: the body that is handled, that body's axis, and when it is solved."""

    body: str  # the body whose mass, inertia and friction a physics gap changes: the one that has the geoms
    axis: tuple[float, float, float]  # where the tip of the object's axis is in the object's frame, metres
    solved: Criterion
    goal: str | None = None  # the body that is the goal; None is Meta-World's target


def _within(radius: float) -> Criterion:
    return lambda body, goal: bool(np.linalg.norm(body - goal) <= radius)


def _on_the_peg(ring: Array, top: Array) -> bool:
    return bool(np.linalg.norm(top[:2] - ring[:2]) < 0.02 and ring[2] < top[2])


def _driven_in(_: Array, nail: Array) -> bool:
    return bool(nail[1] > 0.73)  # 9 cm of its 10


def _pressed(button: Array, hole: Array) -> bool:
    return bool(abs(hole[2] - button[2] - 0.193) <= 0.024)


TASKS: dict[str, Task] = {
    "pick-place": MetaWorldTask("pick-place-v3", 200, body="obj", axis=(0.0, 0.0, 0.1), solved=_within(0.07)),
    "assembly": MetaWorldTask("assembly-v3", 240, body="asmbly_peg", axis=(0.0, -0.13, 0.0), solved=_on_the_peg),
    "coffee-pull": MetaWorldTask("coffee-pull-v3", 200, body="mug", axis=(0.04, 0.0, 0.047), solved=_within(0.07)),
    "hammer": MetaWorldTask(
        "hammer-v3", 200, body="hammer", axis=(0.16, 0.06, 0.0), solved=_driven_in, goal="nail_link"
    ),
    "box-close": MetaWorldTask("box-close-v3", 280, 0.7, body="top_link", axis=(0.0, 0.0, 0.082), solved=_within(0.08)),
    "button-press": MetaWorldTask(
        "button-press-topdown-v3", 120, body="button", axis=(0.0, -0.1935, 0.0), solved=_pressed
    ),
    "nut-assembly": Task("NutAssemblySquare", 240, world="nut_assembly:NutWorld"),
}
"""Axes end at the wrench's and the mug's handle, the hammer's face, the lid's handle and the button's top.

box-close has a lower gate: Meta-World's own expert solves 78 of 90 of its episodes without any gap."""


def meta_world() -> dict[str, MetaWorldTask]:
    """The tasks of Meta-World; those of other simulators need environments of their own."""
    return {name: task for name, task in TASKS.items() if isinstance(task, MetaWorldTask)}
