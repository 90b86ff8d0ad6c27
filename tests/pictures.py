"""Worlds seen in pictures, and an episode of them that moved."""

from __future__ import annotations

from functools import cache

import numpy as np
from cotrain_bench.sim2sim.gaps import GAPS
from cotrain_bench.sim2sim.images import PIXELS, ImageWorld

MOTIONS = np.random.default_rng(0).uniform(-1, 1, (12, 4))


@cache
def world(gap: str, pixels: int = PIXELS) -> ImageWorld:
    return ImageWorld("pick-place", GAPS[gap], pixels=pixels)
