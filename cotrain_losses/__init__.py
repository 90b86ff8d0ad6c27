"""Sim-and-real co-training for any robot policy: choices at one seam."""

from . import recipes
from ._core.rows import Rows
from .guidance import DomainGuidance
from .method import Method
from .mixing import MixedBatchSampler
from .policy.cotrain import CoTrain
from .policy.seam import Seam
from .terms.discriminator import DomainAdversary, DomainClassifier
from .terms.mmd import MMD
from .terms.term import Regularizer, Term
from .terms.transport import OptimalTransport, Sinkhorn

__version__ = "0.2.0"

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
