"""Advice before training, from the datasets alone: `cotrain advise`, or `advice(target, source)` for the numbers."""

from .report import advice

__all__ = ["advice"]
