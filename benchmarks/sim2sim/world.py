"""Meta-World as two domains: commands in, 25 numbers out.

    observation = (hand, two fingers, object, tip of the object's axis, goal) through two cameras, and the gripper's
    opening                                                                   6 points x 2 cameras x 2 + 1 = 25

`Episode`s share one simulator model and hold their own state, so a hundred of them can be stepped in turn, with one
policy call for all.  An episode is a function of (task, gap, seed) and its commands.

Three things about Meta-World 3.1 that this file knows: the goal stays hidden unless the cached observation space is
dropped after `_partially_observable` is set; `reset(seed)` ignores the seed, `seed(k)` does not; and the weld that
pulls the hand is a constraint whose time constant is `eq_solref`.
"""

from __future__ import annotations

import warnings
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from .cameras import cameras
from .gaps import Array, Gap

WIDTH = 25
"""numbers in an observation"""

COMMAND = 4
"""numbers in a command: three directions (1 is 1 cm a step in the source) and the gripper (1 closes)"""


@dataclass(frozen=True)
class Task:
    """A Meta-World task: its name there, the body that is handled, that body's axis, and when to give up."""

    name: str
    body: str
    axis: tuple[float, float, float]
    """where the tip of the object's axis is in the object's frame, metres"""
    horizon: int
    """control steps"""


TASKS = {"pick-place": Task("pick-place-v3", "obj", (0.0, 0.0, 0.1), 200)}


class World:
    """A task under a gap.

    Raises:
        ModuleNotFoundError: without the `bench` extra.

    >>> world = World("pick-place", Gap())
    >>> world.episode(seed=0).observation().shape
    (25,)
    """

    def __init__(self, task: str, gap: Gap) -> None:
        self.task, self.gap, self.cameras = TASKS[task], gap, cameras(gap)
        self.env = _environment(self.task)
        self._change_physics()
        self._pristine = self.placements()

    def episode(self, seed: int) -> Episode:
        """A new episode whose start and goal are drawn from the seed."""
        return Episode(self, seed)

    def expert(self, state: Array) -> Array:
        """The scripted expert's motion (4,) for a Meta-World state (39,), within [-1, 1]."""
        with warnings.catch_warnings():  # it says at every fast motion that motions are clipped
            warnings.simplefilter("ignore")
            return np.clip(self._policy.get_action(state).astype(np.float64), -1.0, 1.0)

    def placements(self) -> tuple[Array, Array]:
        """Where the model has its fixed bodies and sites: what Meta-World moves at a reset."""
        return self.env.model.body_pos.copy(), self.env.model.site_pos.copy()

    def place(self, placements: tuple[Array, Array] | None = None) -> None:
        """Put them somewhere; None is where they were at first."""
        self.env.model.body_pos[:], self.env.model.site_pos[:] = placements or self._pristine

    @property
    def _policy(self) -> Any:
        from metaworld.policies import ENV_POLICY_MAP

        return ENV_POLICY_MAP[self.task.name]()

    def _change_physics(self) -> None:
        model, gap = self.env.model, self.gap
        body = model.body(self.task.body).id
        model.body_mass[body] *= gap.mass
        model.body_inertia[body] *= gap.mass
        handled = [g for g in range(model.ngeom) if model.geom_bodyid[g] == body]
        for geom in (*handled, model.geom("rightpad_geom").id, model.geom("leftpad_geom").id):
            model.geom_friction[geom] *= gap.friction
        model.actuator_gainprm[:, 0] *= gap.grip
        model.actuator_biasprm[:, 1] *= gap.grip
        model.eq_solref[:, 0] = gap.lag


class Episode:
    """One episode: observe, command, until success or the horizon."""

    def __init__(self, world: World, seed: int) -> None:
        import mujoco

        self.world, self.success, self.steps = world, False, 0
        world.place()
        self._env = _sharing_model(world.env)
        self._env.data = mujoco.MjData(world.env.model)
        self._env.seed(seed)
        self._state, _ = self._env.reset()
        self._placements = world.placements()
        self._late: deque[Array] = deque([np.zeros(COMMAND)] * world.gap.command_delay)

    def observation(self) -> Array:
        """(25,) keypoints through the domain's cameras and the gripper's opening."""
        points = self.keypoints()
        seen = [camera.project(points).ravel() for camera in self.world.cameras]
        return np.concatenate([*seen, self._state[3:4]])

    def keypoints(self) -> Array:
        """(6, 3) hand, right finger, left finger, object, tip of its axis, goal, in metres."""
        data, task = self._env.data, self.world.task
        item = data.body(task.body)
        tip = item.xpos + item.xmat.reshape(3, 3) @ np.asarray(task.axis)
        fingers = data.site("rightEndEffector").xpos, data.site("leftEndEffector").xpos
        return np.stack([data.body("hand").xpos, *fingers, item.xpos, tip, self._env._target_pos])

    def expert(self) -> Array:
        """The command (4,) of the scripted expert, in this domain's frame."""
        return self.world.gap.command(self.world.expert(self._state))

    def step(self, command: Array, disturbance: Array | None = None) -> bool:
        """Carry out a command (4,), a disturbance (4,) of the motion added; returns whether the task is solved."""
        motion = self.world.gap.executed(np.asarray(command, dtype=np.float64))
        self._late.append(motion if disturbance is None else np.clip(motion + disturbance, -1.0, 1.0))
        self.world.place(self._placements)
        self._state, _, _, _, info = self._env.step(self._late.popleft().astype(np.float32))
        self.success, self.steps = self.success or bool(info["success"]), self.steps + 1
        return self.success


def _sharing_model(env: Any) -> Any:
    """A shallow copy.  `copy.copy` would go through Meta-World's pickling, which loads the model anew."""
    other = object.__new__(type(env))
    other.__dict__.update(env.__dict__)
    return other


def _environment(task: Task) -> Any:
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    env = ALL_V3_ENVIRONMENTS[task.name]()
    env._partially_observable = False
    env.__dict__.pop("sawyer_observation_space", None)
    env._freeze_rand_vec, env.seeded_rand_vec, env._set_task_called = False, True, True
    return env
