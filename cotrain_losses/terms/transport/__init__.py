"""Optimal transport: align two sets of features by what it costs to carry one onto the other."""

from .costs import Block
from .coupling import Coupling
from .divergence import Sinkhorn
from .optimal import OptimalTransport

__all__ = ["Block", "Coupling", "OptimalTransport", "Sinkhorn"]
