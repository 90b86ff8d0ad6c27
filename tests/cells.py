"""What the tests of the simulator suite share: worlds by their gap, and demonstrations drawn at random."""

from __future__ import annotations

from functools import cache

import numpy as np
from cotrain_bench.sim2sim.demos import Demos
from cotrain_bench.sim2sim.gaps import GAPS
from cotrain_bench.sim2sim.world import COMMAND, WIDTH, World


@cache
def world(gap: str) -> World:
    return World("pick-place", GAPS[gap])


def drawn(seed: int, lengths: list[int]) -> Demos:
    draws = np.random.default_rng(seed)
    n = sum(lengths)
    shapes = ((n, WIDTH), (n, 6, 3), (n, COMMAND))
    seen, points, commands = (draws.standard_normal(shape).astype(np.float32) for shape in shapes)
    return Demos(seen, points / 10, commands, np.array(lengths), len(lengths), 1.0)
