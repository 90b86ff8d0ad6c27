"""Weights that are measured: relative to the policy's gradient, or held in balance by a probe."""

from .relative import Relative, relative

__all__ = ["Relative", "relative"]
