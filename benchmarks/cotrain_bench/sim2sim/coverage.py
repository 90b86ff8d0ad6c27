"""Where the target has demonstrations: a region of a task's starts, half of them or a quarter.

    start of an episode  ->  object and goal, metres  ->  below or above the median of all starts, axis by axis

Episodes that start in the region are *seen*, the others *unseen*.  Sides alternate with `side`, so that no side of the
table is always the covered one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, islice

import numpy as np

from ..results import CannotContinue
from .gaps import Array, Gap
from .world import domain

OBJECT, GOAL = 3, 5  # keypoints
COVERAGES: dict[str, tuple[tuple[int, int], ...]] = {
    "whole": (),
    "half": ((OBJECT, 0),),
    "half-goal": ((GOAL, 0),),
    "quadrant": ((OBJECT, 0), (OBJECT, 1)),
}
"""what starts are split by: (keypoint, axis) each"""
STARTS = range(2 * 10**9, 2 * 10**9 + 101)  # episodes whose medians split a task's starts; in no run


@dataclass(frozen=True)
class Region:
    """The starts of a task on one side of every split; bit k of `side` says which side of split k.

    >>> Region("pick-place", "quadrant").parts
    4
    """

    task: str
    coverage: str
    side: int = 0

    @property
    def parts(self) -> int:
        """How many such regions the starts consist of."""
        return int(2 ** len(COVERAGES[self.coverage]))

    def holds(self, points: Array) -> bool:
        """Whether an episode whose keypoints (6, 3) at the start are these starts here."""
        splits = COVERAGES[self.coverage]
        below = [points[split] < middle for split, middle in zip(splits, _medians(self.task, splits), strict=True)]
        return all(bool(each) == bool(self.side >> k & 1) for k, each in enumerate(below))

    def starts(self, first: int, inside: bool) -> Iterator[int]:
        """The seeds from `first` on whose episodes start here, or elsewhere."""
        world = _source(self.task)
        return (seed for seed in count(first) if self.holds(world.episode(seed).keypoints()) == inside)


@lru_cache(maxsize=64)
def both_sides(region: Region, first: int, episodes: int) -> tuple[int, ...]:
    """Seeds of as many episodes that start elsewhere as in a region, the former first: they are watched and filmed."""
    parts = (islice(region.starts(first, inside), episodes // 2) for inside in (False, True))
    return tuple(seed for part in parts for seed in part)


@lru_cache(maxsize=16)
def _medians(task: str, splits: tuple[tuple[int, int], ...]) -> tuple[float, ...]:
    if not splits:
        return ()
    world = _source(task)
    starts = np.array([world.episode(seed).keypoints() for seed in STARTS])
    middles = []
    for point, axis in splits:
        if np.ptp(starts[:, point, axis]) < 1e-3:
            what = "object" if point == OBJECT else "goal"
            raise CannotContinue(
                f"coverage splits the starts of a task by where its {what} is, got {task}, whose {what} always has the "
                f"same {'xyz'[axis]}. Choose another coverage."
            )
        middles.append(float(np.median(starts[:, point, axis])))
    return tuple(middles)


@lru_cache(maxsize=2)
def _source(task: str):  # type: ignore[no-untyped-def]
    return domain(task, Gap())
