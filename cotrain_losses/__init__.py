"""Sim-and-real co-training for any robot policy: choices at one seam."""

from .term import Regularizer, Rows, Term

__version__ = "0.1.0"

__all__ = ["Regularizer", "Rows", "Term", "__version__"]
