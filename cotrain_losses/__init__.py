"""Sim-and-real co-training for any robot policy: choices at one seam."""

from .cotrain import CoTrain
from .guidance import DomainGuidance
from .method import Method
from .seam import Seam
from .term import Regularizer, Rows, Term

__version__ = "0.1.0"

__all__ = ["CoTrain", "DomainGuidance", "Method", "Regularizer", "Rows", "Seam", "Term", "__version__"]
