"""robosuite's NutAssemblySquare as two domains: the interface of `world`, a Panda, and an expert of our own.

    goal of the hand = where it is + 5 cm * motion      operational-space control, 20 Hz, the wrist keeps its heading
    observed = (hand, two fingers, nut, its handle, peg) through the suite's cameras; the hand in the robot's frame and
    the gripper's opening                                                                                          28

What differs from robosuite's own task: the wrist does not turn, so the nut lies within HEADING of the peg's heading
(robosuite draws any).  What a gap's knobs mean here: `lag` stretches the controller's time constant by lag / .02,
`friction` is the nut's and the fingers', `grip` the gain of the gripper's motors.

robosuite 1.5.2 needs NumPy 1.26 and MuJoCo 3.3: an environment of its own, which docs/robosuite.md makes.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

import numpy as np

from ..results import CannotContinue
from .gaps import CENTRE, Array, Gap, cameras
from .tasks import TASKS
from .world import change_physics

REACH = 0.05  # metres ahead of the hand that a motion of 1 puts its goal
HEADING = 0.2  # radians about the vertical within which the nut lies
GRIP = 1.3  # where the handle is gripped, in its middle's distances from the nut's: clear of the nut's corners
OVER, AROUND = 0.985, 0.955  # metres above which the nut clears the peg, and below which it is around it
TABLE = np.array([0.05, 0.1, 0.82])  # the middle of the workspace, metres: the cameras look at what is 15 cm above it
_STEPS = 25  # of 2 ms in a control step


class NutWorld:
    """NutAssemblySquare under a gap; its episodes share one simulator, set to an episode's state at each step."""

    def __init__(self, task: str, gap: Gap) -> None:
        self.task, self.gap, self.cameras = TASKS[task], gap, cameras(gap)
        self.env = _environment()
        self.model, self.data = self.env.sim.model._model, self.env.sim.data._data
        self.robot = self.env.robots[0]
        self.arm, self.gripper = self.robot.part_controllers["right"], self.robot.gripper["right"]
        self._change_physics()
        self.start = self.state()

    def episode(self, seed: int) -> NutEpisode:
        return NutEpisode(self, seed)

    def state(self) -> Array:
        """Everything that the next step depends on, the gripper's command aside."""
        import mujoco

        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        state = np.empty(mujoco.mj_stateSize(self.model, kind))
        mujoco.mj_getState(self.model, self.data, state, kind)
        return state

    def restore(self, state: Array) -> None:
        """Set the simulator to a state."""
        import mujoco

        mujoco.mj_setState(self.model, self.data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        mujoco.mj_forward(self.model, self.data)

    def advance(self, goal: Array, closing: float) -> None:
        """One control step towards a goal of the hand (6: position, rotation vector); 1 closes the gripper."""
        action = np.append(goal, closing)
        for step in range(_STEPS):
            self.env.sim.step1()
            self.env._pre_action(action, step == 0)
            self.env.sim.step2()

    def _change_physics(self) -> None:
        model, gap = self.model, self.gap
        names = [model.geom(g).name for g in range(model.ngeom)]
        fingers = [g for g, name in enumerate(names) if name.startswith("gripper") and "finger" in name]
        motors = [a for a in range(model.nu) if "finger" in model.actuator(a).name]
        change_physics(model, gap, self.env.obj_body_id["SquareNut"], fingers, motors)
        stretched = gap.lag / Gap().lag
        self.arm.kp, self.arm.kd = self.arm.kp / stretched**2, self.arm.kd / stretched


class NutEpisode:
    def __init__(self, world: NutWorld, seed: int) -> None:
        self.world, self.success, self.steps = world, False, 0
        self._hand = int(world.robot.eef_site_id["right"])
        self._late: deque[Array] = deque([np.zeros(4)] * world.gap.command_delay)
        self._draw(np.random.default_rng(seed))
        self._closing = np.full_like(world.gripper.current_action, 0.0)
        self._keep()

    def observation(self) -> Array:
        seen = [camera.project(_in_view(self.keypoints())).ravel() for camera in self.world.cameras]
        return np.concatenate([*seen, self.keypoints()[0], [self._opening]])

    def keypoints(self) -> Array:
        """(6, 3) hand, right finger, left finger, nut, its handle, the peg, in metres."""
        return self._keypoints

    def expert(self) -> Array:
        return self.world.gap.command(_motion(self._keypoints, self._opening))

    def step(self, command: Array, disturbance: Array | None = None) -> bool:
        motion = self.world.gap.executed(np.asarray(command, dtype=np.float64))
        self._late.append(motion if disturbance is None else np.clip(motion + disturbance, -1.0, 1.0))
        now, world = self._late.popleft(), self.world
        world.restore(self._state)
        world.gripper.current_action = self._closing.copy()
        world.arm.update_initial_joints(self._first)
        world.advance(np.concatenate([self._keypoints[0] + REACH * now[:3], self._heading]), now[3])
        self._closing = world.gripper.current_action.copy()
        self._keep()
        self.success, self.steps = self.success or bool(world.env.on_peg(self._keypoints[3], 0)), self.steps + 1
        return self.success

    def _draw(self, draws: np.random.Generator) -> None:
        """The nut where robosuite puts it, turned a little; the arm's joints with robosuite's noise of .02."""
        from robosuite.utils.transform_utils import mat2quat, quat2axisangle

        world, data = self.world, self.world.data
        world.restore(world.start)
        place = draws.uniform([-0.115, 0.11, np.pi - HEADING], [-0.11, 0.225, np.pi + HEADING])
        turned = [np.cos(place[2] / 2), 0.0, 0.0, np.sin(place[2] / 2)]
        joint = world.model.joint(world.env.nuts[0].joints[0])
        data.qpos[joint.qposadr[0] : joint.qposadr[0] + 7] = [*place[:2], TABLE[2] + 0.012, *turned]
        arm = world.robot._ref_arm_joint_pos_indexes
        data.qpos[arm] = world.robot.init_qpos + 0.02 * draws.standard_normal(len(arm))
        world.restore(world.state())
        self._first = data.qpos[arm].copy()
        turned_hand = data.site_xmat[self._hand].reshape(3, 3)
        self._heading = np.asarray(quat2axisangle(mat2quat(turned_hand)), dtype=np.float64)

    def _keep(self) -> None:
        """Remember the simulator's state and what is seen of it."""
        world, data = self.world, self.world.data
        self._state = world.state()
        nut = data.body(world.env.obj_body_id["SquareNut"]).xpos
        fingers = [data.body(f"gripper0_right_{side}finger").xpos for side in ("right", "left")]
        handle = data.site_xpos[world.env.object_site_ids[0]]
        peg = data.body(world.env.peg1_body_id).xpos
        self._keypoints = np.stack([data.site_xpos[self._hand], *fingers, nut, handle, peg])
        joints = data.qpos[world.robot._ref_gripper_joint_pos_indexes["right"]]
        self._opening = float(np.abs(joints).sum() / 0.08)


def _motion(points: Array, opening: float) -> Array:
    """The expert: over the handle, down, close, up, over the peg, down.  A function of what is seen, with no memory."""
    hand, _, _, nut, handle, peg = points
    off, held = nut + GRIP * (handle - nut) - hand, opening < 0.5
    if np.linalg.norm(off[:2]) > 0.02 or off[2] < -0.03:  # not at the handle: over it, then down
        off[2] += 0.0 if np.linalg.norm(off[:2]) < 0.008 else 0.08
        return np.append(_towards(off), -1.0)
    if not held:
        still = np.linalg.norm(off) < 0.012
        return np.append(np.zeros(3) if still else _towards(off), 1.0 if still else -1.0)
    aside = peg[:2] - nut[:2]
    far, low = float(np.linalg.norm(aside)), nut[2] < OVER
    if far > 0.02 and low:  # beside the peg: up
        return np.array([0.0, 0.0, 1.0, 1.0])
    down = 0.0 if far > 0.006 and not nut[2] < AROUND else -REACH
    return np.append(_towards(np.array([*aside, down])), 1.0)


def _towards(offset: Array) -> Array:
    """The motion (3,) that goes there, at most 1 long."""
    return np.asarray(offset / max(REACH, float(np.linalg.norm(offset))))


def _in_view(points: Array) -> Array:
    """Points of robosuite's world, where the arm reaches along x, as the cameras expect them: along y, about CENTRE."""
    x, y, z = (points - TABLE - [0.0, 0.0, 0.15]).T
    return np.asarray(np.stack([-y, x, z], axis=1) + CENTRE)


def _environment() -> Any:
    logging.disable(logging.WARNING)  # robosuite warns of every optional part that is not there
    try:
        import robosuite

        parts = robosuite.load_composite_controller_config(controller="BASIC", robot="Panda")
        parts["body_parts"]["right"] |= {"input_type": "absolute", "input_ref_frame": "world"}
        left_out = ("has_renderer", "has_offscreen_renderer", "use_camera_obs", "use_object_obs", "hard_reset")
        how = {"controller_configs": parts, "control_freq": 20, "initialization_noise": None, "seed": 0}
        env = robosuite.make("NutAssemblySquare", robots="Panda", **how, **dict.fromkeys(left_out, False))
        env.reset()
    except ImportError as error:
        raise CannotContinue(
            "nut-assembly runs on robosuite 1.5.2, in an environment of its own since it needs NumPy 1.26, and "
            f"robosuite was not found here ({error}). `make robosuite` makes that environment; see docs/robosuite.md."
        ) from error
    finally:
        logging.disable(logging.NOTSET)
    return env
