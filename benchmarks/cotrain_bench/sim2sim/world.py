"""Meta-World as two domains: commands in, 28 numbers out.

    observation = (hand, two fingers, object, tip of the object's axis, goal) through two cameras; the hand in the
    robot's frame and the gripper's opening, which no gap changes             6 points x 2 cameras x 2 + 3 + 1 = 28

`Episode`s share one simulator model and hold their own state, so a hundred of them can be stepped in turn, with one
policy call for all.  An episode is a function of (task, gap, seed) and its commands.

Four things about Meta-World 3.1 that this file knows: the goal stays hidden unless the cached observation space is
dropped after `_partially_observable` is set; `reset(seed)` ignores the seed, `seed(k)` does not; the weld that pulls
the hand has the time constant `eq_solref`; and a step's observation and reward take longer than its physics, so a step
here is the physics alone, and a reset, which moves the hand to its start twice, remembers how.
"""

from __future__ import annotations

import copy
import importlib
import warnings
from collections import deque
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .gaps import Array, Gap, both, cameras
from .tasks import TASKS, Task, meta_world

WIDTH = 28  # numbers in an observation
OWN = 4  # of them, the last: where the hand is in the robot's frame (3, metres), how far the gripper is open
COMMAND = 4  # numbers in a command: three directions (1 is 1 cm a step in the source) and the gripper (1 closes)


def change_physics(model: Any, gap: Gap, body: int, pads: list[int], motors: list[int]) -> None:
    """A gap's mass, friction and grip, in a model whose handled body, finger pads and gripper's motors these are."""
    model.body_mass[body] *= gap.mass
    model.body_inertia[body] *= gap.mass
    model.geom_friction[[*np.flatnonzero(model.geom_bodyid == body), *pads]] *= gap.friction
    model.actuator_gainprm[motors, 0] *= gap.grip
    model.actuator_biasprm[motors, 1] *= gap.grip


class World:
    """A task under a gap; it needs the `bench` extra.

    >>> world = World("pick-place", Gap())
    >>> world.episode(seed=0).observation().shape
    (28,)
    """

    def __init__(self, task: str, gap: Gap) -> None:
        from metaworld.policies import ENV_POLICY_MAP

        self.task, self.gap, self.cameras, self.view = meta_world()[task], gap, cameras(gap), both(gap)
        self.env = _environment(self.task)
        self._policy: Any = ENV_POLICY_MAP[self.task.name]()  # type: ignore[abstract]
        self._change_physics()
        self._pristine = self.placements()
        self._started: Any = None

    def episode(self, seed: int) -> Episode:
        """A new episode whose start and goal are drawn from the seed."""
        return Episode(self, seed)

    def expert(self, state: Array) -> Array:
        """The scripted expert's motion (4,) for a Meta-World state (39,), within [-1, 1]."""
        with warnings.catch_warnings():  # one at every fast motion, that it is clipped
            warnings.simplefilter("ignore")
            return np.asarray(np.clip(self._policy.get_action(state), -1.0, 1.0), np.float64)

    def placements(self) -> tuple[Array, Array]:
        """Where the model has its fixed bodies and sites: what Meta-World moves at a reset."""
        return self.env.model.body_pos.copy(), self.env.model.site_pos.copy()

    def place(self, placements: tuple[Array, Array] | None = None) -> None:
        """Put them somewhere; None is where they were at first."""
        self.env.model.body_pos[:], self.env.model.site_pos[:] = placements or self._pristine

    def reset(self, seed: int) -> Any:
        """A copy of the environment that shares the model, reset by the seed."""
        import mujoco

        self.place()
        env = object.__new__(type(self.env))  # `copy.copy` would go through pickling, which loads the model anew
        env.__dict__.update(self.env.__dict__)
        env.data = mujoco.MjData(env.model)
        env._reset_hand = partial(self._move_hand_to_start, env)
        env.seed(seed)
        env.reset()
        del env._reset_hand
        return env

    def _move_hand_to_start(self, env: Any) -> None:
        """Meta-World's `_reset_hand` (50 steps), which depends on nothing but where the fixed bodies are."""
        if not np.array_equal(env.model.body_pos, self._pristine[0]):
            type(env)._reset_hand(env)
        elif self._started is None:
            type(env)._reset_hand(env)
            self._started = copy.copy(env.data)
        else:
            env.data = copy.copy(self._started)
            env.init_tcp = env.tcp_center

    def _change_physics(self) -> None:
        model = self.env.model
        pads = [model.geom(f"{side}pad_geom").id for side in ("right", "left")]
        change_physics(model, self.gap, model.body(self.task.body).id, pads, list(range(model.nu)))
        model.eq_solref[:, 0] = self.gap.lag


