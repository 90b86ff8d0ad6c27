"""The grids of the toy and how their cells are trained.

Pilot runs on seeds 0, 1 and 2 chose depth, rate and steps of `smoke`, so that 81 cells fit the overlap and aligned
cases within a minute; `paper` trains three times longer at a lower rate.  Everything else is the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..results import WrongSetting, check_one_of
from .flow import Cell, Training

DISTANCES = (0.01, 0.1, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 50.0)
RATIOS = (0.001, 0.01, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)


@dataclass(frozen=True)
class Settings:
    """A grid of cells and their training.

    Args:
        distances: dz, how far the target's plane lies from the source's.
        ratios: w, the share of target samples; 0 and 1 are one domain alone.
        seeds: one grid each; all are trained in one ensemble.
    """

    distances: tuple[float, ...] = DISTANCES
    ratios: tuple[float, ...] = (0.0, 0.01, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
    seeds: tuple[int, ...] = (0,)
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        if wrong := [seed for seed in self.seeds if not 0 <= seed < 2**31]:
            raise WrongSetting(f"a seed is a whole number from 0 to 2147483647, got {wrong[0]}.")
        if len(set(self.seeds)) < max(len(self.seeds), 1):
            raise WrongSetting(f"a run takes one or more different seeds, got {list(self.seeds)}.")

    @property
    def cells(self) -> list[Cell]:
        """Seed by seed, row by row."""
        return [Cell(dz, w, seed) for seed in self.seeds for dz in self.distances for w in self.ratios]


PRESETS = {
    "smoke": Settings(),
    "paper": Settings(ratios=(0.0, *RATIOS, 1.0), seeds=(0, 1, 2), training=Training(steps=6000, rate=3e-3)),
}


def settings(preset: str, seeds: Sequence[int] = ()) -> Settings:
    """A preset, with other seeds when any are given.

    Raises:
        WrongSetting: an unknown preset, or seeds that cannot be used.

    >>> len(settings("smoke").cells), settings("smoke", [4, 5]).seeds
    (81, (4, 5))
    """
    check_one_of("a preset", preset, PRESETS)
    chosen = PRESETS[preset]
    return Settings(chosen.distances, chosen.ratios, tuple(seeds) or chosen.seeds, chosen.training)
