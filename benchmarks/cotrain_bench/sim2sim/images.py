"""Image observations: the same episodes, seen in pictures through the same cameras.

    observation = (view 1, view 2, hand, the gripper's opening)              2 x pixels x pixels x 3 + 3 + 1 numbers

A camera gap is the same gap with keypoints and with images, and images can have what keypoints cannot: another look.
The goal is not told: the task has to show it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import NDArray

from .gaps import Gap
from .rendering import Look, Renderer
from .world import Episode, World

PIXELS = 48  # height and width of a view
PROPRIOCEPTION = 4  # numbers beside the pixels: where the hand is (3, metres) and how far the gripper is open
_OTHER = Look(light=0.55, colours=(1, 2, 0))
LOOKS = {"visual": _OTHER, "visual-control": _OTHER, "hard": _OTHER}  # of gaps that are to be seen


class ImageWorld(World, AbstractContextManager["ImageWorld"]):
    """A task under a gap, seen in pictures.  Close it, or use it in a `with`: it holds an OpenGL context."""

    def __init__(self, task: str, gap: Gap, look: Look | None = None, pixels: int = PIXELS) -> None:
        super().__init__(task, gap)
        (look or Look()).apply(self.env.model)
        self.renderer = Renderer(self.env.model, pixels)

    def episode(self, seed: int) -> ImageEpisode:
        return ImageEpisode(self, seed)

    def close(self) -> None:
        """Give back the OpenGL context; further observations are refused."""
        self.renderer.close()

    def __exit__(self, *_: object) -> None:
        self.close()


class ImageEpisode(Episode):
    world: ImageWorld

    def observation(self) -> NDArray[np.float32]:  # type: ignore[override]
        """Both views (0 to 255) and the robot's own state, as one row of numbers."""
        return np.concatenate([self.views().ravel(), self.proprioception()]).astype(np.float32)

    def views(self) -> NDArray[np.uint8]:
        """(2, pixels, pixels, 3), red, green, blue."""
        return np.stack([self.world.renderer.view(self._env.data, camera) for camera in self.world.cameras])

    def proprioception(self) -> NDArray[np.float32]:
        """(4,) where the hand is, metres, and the gripper's opening."""
        return np.append(self.keypoints()[0], super().observation()[-1]).astype(np.float32)
