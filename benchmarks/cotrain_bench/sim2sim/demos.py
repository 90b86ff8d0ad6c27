"""Demonstrations by the scripted expert: noisy motions, clean labels, successes only, cached on disk.

The expert sees the true state and moves with Gaussian noise (DART's remedy for narrow demonstrations, Laskey et al.
2017); the command it meant is what is recorded.  A file in the cache is named by the hash of all that determines
it, versions and source code included, so it never needs to be cleared by hand; `COTRAIN_CACHE` moves the cache.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..results import CannotContinue, check_folder, digest, source_digest, versions, write
from . import coverage, gaps, nut_assembly, tasks, world
from .coverage import Region
from .gaps import Gap
from .tasks import TASKS
from .world import COMMAND, WIDTH, World, domain

GATE_SEEDS = range(10**9, 10**9 + 10)  # episodes of the expert's trial under a gap, which no run has
Report: TypeAlias = "Callable[[str], None]"  # is told in one sentence of a damaged cache file
Done: TypeAlias = "Callable[[int], None]"  # is told how many more demonstrations there are


@dataclass(frozen=True)
class Request:
    """Which demonstrations: what determines them."""

    task: str
    gap: Gap
    seed: int
    count: int
    noise: float = 0.1  # standard deviation of the motion noise, in commands
    region: Region | None = None  # where episodes start; None is everywhere

    def key(self) -> dict[str, Any]:
        code = source_digest(coverage, gaps, nut_assembly, tasks, world, __file__)
        return {**asdict(self), "code": code, **versions("metaworld", "mujoco", "numpy", "robosuite")}


@dataclass(frozen=True)
class Demos:
    """Successful episodes, joined end to end."""

    observations: NDArray[np.float32]  # (frames, 28)
    points: NDArray[np.float32]  # (frames, 6, 3) the keypoints that cameras see, metres
    commands: NDArray[np.float32]  # (frames, 4)
    lengths: NDArray[np.int64]  # (episodes,) frames of each
    tried: int  # episodes it took, failures included
    expert: float  # success of the noiseless expert at the gate

    def __len__(self) -> int:
        return len(self.lengths)

    def starts(self) -> NDArray[np.int64]:
        """(episodes,) the first frame of each."""
        return np.asarray(self.lengths.cumsum() - self.lengths)


def demonstrations(
    request: Request, executor: Executor, *, report: Report = print, done: Done = lambda _: None
) -> Demos:
    """The demonstrations asked for, from the cache or newly recorded by the executor's processes.

    Raises CannotContinue when the expert cannot do the task under this gap, or the cache cannot be written.
    """
    path = cache_folder() / f"demos-{digest(request.key())}.npz"
    arrays = read_arrays(path, _shapes, report)
    if arrays is not None:
        done(request.count)
        return Demos(**{**arrays, "tried": int(arrays["tried"]), "expert": float(arrays["expert"])})
    check_cache()
    demos = _record(request, executor, done)
    write_arrays(path, **asdict(demos))
    return demos


def _shapes(arrays: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    frames = int(arrays["lengths"].sum())
    shapes = {"observations": (frames, WIDTH), "points": (frames, 6, 3), "commands": (frames, COMMAND)}
    return {**shapes, "tried": (), "expert": ()}


def expert_success(task: str, gap: Gap, seeds: Sequence[int]) -> float:
    """Share of episodes that the noiseless expert solves."""
    return sum(episode is not None for episode in attempt(task, gap, seeds, noise=0.0)) / len(seeds)


def attempt(
    task: str, gap: Gap, seeds: Sequence[int], noise: float, region: Region | None = None
) -> list[tuple[Any, Any, Any] | None]:
    """One expert episode a seed: (observations, points, commands), or None where it failed or starts elsewhere."""
    here = _world(task, gap)
    return [_episode(here, seed, noise, region) for seed in seeds]


@lru_cache(maxsize=4)
def _world(task: str, gap: Gap) -> World:
    """A worker's world, kept from one block of episodes to the next: episodes leave no trace in it."""
    return domain(task, gap)  # type: ignore[no-any-return]


