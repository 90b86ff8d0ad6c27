"""Virtual cameras: keypoints of the scene as two pinhole cameras see them, without rendering.

    (x, y) = f (right . d, up . d) / (forward . d)      d = point - eye      f = 1 / tan(fovy / 2)

A camera gap is then exact and costs microseconds.  It stands for a change of viewpoint only: nothing here has an
appearance, so lighting, colour and texture gaps need images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .gaps import Array, Gap

CENTRE = np.array([0.0, 0.7, 0.15])  # the middle of the workspace, metres; every camera looks at it
AZIMUTHS = (-35.0, 55.0)  # where the source's two cameras stand, degrees about the vertical; 0 is in front of the robot


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
