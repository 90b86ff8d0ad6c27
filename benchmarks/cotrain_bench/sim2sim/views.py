"""Demonstrations seen through other cameras than their own: keypoints are kept, so nothing is recorded again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .demos import Demos
from .gaps import Array, Gap, both, turned
from .world import OWN


def drawn_cameras(demonstrations: int, most: float, seed: int) -> list[Gap]:
    """A pair of cameras for each demonstration, turned by at most `most` degrees to either side; pitch and distance are
    drawn from what `turned` has up to there."""
    draws, gaps = np.random.default_rng((seed, 1)), []
    for yaw, share in zip(draws.uniform(-most, most, demonstrations), draws.uniform(0, 1, demonstrations), strict=True):
        gaps.append(replace(turned(float(share * most)), camera_yaw=float(yaw)))
    return gaps


def seen_through(demos: Demos, cameras: Sequence[Gap]) -> Demos:
    """Demonstrations, each through a pair of cameras of its own."""
    seen, ends = demos.observations.copy(), demos.lengths.cumsum()
    for gap, first, end in zip(cameras, ends - demos.lengths, ends, strict=True):
        projected = both(gap).project(demos.points[first:end, None].astype(np.float64))
        seen[first:end, :-OWN] = projected.reshape(end - first, -1)
    return replace(demos, observations=seen)


def pose(gap: Gap) -> Array:
    """(4,) where a domain's cameras stand: the turn's sine and cosine, pitch and distance as shares of the source's."""
    turn = np.radians(gap.camera_yaw)
    return np.array([np.sin(turn), np.cos(turn), gap.camera_pitch / 40.0, gap.camera_distance / 1.5])
