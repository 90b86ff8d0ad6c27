"""Advice before training, from the datasets alone: `cotrain advise`, or `advice(source=, target=)` for the numbers."""

from .advice import advice

__all__ = ["advice"]
