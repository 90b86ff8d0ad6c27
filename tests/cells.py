"""What the tests of the simulator suite share: worlds by their gap, and demonstrations drawn at random."""

from __future__ import annotations

from functools import cache

import numpy as np
from cotrain_bench.sim2sim.demos import Demos
from cotrain_bench.sim2sim.gaps import GAPS
from cotrain_bench.sim2sim.world import World


@cache
def world(gap: str) -> World:
    return World("pick-place", GAPS[gap])


def drawn(seed: int, lengths: list[int]) -> Demos:
    draws = np.random.default_rng(seed)
    n = sum(lengths)
    observations, commands = draws.standard_normal((n, 25)), draws.standard_normal((n, 4))
    return Demos(observations.astype(np.float32), commands.astype(np.float32), np.array(lengths), len(lengths), 1.0)
