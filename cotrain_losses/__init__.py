"""Sim-and-real co-training for any robot policy: choices at one seam."""

from . import recipes
from .cotrain import CoTrain
from .discriminator import DomainAdversary, DomainClassifier
from .guidance import DomainGuidance
from .method import Method
from .mixing import MixedBatchSampler
from .mmd import MMD
from .rows import Rows
from .seam import Seam
from .term import Regularizer, Term
from .transport import OptimalTransport, Sinkhorn

__version__ = "0.1.0"

__all__ = [
    "CoTrain",
    "DomainAdversary",
    "DomainClassifier",
    "DomainGuidance",
    "MMD",
    "Method",
    "MixedBatchSampler",
    "OptimalTransport",
    "Regularizer",
    "Rows",
    "Seam",
    "Sinkhorn",
    "Term",
    "__version__",
    "recipes",
]
