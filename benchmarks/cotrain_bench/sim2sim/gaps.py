"""Gaps: how the target domain differs from the source, as named knobs with units.

    camera    x  ->  projection through moved cameras                    what is seen
    control   u   =  gain * R(yaw) a + bias,   `delay` steps late        what a command does
    physics   mass, friction, grip, lag of the hand behind its command   how the world answers

The source domain is `Gap()`.  A control gap asks for another command in the same situation, which only
knowledge of the domain can resolve; a camera gap shows the domain in every observation; a physics gap
changes neither what is seen nor the frame of the command.

Cameras are virtual: keypoints of the scene as two pinhole cameras see them, without rendering, so that a camera gap is
exact and costs microseconds.  It stands for a change of viewpoint only: lighting, colour and texture gaps need images.

    (x, y) = f (right . d, up . d) / (forward . d)      d = point - eye      f = 1 / tan(fovy / 2)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CENTRE = np.array([0.0, 0.7, 0.15])  # the middle of the workspace, metres; every camera looks at it
AZIMUTHS = (-35.0, 55.0)  # where the source's two cameras stand, degrees about the vertical; 0 is in front of the robot


@dataclass(frozen=True)
class Gap:
    """One domain, by the knobs that set it apart from the source, whose values are the defaults."""

    camera_yaw: float = 0.0  # degrees by which both cameras are turned about the workspace
    camera_pitch: float = 40.0  # degrees from which the cameras look down
    camera_distance: float = 1.5  # metres from the cameras to the workspace
    camera_fovy: float = 45.0  # vertical field of view, degrees
    command_yaw: float = 0.0  # degrees by which the frame of commands is turned about the vertical
    command_gain: float = 1.0  # how far a unit command moves the hand, relative to the source
    command_bias: tuple[float, float, float] = (0.0, 0.0, 0.0)  # added, in commands (1 is the fastest, 1 cm a step)
    command_delay: int = 0  # control steps between a command and its effect
    mass: float = 1.0  # the object's mass and inertia, relative to the source
    friction: float = 1.0  # friction of object and finger pads, relative to the source
    grip: float = 1.0  # gain of the gripper's motors, relative to the source
    lag: float = 0.02  # seconds by which the hand trails its command (time constant of the weld)

    def executed(self, command: Array) -> Array:
        """The motion (4,) that a command (4,) causes: three directions, then the gripper, which no gap touches."""
        motion = np.array(command, dtype=np.float64)
        motion[:3] = self.command_gain * (_rotation(self.command_yaw) @ motion[:3]) + self.command_bias
        return np.clip(motion, -1.0, 1.0, out=motion)

    def command(self, motion: Array) -> Array:
        """The command (4,) that causes a motion (4,) within [-1, 1]: the inverse of `executed`."""
        asked = _rotation(self.command_yaw).T @ (motion[:3] - np.asarray(self.command_bias)) / self.command_gain
        return np.append(asked, motion[3])

    def differences(self) -> dict[str, object]:
        """The knobs that differ from the source."""
        source = Gap()
        return {name: value for name, value in vars(self).items() if value != getattr(source, name)}


@cache
def _rotation(yaw: float) -> Array:
    c, s = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


_VISUAL: dict[str, Any] = {"camera_yaw": 25.0, "camera_pitch": 46.0, "camera_distance": 1.35, "camera_fovy": 50.0}
_CONTROL: dict[str, Any] = {"command_yaw": 30.0, "command_gain": 0.8, "command_delay": 1}
_CONTROL["command_bias"] = (0.0, 0.0, 0.1)
_HARD: dict[str, Any] = {"camera_yaw": 70.0, "camera_pitch": 60.0, "camera_distance": 1.2, "mass": 1.3, "lag": 0.025}
_HARD |= {"command_yaw": 70.0, "command_gain": 0.6, "command_bias": (0.15, 0.0, 0.15), "command_delay": 1}

GAPS: dict[str, Gap] = {
    "none": Gap(),
    "visual": Gap(**_VISUAL),
    "control": Gap(**_CONTROL),
    "physics": Gap(mass=1.5, friction=0.7, grip=0.9, lag=0.025),
    "visual-control": Gap(**_VISUAL, **_CONTROL),
    "hard": Gap(**_HARD),
}


ANGLES = (10, 25, 40, 55, 70)  # degrees of the gaps that `turned` makes


def turned(angle: float) -> Gap:
    """Cameras turned by an angle, and lowered onto the scene as they turn: nothing else differs."""
    share = angle / 70.0
    return Gap(camera_yaw=angle, camera_pitch=40.0 + 20.0 * share, camera_distance=1.5 - 0.3 * share)


GAPS |= {f"camera-{angle}": turned(angle) for angle in ANGLES}


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks at the workspace from `eye`; or c of them, with a leading dimension."""

    eye: Array  # (3,) metres; (c, 1, 3) for several
    axes: Array  # (3, 3), rows right, up, forward; (c, 3, 3) for several
    focal: float

    def project(self, points: Array) -> Array:
        """Points (k, 3) in metres -> (k, 2) in half image heights from the middle; (c, k, 2) for several cameras."""
        seen = (points - self.eye) @ self.axes.swapaxes(-1, -2)
        return np.asarray(self.focal * seen[..., :2] / seen[..., 2:])


def cameras(gap: Gap) -> list[Camera]:
    return [_camera(gap, azimuth) for azimuth in AZIMUTHS]


def both(gap: Gap) -> Camera:
    """The two cameras of a domain as one that projects into both at once."""
    pair = cameras(gap)
    return Camera(np.stack([c.eye for c in pair])[:, None], np.stack([c.axes for c in pair]), pair[0].focal)


def _camera(gap: Gap, azimuth: float) -> Camera:
    yaw, pitch = math.radians(azimuth + gap.camera_yaw), math.radians(gap.camera_pitch)
    back = np.array([math.sin(yaw) * math.cos(pitch), -math.cos(yaw) * math.cos(pitch), math.sin(pitch)])
    right = np.array([math.cos(yaw), math.sin(yaw), 0.0])
    axes = np.stack([right, np.cross(back, right), -back])
    return Camera(CENTRE + gap.camera_distance * back, axes, 1.0 / math.tan(math.radians(gap.camera_fovy) / 2))
