"""Strengths that are measured: relative to the policy's gradient, or held in balance by a probe."""

from .balanced import Balanced, Reading, balanced
from .relative import Relative, relative

__all__ = ["Balanced", "Reading", "Relative", "balanced", "relative"]