class Episode:
    """One episode: observe, command, until success or the horizon."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.success, self.steps = world, False, 0
        self._env = world.reset(seed)
        self._placements = world.placements()
        self._late: deque[Array] = deque([np.zeros(COMMAND)] * world.gap.command_delay)
        data, task = self._env.data, world.task
        body = data.body(task.body)
        self._body, self._rotation, self._axis = body.xpos, body.xmat.reshape(3, 3), np.asarray(task.axis)
        self._goal = self._env._target_pos if task.goal is None else data.body(task.goal).xpos
        self._hand = [data.body("hand").xpos, *(data.site(f"{side}EndEffector").xpos for side in ("right", "left"))]
        self._claws = data.body("rightclaw").xpos, data.body("leftclaw").xpos

    def observation(self) -> Array:
        """(28,) keypoints through the domain's cameras, and the robot's own state."""
        seen, points = np.empty(WIDTH), self.keypoints()
        seen[:-OWN] = self.world.view.project(points).ravel()
        seen[-OWN:-1], seen[-1] = points[0], self.opening()
        return seen

    def opening(self) -> float:
        """How far the gripper is open: the distance of its claws in decimetres, at most 1."""
        right, left = self._claws
        return min(float(np.linalg.norm(right - left)) / 0.1, 1.0)

    def keypoints(self) -> Array:
        """(6, 3) hand, right finger, left finger, object, tip of its axis, goal, in metres."""
        tip = self._body + self._rotation @ self._axis
        return np.array([*self._hand, self._body, tip, self._goal])

    def state(self) -> Array:
        """(39,) what Meta-World's experts read of its observation: hand, opening, object, goal.  The rest is zero."""
        state, space = np.zeros(39), self._env.sawyer_observation_space
        state[:3], state[3], state[4:7] = self._hand[0], self.opening(), self._env._get_pos_objects()[:3]
        state[-3:] = self._env._target_pos
        return np.clip(state, space.low, space.high)

    def expert(self) -> Array:
        """The command (4,) of the scripted expert, in this domain's frame."""
        return self.world.gap.command(self.world.expert(self.state()))

    def step(self, command: Array, disturbance: Array | None = None) -> bool:
        """Carry out a command (4,), a disturbance (4,) of the motion added; returns whether the task is solved."""
        motion = self.world.gap.executed(command)
        self._late.append(motion if disturbance is None else np.clip(motion + disturbance, -1.0, 1.0))
        self.world.place(self._placements)
        self._move(self._late.popleft().astype(np.float32))
        self.success, self.steps = self.success or self.world.task.solved(self._body, self._goal), self.steps + 1
        return self.success

    def _move(self, motion: NDArray[np.float32]) -> None:
        import mujoco

        self._env.set_xyz_action(motion[:3])
        self._env.do_simulation([motion[3], -motion[3]], self._env.frame_skip)
        mujoco.mj_forward(self._env.model, self._env.data)


def domain(task: str, gap: Gap) -> Any:
    """The world of a task under a gap: `World`, or that of another simulator, which has the same methods."""
    module, name = TASKS[task].world.split(":")
    return getattr(importlib.import_module(f".{module}", __package__), name)(task, gap)


def _environment(task: Task) -> Any:
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    env = ALL_V3_ENVIRONMENTS[task.name]()
    env._partially_observable = False
    env.__dict__.pop("sawyer_observation_space", None)
    env._freeze_rand_vec, env.seeded_rand_vec, env._set_task_called = False, True, True
    return env
