"""`cotrain diagnose`: which regime each layer of each checkpoint is in, from files of features."""

from .command import diagnose

__all__ = ["diagnose"]
