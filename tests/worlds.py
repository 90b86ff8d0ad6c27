"""Worlds of the suite whose latest episode's simulator can be looked into."""

from __future__ import annotations

from typing import Any

from cotrain_bench.sim2sim.images import ImageWorld
from cotrain_bench.sim2sim.world import World


class Kept(World):
    """`latest` is the environment of the latest episode."""

    latest: Any

    def reset(self, seed: int) -> Any:
        self.latest = super().reset(seed)
        return self.latest


class KeptImages(Kept, ImageWorld):
    """The same, seen in pictures."""
