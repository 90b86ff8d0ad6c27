"""Alignment by moments and kernel means: MMD, the energy distance, CORAL."""

from .coral import CORAL
from .energy import EnergyDistance
from .gaussian import MMD
from .pairs import median_square

__all__ = ["CORAL", "MMD", "EnergyDistance", "median_square"]
