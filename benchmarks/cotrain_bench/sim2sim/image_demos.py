"""Demonstrations with pictures: the recorded ones again, drawn.

The expert, its disturbances and its successes are those of `demos`: an episode is played once more from its seed, and
every frame is drawn.  So a policy that sees learns from the very motions that a policy of keypoints learns from.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..results import CannotContinue, digest, source_digest, write
from . import images, rendering
from .demos import Demos, Request, cache_folder, demonstrations
from .images import PIXELS, PROPRIOCEPTION, ImageWorld
from .rendering import Look
from .world import COMMAND, World


@dataclass(frozen=True)
class ImageRequest:
    """Which demonstrations, and how they are seen."""

    demos: Request
    look: Look = field(default_factory=Look)
    pixels: int = PIXELS

    def key(self) -> dict[str, Any]:
        """All that determines them, versions and source code included."""
        code = source_digest(images, rendering, __file__)
        return {"demos": self.demos.key(), "look": asdict(self.look), "pixels": self.pixels, "image_code": code}


@dataclass(frozen=True)
class ImageDemos:
    """Successful episodes, joined end to end."""

    views: NDArray[np.uint8]
    """(frames, 2, pixels, pixels, 3)"""
    proprioception: NDArray[np.float32]
    """(frames, 4)"""
    demos: Demos
    """the same episodes in keypoints"""

    def seen(self) -> Demos:
        """The episodes as `images` lays observations out.  Half precision: exact for pixels, half a millimetre for the
        hand, and half the memory."""
        pixels = self.views.reshape(len(self.views), -1)
        joined = np.concatenate([pixels, self.proprioception], axis=1, dtype=np.float16, casting="unsafe")
        return Demos(**{**vars(self.demos), "observations": joined})


def image_demonstrations(
    request: ImageRequest,
    executor: Executor,
    *,
    say: Callable[[str], None] = print,
    done: Callable[[int], None] = lambda _: None,
) -> ImageDemos:
    """The demonstrations asked for, from the cache or newly recorded and drawn by the executor's processes.

    Args:
        say: told in one sentence when a cache file is damaged.
        done: told how many more demonstrations are drawn.

    Raises:
        CannotContinue: what `demos.demonstrations` raises, and without a GL library.
    """
    demos = demonstrations(request.demos, executor, say=say)
    path = cache_folder() / f"images-{digest(request.key())}.npz"
    drawn = _read(path, request, len(demos.commands), say)
    if drawn is None:
        drawn = _drawn(request, demos, executor, done)
        write(path, _bytes(*drawn))
    else:
        done(len(demos))
    return ImageDemos(*drawn, demos)


def kept_seeds(request: Request, demos: Demos) -> list[int]:
    """The seed of each demonstration: seeds are tried in order, and a kept one starts as its demonstration does."""
    world, starts = World(request.task, request.gap), demos.lengths.cumsum() - demos.lengths
    seeds: list[int] = []
    for seed in range(request.seed, request.seed + demos.tried):
        start = world.episode(seed).observation().astype(np.float32)
        if len(seeds) < len(demos) and np.array_equal(start, demos.observations[starts[len(seeds)]]):
            seeds.append(seed)
    return seeds


def draw(request: ImageRequest, seeds: list[int], lengths: list[int]) -> tuple[Any, Any, Any]:
    """Views, proprioception and commands of the expert's episodes from their seeds."""
    with ImageWorld(request.demos.task, request.demos.gap, request.look, request.pixels) as world:
        frames = [frame for seed, n in zip(seeds, lengths, strict=True) for frame in _played(world, request, seed, n)]
    views, own, commands = (np.stack(side) for side in zip(*frames, strict=True))
    return views, own, commands.astype(np.float32)


def _played(world: ImageWorld, request: ImageRequest, seed: int, length: int) -> Iterator[tuple[Any, Any, Any]]:
    episode, draws = world.episode(seed), np.random.default_rng(seed)
    for _ in range(length):
        command = episode.expert()
        yield episode.views(), episode.proprioception(), command
        episode.step(command, request.demos.noise * draws.standard_normal(COMMAND))


def _drawn(request: ImageRequest, demos: Demos, executor: Executor, done: Callable[[int], None]) -> tuple[Any, Any]:
    seeds, lengths = kept_seeds(request.demos, demos), demos.lengths.tolist()
    jobs = [executor.submit(draw, request, seeds[k : k + 10], lengths[k : k + 10]) for k in range(0, len(lengths), 10)]
    parts = []
    for job in jobs:
        parts.append(job.result())
        done(min(10, len(lengths) - 10 * (len(parts) - 1)))
    views, own, commands = (np.concatenate(side) for side in zip(*parts, strict=True))
    if not np.array_equal(commands, demos.commands):
        raise CannotContinue(
            f"drawn demonstrations play the recorded ones again, got other commands on {request.demos.task}. "
            f"They were recorded on another machine: remove {cache_folder()} and run again."
        )
    return views, own


def _bytes(views: NDArray[np.uint8], proprioception: NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, views=views, proprioception=proprioception)
    return file.getvalue()


def _read(path: Path, request: ImageRequest, frames: int, say: Callable[[str], None]) -> tuple[Any, Any] | None:
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes())) as file:
            views, own = file["views"], file["proprioception"]
        side = request.pixels
        if views.shape == (frames, 2, side, side, 3) and own.shape == (frames, PROPRIOCEPTION):
            return views, own
    except Exception:  # zipfile, zlib, numpy and the disk each have errors of their own for a damaged file
        pass
    say(f"{path} is damaged and not used; its demonstrations are drawn again.")
    return None