def _episode(here: World, seed: int, noise: float, region: Region | None) -> tuple[Any, Any, Any] | None:
    episode, draws = here.episode(seed), np.random.default_rng(seed)
    if region is not None and not region.holds(episode.keypoints()):
        return None
    observations, points, commands = [], [], []
    while not episode.success and episode.steps < here.task.horizon:
        observations.append(episode.observation())
        points.append(episode.keypoints())
        commands.append(episode.expert())
        episode.step(commands[-1], noise * draws.standard_normal(COMMAND))
    observed, seen, meant = (np.asarray(each, np.float32) for each in (observations, points, commands))
    return (observed, seen, meant) if episode.success else None


def _record(request: Request, executor: Executor, done: Done) -> Demos:
    gate, count = TASKS[request.task].gate, request.count
    expert = executor.submit(expert_success, request.task, request.gap, GATE_SEEDS).result()
    kept: list[tuple[Any, Any, Any]] = []
    tried, most = 0, (4 * count + 20) * (1 if request.region is None else request.region.parts)
    while expert >= gate and len(kept) < count and tried < most:
        for episode in _attempts(request, executor, tried, count - len(kept)):
            tried += len(kept) < count
            if episode is not None and len(kept) < count:
                kept.append(episode)
                done(1)
    if len(kept) < count:
        raise CannotContinue(
            f"demonstrations come from an expert that solves at least {gate:.0%} of the episodes, got {expert:.0%} of "
            f"{len(GATE_SEEDS)} without noise and {len(kept)} of {tried} with noise {request.noise} on {request.task} "
            f"under {request.gap.differences()}. Choose a milder gap or another task."
        )
    observations, points, commands = (np.concatenate(side) for side in zip(*kept, strict=True))
    return Demos(observations, points, commands, np.array([len(episode[0]) for episode in kept]), tried, expert)


def _attempts(request: Request, executor: Executor, tried: int, missing: int) -> Iterator[Any]:
    """The next episodes, in the order of their seeds, in blocks of at most ten a job."""
    first, block = request.seed + tried, min(10, missing)
    seeds = [range(first, first + missing)[k : k + block] for k in range(0, missing, block)]
    how = (request.noise, request.region)
    for future in [executor.submit(attempt, request.task, request.gap, some, *how) for some in seeds]:
        yield from future.result()


def cache_folder() -> Path:
    """$COTRAIN_CACHE, else the user's cache folder."""
    variable = _cache_variable()
    base = os.path.expanduser("~/.cache") if variable == "HOME" else os.environ[variable]
    return Path(base) if variable == "COTRAIN_CACHE" else Path(base, "cotrain_losses")


def check_cache() -> None:
    """Raise CannotContinue where nothing could be written to the cache."""
    rule = f"demonstrations are kept in the folder that {_cache_variable()} names"
    check_folder(cache_folder(), rule, "Set COTRAIN_CACHE to another.")


def _cache_variable() -> str:
    return next((name for name in ("COTRAIN_CACHE", "XDG_CACHE_HOME") if os.environ.get(name)), "HOME")


def read_arrays(
    path: Path, shapes: Callable[[Mapping[str, Any]], Mapping[str, tuple[int, ...]]], report: Report
) -> dict[str, Any] | None:
    """The arrays of a file, of the `shapes` for them; None where there is none or it is damaged, which is reported."""
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes())) as file:
            arrays = dict(file)
        if all(arrays[name].shape == shape for name, shape in shapes(arrays).items()):
            return arrays
    except Exception:  # zipfile, zlib, numpy and the disk each have errors of their own for a damaged file
        pass
    report(f"{path} is damaged and not used; its demonstrations are made again.")
    return None


def write_arrays(path: Path, **arrays: Any) -> None:
    """Keep arrays, whole or not at all; raises CannotContinue when the cache cannot be written."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    write(path, file.getvalue())
