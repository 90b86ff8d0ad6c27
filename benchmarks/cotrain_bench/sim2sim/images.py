"""Image observations: the same episodes, seen in pictures through the same cameras.

    observation = (view 1, view 2, hand, the gripper's opening)              2 x pixels x pixels x 3 + 3 + 1 numbers

A camera gap is the same gap with keypoints and with images, and images can have what keypoints cannot: another look.
The goal is not told: the task has to show it.

Demonstrations with pictures are the recorded ones again, drawn: the expert, its disturbances and its successes are
those of `demos`.  An episode is played once more from its seed, and every frame is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..results import CannotContinue, digest, source_digest
from . import rendering, views
from .demos import Demos, Done, Report, Request, cache_folder, check_cache, demonstrations, read_arrays, write_arrays
from .gaps import Gap, cameras
from .rendering import Look, Renderer
from .views import drawn_cameras
from .world import COMMAND, OWN, Episode, World

PIXELS = 48  # height and width of a view
GOAL_SIZE = 0.03  # metres: the least radius that a goal is drawn with
PROPRIOCEPTION = OWN  # numbers beside the pixels: the robot's own state
_DARK = Look(light=0.55, colours=(1, 2, 0))
LOOKS = {"visual": _DARK, "visual-control": _DARK, "hard": _DARK}  # of gaps that are to be seen
LOOKS["other"] = Look(light=0.7, colours=(1, 2, 0), texture=0.4)  # of no gap: a cell names it


class ImageWorld(World, AbstractContextManager["ImageWorld"]):
    """A task under a gap, seen in pictures.  Close it, or use it in a `with`: it holds an OpenGL context."""

    def __init__(self, task: str, gap: Gap, look: Look | None = None, pixels: int = PIXELS) -> None:
        super().__init__(task, gap)
        _enlarge_goals(self.env.model)
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

    def __init__(self, world: World, seed: int) -> None:
        import mujoco

        super().__init__(world, seed)
        mujoco.mj_kinematics(self._env.model, self._env.data)  # a reset moves goals after its last forward pass

    def observation(self) -> NDArray[np.float32]:  # type: ignore[override]
        """Both views (0 to 255) and the robot's own state, as one row of numbers."""
        return np.concatenate([self.views().ravel(), self.proprioception()]).astype(np.float32)

    def views(self) -> NDArray[np.uint8]:
        """(2, pixels, pixels, 3), red, green, blue."""
        return np.stack([self.world.renderer.view(self._env.data, camera) for camera in self.world.cameras])

    def proprioception(self) -> NDArray[np.float32]:
        """(4,) where the hand is, metres, and the gripper's opening."""
        return np.append(self.keypoints()[0], self.opening()).astype(np.float32)


@dataclass(frozen=True)
class ImageRequest:
    """Which demonstrations, and how they are seen."""

    demos: Request
    look: Look = field(default_factory=Look)
    pixels: int = PIXELS
    max_yaw: float = 0.0  # degrees: each demonstration is seen through cameras that are drawn up to there
    camera_seed: int = 0

    def key(self) -> dict[str, Any]:
        code = source_digest(rendering, views, __file__)
        own = {name: getattr(self, name) for name in ("pixels", "max_yaw", "camera_seed")}
        return {"demos": self.demos.key(), "look": asdict(self.look), **own, "image_code": code}

    def through(self) -> list[Gap]:
        """The cameras of each demonstration."""
        if not self.max_yaw:
            return [self.demos.gap] * self.demos.count
        return drawn_cameras(self.demos.count, self.max_yaw, self.camera_seed)


@dataclass(frozen=True)
class ImageDemos:
    views: NDArray[np.uint8]  # (frames, 2, pixels, pixels, 3)
    proprioception: NDArray[np.float32]  # (frames, 4)
    demos: Demos  # the same episodes in keypoints

    def seen(self) -> Demos:
        """The episodes as `images` lays observations out.  Half precision: exact for pixels, half a millimetre for the
        hand, and half the memory."""
        pixels = self.views.reshape(len(self.views), -1)
        joined = np.concatenate([pixels, self.proprioception], axis=1, dtype=np.float16, casting="unsafe")
        return Demos(**{**vars(self.demos), "observations": joined})


def image_demonstrations(
    request: ImageRequest, executor: Executor, *, report: Report = print, done: Done = lambda _: None
) -> ImageDemos:
    """The demonstrations asked for, from the cache or newly drawn; CannotContinue without them or a GL library."""
    demos = demonstrations(request.demos, executor, report=report)
    path = cache_folder() / f"images-{digest(request.key())}.npz"
    side, frames = request.pixels, len(demos.commands)
    shapes = {"views": (frames, 2, side, side, 3), "proprioception": (frames, PROPRIOCEPTION)}
    arrays = read_arrays(path, lambda _: shapes, report)
    if arrays is None:
        check_cache()
        arrays = dict(zip(shapes, _drawn(request, demos, executor, done), strict=True))
        write_arrays(path, **arrays)
    else:
        done(len(demos))
    return ImageDemos(**arrays, demos=demos)


def kept_seeds(request: Request, demos: Demos) -> list[int]:
    """The seed of each demonstration: seeds are tried in order, and a kept one starts as its demonstration does."""
    world, starts = World(request.task, request.gap), demos.lengths.cumsum() - demos.lengths
    seeds: list[int] = []
    for seed in range(request.seed, request.seed + demos.tried):
        start = world.episode(seed).observation().astype(np.float32)
        if len(seeds) < len(demos) and np.array_equal(start, demos.observations[starts[len(seeds)]]):
            seeds.append(seed)
    return seeds


def draw(request: ImageRequest, seeds: list[int], lengths: list[int], through: Sequence[Gap]) -> tuple[Any, Any, Any]:
    """Views, proprioception and commands of the expert's episodes from their seeds, each through its cameras."""
    frames = []
    with ImageWorld(request.demos.task, request.demos.gap, request.look, request.pixels) as world:
        for seed, length, gap in zip(seeds, lengths, through, strict=True):
            episode, draws, world.cameras = world.episode(seed), np.random.default_rng(seed), cameras(gap)
            for _ in range(length):
                frames.append((episode.views(), episode.proprioception(), command := episode.expert()))
                episode.step(command, request.demos.noise * draws.standard_normal(COMMAND))
    views, own, commands = (np.stack(side) for side in zip(*frames, strict=True))
    return views, own, commands.astype(np.float32)


def _enlarge_goals(model: Any) -> None:
    """Goals that Meta-World draws as a dot of a centimetre are less than a pixel."""
    for site in range(model.nsite):
        if "goal" in model.site(site).name:
            model.site_size[site] = np.maximum(model.site_size[site], GOAL_SIZE)


def _drawn(request: ImageRequest, demos: Demos, executor: Executor, done: Done) -> tuple[Any, Any]:
    seeds, lengths = kept_seeds(request.demos, demos), demos.lengths.tolist()
    blocks = [slice(k, k + 10) for k in range(0, len(lengths), 10)]
    through = request.through()
    jobs = [executor.submit(draw, request, seeds[block], lengths[block], through[block]) for block in blocks]
    parts = []
    for job, block in zip(jobs, blocks, strict=True):
        parts.append(job.result())
        done(len(lengths[block]))
    views, own, commands = (np.concatenate(side) for side in zip(*parts, strict=True))
    if not np.array_equal(commands, demos.commands):
        raise CannotContinue(
            f"drawn demonstrations play the recorded ones again, got other commands on {request.demos.task}. "
            f"They were recorded on another machine: remove {cache_folder()} and run again."
        )
    return views, own
