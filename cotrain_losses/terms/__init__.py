"""Terms R(source, target): what is asked of the features.

    MMD, EnergyDistance, CORAL           moments and kernel means       mmd/
    Sinkhorn, OptimalTransport           transport                      transport/
    DomainClassifier, DomainAdversary    a domain discriminator         discriminator.py
    AuxiliaryRegression                  a head that predicts an extra  auxiliary.py

Terms add: `0.1 * MMD() - 0.05 * DomainClassifier(width)` is one flat `Regularizer`.
"""

from .auxiliary import AuxiliaryRegression
from .discriminator import DomainAdversary, DomainClassifier
from .evaluation import Evaluation
from .mmd import CORAL, MMD, EnergyDistance
from .pair import Pair
from .term import Regularizer, Term
from .transport import Block, Coupling, OptimalTransport, Sinkhorn

__all__ = [
    "AuxiliaryRegression",
    "Block",
    "CORAL",
    "Coupling",
    "DomainAdversary",
    "DomainClassifier",
    "EnergyDistance",
    "Evaluation",
    "MMD",
    "OptimalTransport",
    "Pair",
    "Regularizer",
    "Sinkhorn",
    "Term",
]
