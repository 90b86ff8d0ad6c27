"""Diagnostics: is a layer disjoint, structured or overlapping, and what does that suggest?

    alignment        how far apart the domains' features lie          alignment.py, neighbours.py
    discernibility   how well the domain can be read from them        discernibility.py
    regime           what the two say together                        regime.py
    coverage         where the source is and the target is not        coverage.py
    action side      losses, gradients and actions of each domain     action.py
    on disk          features as files                                 features.py

Lei et al., "A Mechanistic Analysis of Sim-and-Real Co-Training in Generative Robot Policies", ICML 2026: a policy
transfers where the domains are close, yet distinguishable.
"""

from .action import ActionGap, DomainLosses, action_gap, domain_losses, neighbour_contribution
from .alignment import Estimate, pooled_spread, wasserstein
from .coverage import Uncovered, uncovered
from .discernibility import ProbeReading
from .features import Features
from .layer import Diagnosis, diagnosis
from .neighbours import KernelTest
from .regime import Regime

__all__ = ["Diagnosis", "diagnosis", "Estimate", "pooled_spread", "wasserstein"]
__all__ += ["Uncovered", "uncovered", "KernelTest", "ProbeReading", "Regime", "Features"]
__all__ += ["ActionGap", "DomainLosses", "action_gap", "domain_losses", "neighbour_contribution"]
