"""Strengths lambda: how strongly a term acts.  A number, a schedule, or measured while training.

constant, linear, warmup     functions of the optimizer step                   schedules.py
relative                     a share of the policy's gradient at the seam      relative.py
balanced                     held by a domain probe and a brake                balanced.py
"""

from .balanced import Balanced, Reading, balanced
from .relative import Relative, relative
from .schedules import constant, linear, warmup
from .strength import MeasuredStrength, Strength

__all__ = [
    "Balanced",
    "MeasuredStrength",
    "Reading",
    "Relative",
    "Strength",
    "balanced",
    "constant",
    "linear",
    "relative",
    "warmup",
]
